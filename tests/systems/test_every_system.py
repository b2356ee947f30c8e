"""What the training loop may expect of every system; a new file in systems/ is tested here by itself."""

import io
from contextlib import nullcontext

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from torch import nn

from t2icli import registry
from t2icli.batch import Batch, Fake
from t2icli.recipe import Recipe
from t2icli.recipe_files import load_recipe
from t2icli.setting import Setting
from t2icli.systems._base import System
from t2icli.training.step import total, train_step

pytestmark = pytest.mark.parametrize("name", registry.available("t2icli.systems"))


def tiny_recipe(name: str) -> Recipe:
    recipe = load_recipe(f"tiny/{name}")
    assert recipe.system == name
    return recipe


def build(name: str, seed: int = 0) -> tuple[Recipe, System, Batch]:
    recipe = tiny_recipe(name)
    torch.manual_seed(seed)
    setting = Setting(recipe.data.image_size, WORD_DIM, recipe.train.negatives)
    system = registry.load("t2icli.systems", name).build(recipe.model, setting)
    return recipe, system, made_up_batch(recipe.data.image_size, system.noise_dim)


def generated(system: System, batch: Batch) -> Fake:
    return system.generate(batch.text, batch.noise)


def test_images(name: str) -> None:
    recipe, system, batch = build(name)
    fake = generated(system, batch)
    size = recipe.data.image_size
    assert fake.images[-1].shape == (4, 3, size, size)
    sides = [image.shape[-1] for image in fake.images]
    assert sides == sorted(sides)
    for image in fake.images:
        assert image.shape[:2] == (4, 3) and image.shape[2] == image.shape[3]
        assert image.isfinite().all() and image.min() >= -1 and image.max() <= 1
    assert fake.images[-1].std() > 0.01


def test_discriminator_losses_reach_only_the_discriminator(name: str) -> None:
    _, system, batch = build(name)
    losses = system.d_losses(batch, generated(system, batch).detach())
    assert losses and all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    total(losses).backward()
    assert untouched(system.generator) == every_name(system.generator)
    assert not untouched(system.discriminator)


def test_generator_losses_reach_the_whole_generator(name: str) -> None:
    _, system, batch = build(name)
    losses = system.g_losses(batch, generated(system, batch))
    assert losses and all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    total(losses).backward(inputs=list(system.generator.parameters()))
    assert not untouched(system.generator)
    assert untouched(system.discriminator) == every_name(system.discriminator)


def test_joint_losses_are_both(name: str) -> None:
    _, system, batch = build(name)
    d, g = system.joint_losses(batch, generated(system, batch))
    assert d.keys() == system.d_losses(batch, generated(system, batch)).keys()
    assert g.keys() == system.g_losses(batch, generated(system, batch)).keys()


def test_networks_hold_all_parameters_once(name: str) -> None:
    _, system, _ = build(name)
    g, d = ({id(p) for p in network.parameters()} for network in (system.generator, system.discriminator))
    assert not g & d and g | d == {id(p) for p in system.parameters()}
    assert all(p.requires_grad for p in system.parameters())  # frozen networks belong to terms


@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_step_changes_the_side_whose_optimizer_moves(name: str, side: str) -> None:
    _, system, batch = build(name)
    before = {n: p.detach().clone() for n, p in system.named_parameters()}
    rates = {"generator": 0.0, "discriminator": 0.0} | {side: 0.1}
    optimizers = [torch.optim.SGD(getattr(system, s).parameters(), rate) for s, rate in rates.items()]
    losses = train_step(system, {}, [batch], *optimizers, nullcontext)
    assert all(value.isfinite() for value in losses.values())
    moved = {n.partition(".")[0] for n, p in system.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {side}


def test_saved_weights_give_the_same_images(name: str) -> None:
    _, system, batch = build(name)
    generated(system, batch)  # statistics that the file must carry
    file = io.BytesIO()
    torch.save(system.state_dict(), file)
    file.seek(0)
    _, other, _ = build(name, seed=1)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        a, b = (generated(s.eval(), batch).images[-1] for s in (system, other))
    assert torch.equal(a, b)


def test_evaluation_draws_each_image_alone(name: str) -> None:
    _, system, batch = build(name)
    system.eval()
    text = type(batch.text)(*(getattr(batch.text, f)[:1] for f in ("words", "sentence", "mask", "tokens")))
    with torch.no_grad():
        together, alone = generated(system, batch).images[-1], system.generate(text, batch.noise[:1]).images[-1]
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)


def untouched(network: nn.Module) -> list[str]:
    return [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def every_name(network: nn.Module) -> list[str]:
    return [n for n, _ in network.named_parameters()]
