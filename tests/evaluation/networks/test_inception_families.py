"""The other families' networks against torchvision's and torch-fidelity's modules, and the converter for Keras."""

import importlib.util
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as torch_fidelity_inception
import torchvision
from PIL import Image
from small_shards import pictures
from torch import nn
from torch.nn import functional as F

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import View
from t2icli.evaluation.networks import (
    inception_birds,
    inception_clean,
    inception_improved_gan,
    inception_keras,
    inception_torchvision,
)
from t2icli.weights import Weights

CPU = torch.device("cpu")
CONVERTER = Path(__file__).parents[3] / "tools" / "convert_keras_inception.py"


def random_model(classes, scaled):
    """torchvision's module, He initialised; without scale, batch norms are as Keras' and slim's are."""
    model = torchvision.models.inception_v3(weights=None, num_classes=classes, init_weights=False, transform_input=True)
    generator = torch.Generator().manual_seed(classes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
            if scaled:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.05, generator=generator)
            nn.init.normal_(module.bias, 0, 0.05, generator=generator)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models():
    return {
        "torchvision": random_model(1000, True),
        "keras": random_model(1000, False),
        "birds": random_model(51, False),
    }


def given(name, state, folder):
    path = folder / f"{name}.pth"
    torch.save(state, path)
    return Weights([f"inception-{name}={path}"])


def through(model, images):
    """Pooled features and outputs of torchvision's own module."""
    pooled = []
    hook = model.avgpool.register_forward_hook(lambda module, seen, output: pooled.append(output.flatten(1)))
    logits = model(images)
    hook.remove()
    return pooled[0], logits


def unpadded(monkeypatch):
    """Average pools as TensorFlow has them; torchvision's map of inputs is not wanted then."""
    pool = SimpleNamespace(**{**vars(F), "avg_pool2d": partial(F.avg_pool2d, count_include_pad=False)})
    monkeypatch.setattr(torchvision.models.inception, "F", pool)
    monkeypatch.setattr(torchvision.models.Inception3, "_transform_input", lambda self, x: x)


def pil(image):
    """One image resized by PIL to whole levels, (1, 3, 299, 299) float32."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((299, 299), Image.Resampling.BILINEAR)
    return torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None].float()


def assert_equal(got, want):
    assert want.std() > 0.01
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * want.abs().max().item())


def test_torchvision(models, tmp_path):
    images = pictures(2, size=64, seed=1)
    weights = given("torchvision", models["torchvision"].state_dict(), tmp_path)  # with its auxiliary classifier
    network = inception_torchvision.load(weights, CPU)
    want, _ = through(models["torchvision"], torch.cat([pil(image) for image in images]) / 255)
    ours = network.layers(View(images))
    assert list(ours) == ["2048"]
    assert_equal(ours["2048"], want)
    assert (network.facts["network"], network.facts["resize"]) == ("inception-v3-torchvision", "pil-bilinear-299")


def test_its_odd_range_of_inputs():
    white = torch.full((1, 3, 9, 9), 255, dtype=torch.uint8)
    red = [inception_torchvision.prepare(levels)[0, 0, 0, 0].item() for levels in (0 * white, white)]
    assert red == pytest.approx([-0.03, 0.428], abs=1e-6)


def test_keras(models, tmp_path, monkeypatch):
    unpadded(monkeypatch)
    images = pictures(2, size=64, seed=2)
    network = inception_keras.load(given("keras", models["keras"].state_dict(), tmp_path), CPU)
    resized = F.interpolate(images.float() / 255, (299, 299), mode="bilinear")
    pooled, logits = through(models["keras"], (resized * 2 - 1).clamp(-1, 1))
    ours = network.layers(View(images))
    assert list(ours) == ["2048", "logits"]
    assert_equal(ours["2048"], pooled)
    assert_equal(ours["logits"], logits)
    assert (network.facts["network"], network.facts["resize"]) == ("inception-v3-keras", "tf2-bilinear-299")


def test_birds(models, tmp_path, monkeypatch):
    unpadded(monkeypatch)
    images = pictures(2, size=64, seed=3)
    network = inception_birds.load(given("birds", models["birds"].state_dict(), tmp_path), CPU)
    _, logits = through(models["birds"], torch.cat([pil(image) for image in images]) / 127.5 - 1)
    ours = network.layers(View(images))
    assert list(ours) == ["logits"] and ours["logits"].shape == (2, 51)
    assert_equal(ours["logits"], logits)
    assert (network.facts["network"], network.facts["resize"]) == ("inception-v3-birds", "pil-bilinear-299")


def test_birds_need_51_outputs(models, tmp_path):
    weights = given("birds", models["keras"].state_dict(), tmp_path)
    with pytest.raises(EnvironmentFault, match=r"birds.pth: .* fc.weight is \(1000, 2048\) and should be \(51, 2048\)"):
        inception_birds.load(weights, CPU)


@pytest.fixture
def graph(inception_file):
    layers = ["2048", "logits_unbiased"]
    extractor = torch_fidelity_inception.FeatureExtractorInceptionV3
    return extractor("inception-v3-compat", layers, feature_extractor_weights_path=inception_file)


def test_improved_gan_resizes_before_the_graph(graph, inception):
    images = pictures(2, size=64, seed=4)
    network = inception_improved_gan.load(Weights([inception]), CPU)
    want = graph(torch.cat([pil(image) for image in images]).to(torch.uint8))[1]
    ours = network.layers(View(images))
    assert list(ours) == ["logits_unbiased"]
    assert_equal(ours["logits_unbiased"], want)
    assert network.facts["resize"] == "pil-bilinear-299"


def test_clean(graph, inception, monkeypatch):
    images = pictures(2, size=640, seed=5)
    resized = np.stack(
        [
            [
                np.asarray(Image.fromarray(channel.float().numpy()).resize((299, 299), Image.Resampling.BICUBIC))
                for channel in image
            ]
            for image in images
        ]
    ).clip(0, 255)
    monkeypatch.setattr(torch_fidelity_inception, "vassert", lambda *_: None)  # it takes whole levels only
    want = graph(torch.from_numpy(resized))[0]
    network = inception_clean.load(Weights([inception]), CPU)
    ours = network.layers(View(images))
    assert list(ours) == ["2048"]
    assert_equal(ours["2048"], want)
    assert network.facts["resize"] == "pil-bicubic-299"


@pytest.fixture(scope="module")
def converter():
    specification = importlib.util.spec_from_file_location("convert_keras_inception", CONVERTER)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def write_keras(path, model, blocks=None):
    """The layout of keras-applications' file: groups with numbers for names, a scope and an output's number inside."""
    blocks = blocks or [m for name, m in model.named_modules() if hasattr(m, "conv") and "AuxLogits" not in name]
    with h5py.File(path, "w") as file:
        for number, block in enumerate(blocks, start=1):
            scope = file.create_group(f"conv2d_{number}/conv2d_{number}")
            scope["kernel:0"] = block.conv.weight.permute(2, 3, 1, 0).numpy()
            scope = file.create_group(f"batch_normalization_{number}/batch_normalization_{number}")
            arrays = {
                "beta": block.bn.bias,
                "moving_mean": block.bn.running_mean,
                "moving_variance": block.bn.running_var,
            }
            for name, array in arrays.items():
                scope[f"{name}:0"] = array.numpy()
        file.create_group("activation_1")
        scope = file.create_group("predictions/predictions")
        scope["kernel:0"], scope["bias:0"] = model.fc.weight.T.numpy(), model.fc.bias.numpy()
    return path


def test_converter(models, converter, tmp_path, monkeypatch, capsys):
    source, out = write_keras(tmp_path / "keras.h5", models["keras"]), tmp_path / "keras.pth"
    monkeypatch.setattr("sys.argv", ["convert", str(source), str(out)])
    converter.main()
    assert "--weights inception-keras=" in capsys.readouterr().out
    state, want = torch.load(out, weights_only=True), models["keras"].state_dict()
    assert {n for n in want if "AuxLogits" not in n and "num_batches" not in n} == set(state)
    for name, value in state.items():
        assert torch.equal(value, want[name]), name
    inception_keras.load(Weights([f"inception-keras={out}"]), CPU)


def test_converter_refuses_other_files(models, converter, tmp_path):
    first = [models["keras"].Conv2d_1a_3x3, models["keras"].Conv2d_2a_3x3]
    path = write_keras(tmp_path / "few.h5", models["keras"], first)
    with (
        h5py.File(path) as file,
        pytest.raises(SystemExit, match="holds 2 convolutions and 2 batch norms, .* has 94 of"),
    ):
        converter.convert(file)
    path = write_keras(tmp_path / "other.h5", models["keras"], first * 47)
    with (
        h5py.File(path) as file,
        pytest.raises(
            SystemExit, match=r"Conv2d_2b_3x3.conv.weight would be \(32, 3, 3, 3\) and should be \(64, 32, 3, 3\)"
        ),
    ):
        converter.convert(file)
