"""The reader takes every float in its place, and the folded network computes what the unfolded one does."""

import re

import numpy as np
import pytest
import torch
from darknet_files import conv, detector_cfg, header, net, random_floats
from PIL import Image
from torch.nn import functional as F

from t2icli.errors import DataError, EnvironmentFault
from t2icli.evaluation.detectors import darknet_config
from t2icli.evaluation.detectors.darknet import Darknet, read_weights, resized
from t2icli.evaluation.features import View
from t2icli.evaluation.networks import darknet, yolov3
from t2icli.weights import Weights

CPU = torch.device("cpu")
ONE = darknet_config.parse(net(conv(2), channels=1), "one.cfg")  # vector T22


def write(path, *parts):
    path.write_bytes(b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts))
    return path


def test_t22_order_of_the_floats(tmp_path):
    [found] = read_weights(write(tmp_path / "x.weights", header(), np.arange(10, dtype="<f4")), ONE)
    assert found.bias.tolist() == [0, 1]
    assert found.scale.tolist() == [2, 3]
    assert found.mean.tolist() == [4, 5]
    assert found.variance.tolist() == [6, 7]
    assert found.weight.tolist() == [[[[8]]], [[[9]]]]


def test_files_older_than_0_2_count_images_in_32_bits(tmp_path):
    path = write(tmp_path / "x.weights", header(0, 1), np.arange(10, dtype="<f4"))
    assert path.stat().st_size == 16 + 40
    assert read_weights(path, ONE)[0].weight.flatten().tolist() == [8, 9]


@pytest.mark.parametrize(
    ("floats", "cause"), [(9, "truncated, or the weights of another cfg"), (11, "the weights of another cfg")]
)
def test_t22_one_float_more_or_less(tmp_path, floats, cause):
    path = write(tmp_path / "x.weights", header(), np.zeros(floats, "<f4"))
    message = (
        f"x.weights: {20 + 4 * floats} bytes, and one.cfg needs 60 (a header of 20 and 10 float32): the file is {cause}"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        read_weights(path, ONE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\n<!DOCTYPE html><html>404 Not Found</html>" * 9,
            "x.weights: should be a Darknet file of weights: it is a web page",
        ),
        (b"abc", "x.weights: 3 bytes, too short for the header of a Darknet file of weights"),
        (
            header() + np.full(10, np.nan, "<f4").tobytes(),
            "x.weights: holds values that are not finite: damaged, or no",
        ),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_weights(write(tmp_path / "x.weights", content), ONE)


def test_weights_of_another_cfg(shared):
    folder = shared / "data/darknet"
    message = (
        "yolo-fastest.weights: 1,425,644 bytes, and .*yolo-fastest-1.1.cfg needs 1,384,268 .*: the file is the weig"
    )
    with pytest.raises(DataError, match=message):
        read_weights(folder / "yolo-fastest.weights", darknet_config.read(folder / "yolo-fastest-1.1.cfg"))
    with pytest.raises(
        DataError, match="and the built-in YOLOv3 needs 248,007,048 .* truncated, or the weights of another"
    ):
        yolov3.load(Weights([f"yolov3={folder / 'yolo-fastest.weights'}"]), CPU)


class Unfolded:
    """A network as Darknet's text describes it, every value taken from the file by hand."""

    def __init__(self, floats):
        self.floats, self.used = torch.from_numpy(floats), 0

    def take(self, *shape):
        count = int(np.prod(shape))
        self.used += count
        return self.floats[self.used - count : self.used].reshape(shape)

    def conv(self, x, filters, size, stride, groups=1, normalise=True):
        bias = self.take(filters)
        scale, mean, variance = (self.take(filters) if normalise else None for _ in range(3))
        weight = self.take(filters, x.shape[1] // groups, size, size)
        x = F.conv2d(x, weight, None if normalise else bias, stride, size // 2, groups=groups)
        return F.batch_norm(x, mean, variance, scale, bias, eps=1e-5) if normalise else x


def test_folded_equals_unfolded(tmp_path):
    """Every kind of layer and activation, against batch_norm and conv2d of torch in the order of the text."""
    text = net(
        conv(8, 3, 1, activation="mish"),
        conv(8, 3, 2, groups=4, activation="relu6"),
        "[maxpool]\nsize=2\nstride=1\n",
        conv(8, 1, activation="swish"),
        "[dropout]\n[shortcut]\nfrom=-3\nactivation=leaky\n",
        "[route]\nlayers=-1,1\ngroups=2\ngroup_id=1\n",
        conv(8, 3, activation="logistic"),
        "[upsample]\nstride=2\n[route]\nlayers=-1,0\n[maxpool]\nsize=5\nstride=2\n",
        conv(4, normalise=0, activation="relu"),
        conv(7, normalise=0, activation="linear"),
        "[yolo]\nclasses=2\nanchors=1,2\n",
        width=22,
        height=18,
    )
    config = darknet_config.parse(text, "x.cfg")
    floats = random_floats(config)
    images = torch.rand(2, 3, 18, 22, generator=torch.Generator().manual_seed(0))
    by_hand = Unfolded(floats)

    x0 = F.mish(by_hand.conv(images, 8, 3, 1))
    x1 = F.relu6(by_hand.conv(x0, 8, 3, 2, groups=4))
    x2 = F.max_pool2d(F.pad(x1, (0, 1, 0, 1), value=-1e30), 2, 1)
    x3 = F.silu(by_hand.conv(x2, 8, 1, 1))
    x5 = F.leaky_relu(x3 + x2, 0.1)
    x6 = torch.cat([x5[:, 4:], x1[:, 4:]], 1)
    x7 = torch.sigmoid(by_hand.conv(x6, 8, 3, 1))
    x9 = torch.cat([x7.repeat_interleave(2, 2).repeat_interleave(2, 3), x0], 1)
    x10 = F.max_pool2d(x9, 5, 2, padding=2)
    x11 = F.relu(by_hand.conv(x10, 4, 1, 1, normalise=False))
    x12 = by_hand.conv(x11, 7, 1, 1, normalise=False)
    assert by_hand.used == len(floats)

    network = Darknet(config, read_weights(write(tmp_path / "x.weights", header(), floats), config))
    [(head, raw)] = network(images)
    assert head.anchors == ((1.0, 2.0),)
    assert x12.std() > 0.1
    torch.testing.assert_close(raw, x12, rtol=1e-4, atol=1e-5)
    together, alone = network(images)[0][1], network(images[1:])[0][1]
    torch.testing.assert_close(together[1:], alone, rtol=1e-5, atol=1e-5)


def test_maximum_at_size_2_and_stride_1_looks_right_and_down(tmp_path):
    """As yolov3-tiny needs it: the side stays, and the last column and row see only themselves."""
    config = darknet_config.parse(net("[maxpool]\nsize=2\nstride=1\n[yolo]\nclasses=1\nanchors=1,1\n", channels=6), "x")
    x = -torch.rand(1, 6, 5, 4)
    [(_, pooled)] = Darknet(config, [])(x)
    assert pooled.shape == x.shape
    for row in range(5):
        for column in range(4):
            assert torch.equal(pooled[..., row, column], x[..., row : row + 2, column : column + 2].amax((2, 3)))


def test_resized_is_pils_bilinear_filter():
    images = torch.randint(0, 256, (2, 3, 30, 40), generator=torch.Generator().manual_seed(0)).byte()
    picture = Image.fromarray(images[1].permute(1, 2, 0).numpy()).resize((16, 24), Image.Resampling.BILINEAR)
    ours = resized(images, 16, 24)
    assert ours.shape == (2, 3, 24, 16)
    assert torch.equal(ours[1], torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255)
    assert torch.equal(resized(images, 40, 30), images / 255)


def small_detector(folder, **shape):
    cfg = folder / "tiny-0.5.cfg"
    cfg.write_text(detector_cfg(**shape))
    return write(folder / "tiny-0.5.weights", header(), random_floats(darknet_config.read(cfg)))


def test_a_cfg_beside_the_weights(tmp_path):
    path = small_detector(tmp_path, width=64, height=32)
    network = darknet.load(Weights([f"darknet={path}"]), CPU)
    assert network.facts["network"] == "tiny-0.5@0.5"
    assert network.facts["resize"] == "pil-bilinear-64x32"
    assert network.facts["weights"]["file"] == "tiny-0.5.weights"
    assert network.facts["cfg"]["file"] == "tiny-0.5.cfg"
    assert len(network.facts["cfg"]["sha256"]) == 64
    images = torch.randint(0, 256, (3, 3, 50, 50)).byte()
    layers = network.layers(View(images, layout=True))
    assert {name: tuple(layer.shape) for name, layer in layers.items()} == {"present": (3, 80), "boxes": (3, 100, 6)}
    alone = network.layers(View(images[2:], layout=True))
    assert torch.equal(layers["present"][2:], alone["present"])
    torch.testing.assert_close(layers["boxes"][2:], alone["boxes"], rtol=1e-4, atol=1e-4)


def test_no_cfg_beside_the_weights(tmp_path):
    path = small_detector(tmp_path)
    path.with_suffix(".cfg").unlink()
    with pytest.raises(
        EnvironmentFault, match=r"tiny-0.5.cfg: there is no such file; .* put the cfg that belongs to them"
    ):
        darknet.load(Weights([f"darknet={path}"]), CPU)
    with pytest.raises(
        EnvironmentFault, match="is no file; it should be a file of Darknet weights, its .cfg beside it"
    ):
        darknet.load(Weights([f"darknet={tmp_path}"]), CPU)


def test_a_detector_of_other_classes(tmp_path):
    path = small_detector(tmp_path, classes=20)
    with pytest.raises(
        DataError, match=r"tiny-0.5.cfg: 3 channels, 2 \[yolo\] heads, classes \[20\]; SOA needs a detector"
    ):
        darknet.load(Weights([f"darknet={path}"]), CPU)


def test_yolov3_looks_at_256_pixels(tmp_path):
    """The whole of YOLOv3 with random weights: it runs, and results carry its facts."""
    path = write(tmp_path / "yolov3.weights", header(), random_floats(darknet_config.yolov3(), gain=0.5))
    network = yolov3.load(Weights([f"yolov3={path}"]), CPU)
    path.unlink()  # 248 MB
    assert (network.facts["network"], network.facts["resize"]) == ("yolov3@0.5", "pil-bilinear-256")
    assert network.facts["weights"]["published"] is False
    layers = network.layers(View(torch.randint(0, 256, (1, 3, 256, 256)).byte(), layout=True))
    assert layers["present"].shape == (1, 80)
    assert 0 < layers["present"].sum() < 80
    assert torch.isfinite(layers["boxes"]).all()
