"""Losses through frozen ImageNet networks, with random weights in place of the published ones."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from made_up import WORD_DIM, made_up_batch
from pydantic import ValidationError
from torch import Tensor, nn

from t2icli import registry
from t2icli.batch import Batch, Fake
from t2icli.encoders._imagenet import FrozenImageNetwork
from t2icli.errors import EnvironmentFault
from t2icli.losses.contrastive import pairwise
from t2icli.recipe_files import load_recipe
from t2icli.setting import Setting
from t2icli.terms._base import Term
from t2icli.training.trainer import build as build_trainer
from t2icli.weights import Found, Weights

TERMS = ["image_contrastive", "perceptual"]
SETTING = Setting(32, WORD_DIM)
each_term = pytest.mark.parametrize("name", TERMS)


def build(name: str, resnet50: Path, **keys: Any) -> Term:
    module = registry.load("t2icli.terms", name)
    return module.build(module.Config(network="resnet50", **keys), SETTING, Weights([f"resnet50={resnet50}"]))


@pytest.fixture(scope="module")
def built(resnet50: Path) -> dict[str, Term]:
    return {name: build(name, resnet50) for name in TERMS}


def fake_of(image: Tensor) -> Fake:
    return Fake((image,))


def loss_of(term: Term, batch: Batch, fake: Fake) -> Tensor:
    (loss,) = term(batch, fake).values()
    return loss


def batch_and_fake(seed: int = 0) -> tuple[Batch, Tensor]:
    batch = made_up_batch(32, 8, images=2, seed=seed)
    return batch, made_up_batch(32, 8, images=2, seed=seed + 50).image


# ---------------------------------------------------------------------------- every term


@each_term
def test_gradient_reaches_only_generated_images(name: str, built: dict[str, Term]) -> None:
    term = built[name]
    batch, image = batch_and_fake()
    image.requires_grad_()
    batch.image.requires_grad_()
    loss = loss_of(term, batch, fake_of(image))
    assert loss.ndim == 0 and loss.isfinite() and loss > 0
    loss.backward()
    assert image.grad.isfinite().all() and image.grad.abs().sum() > 0
    assert batch.image.grad is None
    assert all(p.grad is None and not p.requires_grad for p in term.parameters())


@each_term
def test_weight_scales(name: str, built: dict[str, Term], resnet50: Path) -> None:
    batch, image = batch_and_fake()
    with torch.no_grad():
        once, thrice = (
            loss_of(built[name], batch, fake_of(image)),
            loss_of(build(name, resnet50, weight=3.0), batch, fake_of(image)),
        )
    torch.testing.assert_close(thrice, 3 * once)


@each_term
def test_frozen_network_stays_in_evaluation(name: str, built: dict[str, Term]) -> None:
    term = built[name]
    before = {n: value.clone() for n, value in term.state_dict().items()}
    term.train()
    norms = [m for m in term.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    with torch.no_grad():
        batch, image = batch_and_fake()
        loss_of(term, batch, fake_of(image))
    assert all(torch.equal(value, before[n]) for n, value in term.state_dict().items())


@each_term
def test_last_stage_is_looked_at(name: str, built: dict[str, Term]) -> None:
    batch, image = batch_and_fake()
    with torch.no_grad():
        assert loss_of(built[name], batch, Fake((torch.randn(2, 3, 8, 8), image))) == loss_of(
            built[name], batch, fake_of(image)
        )


@each_term
def test_same_under_autocast(name: str, built: dict[str, Term]) -> None:
    batch, image = batch_and_fake()
    with torch.no_grad():
        expected = loss_of(built[name], batch, fake_of(image))
        with torch.autocast("cpu", torch.bfloat16):
            assert loss_of(built[name], batch, fake_of(image)) == expected


@each_term
def test_table_of_a_term(name: str) -> None:
    config = registry.load("t2icli.terms", name).Config
    assert config().weight == 1.0 and config().pretrained()
    assert config(network="resnet50").pretrained() == ("resnet50",)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        config(weight=-1)


@each_term
def test_unpublished_weights_are_recorded(name: str, built: dict[str, Term]) -> None:
    (found,) = built[name].used
    assert found.name == "resnet50" and not found.published and "not the published" in found.record()["note"]


# ---------------------------------------------------------------------------- what each one computes


def test_contrastive_of_equal_images_is_small(resnet50: Path) -> None:
    batch, image = batch_and_fake()
    term = build("image_contrastive", resnet50, temperature=0.5)
    with torch.no_grad():
        generated, real = term.network(image), term.network(batch.image)
        assert generated.shape == (2, 1000)
        assert loss_of(term, batch, fake_of(image)) == pairwise(real, generated, 0.5)
        own, swapped = (loss_of(term, batch, fake_of(i)) for i in (batch.image, batch.image.flip(0)))
        assert own < 2 * math.log(2) < swapped
        one_way = build("image_contrastive", resnet50, temperature=0.5, symmetric=False)
        assert loss_of(one_way, batch, fake_of(image)) == pairwise(real, generated, 0.5, symmetric=False)


def test_perceptual_is_the_distance_of_features(built: dict[str, Term]) -> None:
    batch, image = batch_and_fake()
    term = built["perceptual"]
    with torch.no_grad():
        generated, real = term.network(image), term.network(batch.image)
        assert generated.shape == (2, 2048)
        torch.testing.assert_close(loss_of(term, batch, fake_of(image)), (generated - real).square().mean())
        assert loss_of(term, batch, fake_of(batch.image)) == 0


# ---------------------------------------------------------------------------- frozen networks


def test_images_are_prepared_as_torchvision_says(built: dict[str, Term]) -> None:
    network = built["image_contrastive"].network
    image = torch.rand(2, 3, 224, 224)
    transforms = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms(resize_size=224)
    seen: list[Tensor] = []
    hook = network.model.conv1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        logits = network(image * 2 - 1)
    hook.remove()
    torch.testing.assert_close(seen[0], transforms(image), atol=1e-6, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(logits, network.model(transforms(image)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", [32, 256])
def test_images_of_any_size_are_resized(side: int, built: dict[str, Term]) -> None:
    network = built["image_contrastive"].network
    seen: list[Tensor] = []
    hook = network.model.conv1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.full((1, 3, side, side), -1.0))
    hook.remove()
    black = -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0], black[:, None, None].expand(1, 3, 224, 224))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(EnvironmentFault, match=r"other\.pth: is no state dict of torchvision's resnet50: Missing key"):
        build("image_contrastive", path)


@each_term
def test_unpublished_weights_must_be_given(
    name: str, resnet50: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resnet50-0676ba61.pth").symlink_to(resnet50)
    monkeypatch.setenv("T2I_WEIGHTS", str(tmp_path))
    module = registry.load("t2icli.terms", name)
    with pytest.raises(EnvironmentFault, match="not the published resnet50 weights"):
        module.build(module.Config(network="resnet50"), SETTING, Weights())


@pytest.mark.slow
def test_vgg19(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier's 124 million numbers are views of a few, so that the file stays small."""
    monkeypatch.setattr("t2icli.encoders._imagenet.BUILDERS", {"vgg19": plain_vgg19})
    torch.manual_seed(0)
    state = {}
    for key, value in plain_vgg19(None, "meta").state_dict().items():
        narrow = torch.randn(value.shape[-1:]) * 0.01
        fan = value[0].numel()
        filters = torch.randn(value.shape) * math.sqrt(2 / fan) if value.ndim == 4 else narrow.expand(value.shape)
        state[key] = filters
    path = tmp_path / "vgg19.pth"
    torch.save(state, path)
    found = Found("vgg19", path, "", published=False)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    for features, numbers in (("pooled", 512), ("logits", 1000)):
        network = FrozenImageNetwork("vgg19", features, found)
        seen = network(images)
        assert seen.shape == (2, numbers) and seen.isfinite().all()
        if features == "pooled":
            seen.sum().backward()
            assert images.grad.abs().sum() > 0
            expected = nn.functional.relu(network.model.features[:-2](prepared(network, images)))
            expected = nn.functional.max_pool2d(expected, 2).mean((2, 3))
            torch.testing.assert_close(seen, expected, atol=1e-4, rtol=1e-4)
    path.unlink()


def plain_vgg19(weights: None, device: str = "cpu") -> nn.Module:
    """Without torchvision's start values, which take seconds to draw and are replaced at once."""
    with torch.device(device):
        return torchvision.models.vgg19(weights=weights, init_weights=False)


def prepared(network: FrozenImageNetwork, images: Tensor) -> Tensor:
    resized = nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True)
    return ((resized + 1) / 2 - network.mean) / network.deviation


def test_weight_of_zero_builds_no_network(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("T2I_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("T2I_OFFLINE", "1")
    shards = f"data.shards={tiny_shards}"
    off = load_recipe("tiny/xmcgan", [shards, *(f"terms.{name}.weight=0" for name in TERMS)])
    assert build_trainer(off, Weights(), torch.device("cpu")).terms == {}
    on = load_recipe("tiny/xmcgan", [shards, "terms.image_contrastive.weight=0.1"])
    with pytest.raises(EnvironmentFault, match="resnet50: these weights cannot be had"):
        build_trainer(on, Weights(), torch.device("cpu"))
