"""What a cfg says, and that nothing in it is skipped: every section and key that is not known is refused."""

import re
from dataclasses import replace

import pytest
from darknet_files import conv, net

from t2icli.errors import DataError, EnvironmentFault
from t2icli.evaluation.detectors.darknet import count_floats, layer_shapes
from t2icli.evaluation.detectors.darknet_config import Convolution, MaxPool, Route, Shortcut, Yolo, parse, read, yolov3

HEAD = "[yolo]\nclasses=1\nanchors=1,2\nnum=1\n"


def test_yolov3_is_that_of_its_authors(shared):
    """The built-in layers are those of the published cfg, and hold as many numbers as the published file."""
    published = read(shared / "data/darknet/yolov3.cfg")
    ours = yolov3(416)
    assert len(ours.layers) == 107
    assert ours == replace(published, source=ours.source)


def test_size_of_yolov3s_weights():
    config = yolov3(256)
    assert sum(isinstance(layer, Convolution) for layer in config.layers) == 75
    assert count_floats(config) == 62_001_757
    assert 20 + 4 * count_floats(config) == 248_007_048
    heads = [shape for shape, layer in zip(layer_shapes(config), config.layers, strict=True) if isinstance(layer, Yolo)]
    assert heads == [(255, 8, 8), (255, 16, 16), (255, 32, 32)]
    assert sum(3 * height * width for _, height, width in heads) == 4032


@pytest.mark.parametrize("name", ["yolo-fastest", "yolo-fastest-xl", "yolo-fastest-1.1", "yolo-fastest-1.1-xl"])
def test_other_detectors_fit_their_files_to_the_byte(shared, name):
    folder = shared / "data/darknet"
    config = read(folder / f"{name}.cfg")
    assert 20 + 4 * count_floats(config) == (folder / f"{name}.weights").stat().st_size
    assert [shape for shape in layer_shapes(config) if shape[0] == 255][::2] == [(255, 10, 10), (255, 20, 20)]


def test_shapes_are_those_of_darknets_own_log(shared):
    """The log of Darknet's own run lists what comes out of each layer."""
    log = (shared / "data/darknet/mAP_log.txt").read_text()
    # Darknet's own lines are mixed with CUDA's; the number before "conv" is that of the layer.
    lines = re.findall(
        r"^ *(\d+) (?:conv|route|Shortcut|max|upsample).*?(\d+) x *(\d+) x *(\d+)(?: [\d.]+ BF)?$", log, re.M
    )
    shapes = layer_shapes(read(shared / "data/darknet/yolo-fastest-1.1.cfg"))
    assert len(lines) > 90
    for number, width, height, channels in lines:
        assert shapes[int(number)] == (int(channels), int(height), int(width)), number


def test_layers_and_where_they_come_from():
    config = parse(
        net(
            conv(4, 3, 2, pad=1),
            "[convolutional]\nfilters=4\nsize=3\npadding=2\nactivation=relu6 # a comment\n",
            "[maxpool]\nsize=2\nstride=1\n",
            "; another\n[shortcut]\nfrom=-2\nactivation=swish\n",
            "[route]\nlayers=-1, 0,\ngroups=2\ngroup_id=1\n",
            "[dropout]\nprobability=.5\n",
        ),
        "x.cfg",
    )
    assert config.layers[:5] == (
        Convolution(4, 3, 2, 1, 1, True, "leaky"),
        Convolution(4, 3, 1, 2, 1, False, "relu6"),
        MaxPool(2, 1, 1),
        Shortcut(1, "swish"),
        Route((3, 0), 2, 1),
    )
    head = parse(
        net(conv(8), "[yolo]\nmask=1\nanchors=1,2, 3,4\nnum=2\nclasses=3\nscale_x_y=1.05\njitter=.3\n"), "x.cfg"
    )
    assert head.layers[1] == Yolo(((3.0, 4.0),), 3, 1.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.cfg: has no sections; a Darknet cfg should begin with [net]"),
        (conv(4), "x.cfg: begins with [convolutional]; a Darknet cfg should begin with [net]"),
        (net("[gru]\n"), "x.cfg, line 5: [gru]: this section is not known; known are convolutional, dropout, maxpool"),
        (net("[net]\n"), "x.cfg, line 5: [net]: this section is not known"),
        (net(conv(4), "[net"), "line 14: [net]: this section"),
        ("<html>\n", "x.cfg, line 1: '<html>': should be [section] or key=value"),
        (net("width=3\n"), "x.cfg, line 5: [net] has width a second time"),
        (net("letter_box=1\n"), "x.cfg, line 5: [net] letter_box=1: this key is not known here, and might change"),
        (net(conv(4), "dilation=2\n"), "line 14: [convolutional] dilation=2: this key is not known here"),
        (
            net(conv(4, activation="selu")),
            "line 13: [convolutional] activation=selu: not known; known are linear, leaky",
        ),
        (net(conv("many")), "line 8: [convolutional] filters=many: should be numbers separated by commas"),
        (net(conv(1.5)), "line 8: [convolutional] filters=1.5: should be whole numbers"),
        (net(conv("4,5")), "line 8: [convolutional] filters=4,5: should be one number"),
        (net(conv(0)), "line 8: [convolutional] filters=0: should be at least 1"),
        (net(conv("inf")), "line 8: [convolutional] filters=inf: should be finite"),
        (net(conv(4, groups=3)), "line 12: [convolutional] groups=3: should divide the 4 filters"),
        ("[net]\nwidth=3\n", "x.cfg, line 1: [net] has no channels; it is needed"),
        (net("[route]\n"), "x.cfg, line 5: [route] has no layers; it is needed"),
        (net("[route]\nlayers=-1\n"), "line 6: [route] layers=-1: this is layer 0, and only layers before it"),
        (net(conv(4), "[route]\nlayers=0,3\n"), "line 15: [route] layers=0,3: this is layer 1"),
        (net(conv(4), "[route]\nlayers=0\ngroups=2\ngroup_id=2\n"), "group_id=2: should be below groups, which is 2"),
        (net(conv(4), "[shortcut]\nfrom=-1,0\n"), "line 15: [shortcut] from=-1,0: should be one layer"),
        (net(conv(6), HEAD, "new_coords=1\n"), "[yolo] new_coords=1: only 0 can be decoded"),
        (net(conv(6), HEAD, "mask=1\n"), "[yolo] mask=1: should name some of the anchors 0 to 0"),
        (net(conv(6), "[yolo]\nclasses=1\nnum=2\nanchors=1,2\n"), "anchors=1,2: should be 2 pairs, and 2 numbers are"),
    ],
)
def test_what_is_not_understood_is_refused(text, message):
    with pytest.raises(DataError, match=re.escape(message)):
        parse(text, "x.cfg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            net(conv(4), conv(8), "[shortcut]\nfrom=0\n"),
            "layer 2 (shortcut): adds layers of (8, 64, 64) and (4, 64, 64)",
        ),
        (
            net(conv(4), conv(8, 3, 2), "[route]\nlayers=0,1\n"),
            "layer 2 (route): joins layers of [(4, 64, 64), (8, 32, 32)]",
        ),
        (net(conv(4), conv(6, groups=3)), "layer 1 (convolution): 4 channels come in, which 3 groups do not divide"),
        (net(conv(5), HEAD), "layer 1 (yolo): 5 channels come in, and 1 anchors with 1 classes need 6"),
        (net(conv(5, 9, pad=0), width=4, height=4), "layer 0 (convolution): nothing is left of the image: (5, -4, -4)"),
    ],
)
def test_layers_that_do_not_fit_together(text, message):
    with pytest.raises(DataError, match=re.escape(f"x.cfg, {message}")):
        layer_shapes(parse(text, "x.cfg"))


def test_no_cfg(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"x\.cfg: there is no such file; Darknet weights say nothing of their"):
        read(tmp_path / "x.cfg")
