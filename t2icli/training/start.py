"""How ``t2i train`` starts: check everything first, then train here or in several processes."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from t2icli import registry
from t2icli.console import say
from t2icli.data.shard_folder import ShardFolder
from t2icli.distributed import World
from t2icli.processes import place, under_torchrun
from t2icli.reading import training_reader
from t2icli.recipe import EncoderRecipe, Recipe
from t2icli.recipe_files import find, load_encoder_recipe, load_recipe, shipped_folder, to_toml
from t2icli.setting import Setting
from t2icli.training import run as run_folder
from t2icli.training.card import count
from t2icli.training.launch import launch
from t2icli.training.loop import train
from t2icli.training.pretraining import build_encoder, card, loader_of, pretrain
from t2icli.training.trainer import make_loader, terms_of
from t2icli.weights import Weights


def start(
    name: str,
    run: Path | None,
    new: bool,
    processes: int,
    overrides: Sequence[str],
    weights: Sequence[str],
    dry: bool,
    json: bool,
) -> None:
    """Check recipe, data and weights; then train. Prints the run's folder on stdout."""
    recipe, title = load_recipe(name, overrides), run_title(name)

    def choose() -> Path:
        return run_folder.choose_folder(recipe, title, run, new)

    World(0, processes, torch.device("cpu")).share(recipe.train.batch_size)  # refused here once, not in each process
    if dry:
        tell_plan(make_plan(recipe, choose(), weights), to_toml(recipe), json)
        return
    if processes > 1 and not under_torchrun():
        folder, first = choose(), True  # whatever a cluster has counted: these processes are counted here
        launch(recipe, folder, processes, weights)
    else:
        folder, first = train(recipe, choose, weights), place().rank == 0
    if first:
        say(f'next: t2i evaluate {folder}   t2i sample "a caption" --run {folder}')
        print(json_module.dumps({"run": str(folder)}) if json else folder)


def start_pretraining(
    name: str, run: Path | None, new: bool, overrides: Sequence[str], weights: Sequence[str], dry: bool, json: bool
) -> None:
    """The same for an encoder, in this process."""
    recipe = load_encoder_recipe(name, overrides)
    folder = run_folder.choose_folder(recipe, run_title(name), run, new)
    if dry:
        tell_plan(pretraining_plan(recipe, folder, weights), to_toml(recipe), json)
        return
    pretrain(recipe, folder, weights)
    if json:
        card = json_module.loads((folder / "card.json").read_text(encoding="utf-8"))
        print(json_module.dumps({"run": str(folder), "held_out": card.get("held_out", {})}))
    else:
        print(folder)


def pretraining_plan(recipe: EncoderRecipe, folder: Path, weights: Sequence[str]) -> dict[str, Any]:
    """The facts of an encoder's run before it starts."""
    shards = ShardFolder(recipe.data.shards, recipe.data.split)
    held_out = ShardFolder(recipe.data.shards, recipe.data.held_out)
    encoder = build_encoder(recipe, shards, Weights(weights))
    loader_of(recipe, shards)
    facts = card(recipe, encoder)
    return {
        "recipe": facts["recipe"],
        "run": str(folder),
        "parameters": facts["parameters"],
        "learning": facts["learning"],
        "words": len(encoder.vocabulary.words),
        "training_images": len(shards),
        "held_out_images": len(held_out),
        **{f"{phase.name}_images": phase.images for phase in encoder.phases()},
    }


def run_title(name: str) -> str:
    """What runs of a recipe are called: its file's name, with the folder of a shipped one."""
    path = find(name)
    shipped = path.is_relative_to(shipped_folder())
    return "-".join(path.relative_to(shipped_folder()).with_suffix("").parts) if shipped else path.stem


def tell_plan(plan: dict[str, Any], recipe: str, json: bool) -> None:
    """What would be trained, from what, to where, and how large it is; nothing is written."""
    if json:
        print(json_module.dumps(plan))
        return
    print(recipe, end="")
    for key, value in plan.items():
        if key != "recipe":
            said = f"{value:,}" if isinstance(value, int) else value
            say(f"{key.replace('_', ' ')}: {said}")


def make_plan(recipe: Recipe, folder: Path, weights: Sequence[str]) -> dict[str, Any]:
    """The facts of a run before it starts."""
    shards = ShardFolder(recipe.data.shards, recipe.data.split)
    for table in terms_of(recipe).values():
        for name in table.pretrained():
            Weights(weights).find(name)
    reader = training_reader(recipe, shards, torch.device("cpu"))
    setting = Setting(recipe.data.image_size, reader.dim, recipe.train.negatives)
    with torch.device("meta"):
        system = registry.load("t2icli.systems", recipe.system).build(recipe.model, setting)
    make_loader(recipe, shards, system.noise_dim)
    per_step = recipe.train.batch_size * recipe.train.d_steps
    generator, discriminator = count(system.generator), count(system.discriminator)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "run": str(folder),
        "generator_parameters": generator,
        "discriminator_parameters": discriminator,
        "training_images": len(shards),
        "generator_updates": -(-recipe.train.images // per_step),
        "epochs": round(recipe.train.images / len(shards), 2),
        "bytes_per_checkpoint": 4 * (3 * (generator + discriminator) + generator),
    }
