"""Every term trains every system; a new file in either folder is tested here by itself."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from t2icli import registry
from t2icli.distributed import World
from t2icli.recipe import Recipe
from t2icli.recipe_files import load_recipe
from t2icli.training.loop import batches_from, one_step
from t2icli.training.trainer import Trainer, build
from t2icli.weights import Weights

TERMS = registry.available("t2icli.terms")
SYSTEMS = registry.available("t2icli.systems")
WORLD = World(0, 1, torch.device("cpu"))
PATHS = ("matcher", "captioner")  # keys of a term that name an encoder: one of the term's own name


def recipe_for(system: str, terms: Sequence[str], shards: Path, encoders: dict[str, Path], *more: str) -> Recipe:
    overrides = [f"data.shards={shards}"]
    for term in terms:
        fields = registry.load("t2icli.terms", term).Config.model_fields
        overrides += [f"terms.{term}.{key}={encoders[term]}" for key in PATHS if key in fields]
        if "network" in fields:
            overrides.append(f"terms.{term}.network=resnet50")
        overrides.append(f"terms.{term}.weight=1.0")
    return load_recipe(f"tiny/{system}", [*overrides, *more])


def two_steps(trainer: Trainer) -> set[str]:
    """Names of the system's parameters that received a gradient."""
    touched: set[str] = set()
    for name, parameter in trainer.system.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: touched.add(name))
    steps = batches_from(trainer, WORLD, 0)
    for number in range(2):
        torch.manual_seed(number)
        losses = one_step(trainer, WORLD, next(steps))
        assert all(value.isfinite() for value in losses.values())
    return touched


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("term", TERMS)
def test_two_steps(system: str, term: str, tiny_shards: Path, tiny_encoders: dict[str, Path], resnet50: Path) -> None:
    recipe = recipe_for(system, [term], tiny_shards, tiny_encoders)
    trainer = build(recipe, Weights([f"resnet50={resnet50}"]), WORLD.device)
    frozen = state(trainer.terms[term])
    before = state(trainer.system.generator)
    touched = two_steps(trainer)
    assert touched == {name for name, _ in trainer.system.named_parameters()}
    after = trainer.system.generator.state_dict()
    assert all(not torch.equal(after[name], before[name]) for name, _ in trainer.system.generator.named_parameters())
    assert all(torch.equal(value, frozen[name]) for name, value in trainer.terms[term].state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in trainer.terms[term].parameters())
    assert trainer.terms[term].used  # its encoder or weights are on the run's card


@pytest.mark.parametrize("system", SYSTEMS)
def test_all_terms_at_once_on_a_matchers_words(
    system: str, tiny_shards: Path, tiny_encoders: dict[str, Path], resnet50: Path
) -> None:
    matcher = f"text.matcher={tiny_encoders['damsm']}"
    recipe = recipe_for(system, TERMS, tiny_shards, tiny_encoders, matcher)
    trainer = build(recipe, Weights([f"resnet50={resnet50}"]), WORLD.device)
    assert trainer.reader.dim == 8
    touched = two_steps(trainer)
    assert touched == {name for name, _ in trainer.system.named_parameters()}


def test_warm_up_raises_the_weight_evenly(tiny_shards: Path, tiny_encoders: dict[str, Path]) -> None:
    def loss(images: int, *more: str) -> float:
        recipe = recipe_for("dfgan", ["damsm"], tiny_shards, tiny_encoders, "terms.damsm.warm_up=100", *more)
        trainer = build(recipe, Weights(), WORLD.device)
        (batch,) = next(batches_from(trainer, WORLD, 0))
        torch.manual_seed(0)
        return float(one_step(trainer, WORLD, [batch], images)["g/damsm/word"])

    whole = loss(100)
    assert loss(0) == 0 and loss(25) == pytest.approx(whole / 4) and loss(1000) == whole


def test_a_term_of_weight_zero_is_not_built(tiny_shards: Path, tiny_encoders: dict[str, Path]) -> None:
    recipe = recipe_for("dfgan", ["damsm"], tiny_shards, tiny_encoders, "terms.damsm.weight=0.0")
    assert not build(recipe, Weights(), WORLD.device).terms
