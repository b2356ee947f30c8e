"""What a run would be, for ``--dry-run``: everything is built as for training, and nothing is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from t2icli.data.shard_folder import ShardFolder
from t2icli.memory import BYTES, count, trained_numbers
from t2icli.reading import training_reader
from t2icli.recipe import EncoderRecipe, Recipe
from t2icli.setting import Setting
from t2icli.training.pretraining import build_encoder, card, loader_of
from t2icli.training.trainer import make_loader, outline_of, terms_of
from t2icli.weights import Weights


def make_plan(recipe: Recipe, folder: Path, weights: Sequence[str]) -> dict[str, Any]:
    """The facts of a run before it starts."""
    shards = ShardFolder(recipe.data.shards, recipe.data.split)
    for table in terms_of(recipe).values():
        for name in table.pretrained():
            Weights(weights).find(name)
    reader = training_reader(recipe, shards, torch.device("cpu"))
    setting = Setting(recipe.data.image_size, reader.dim, recipe.train.negatives)
    system = outline_of(recipe, setting, torch.device("cpu"))
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
        "bytes_per_checkpoint": BYTES * trained_numbers(system.generator, system.discriminator),
    }


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
