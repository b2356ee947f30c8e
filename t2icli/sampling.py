"""Pictures from a trained generator.

Picture i's noise is a function of (seed, i) alone, so a picture does not depend on the batch, the process
or the order in which it is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2icli import registry
from t2icli.batch import Text
from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.memory import outline, refuse_holding
from t2icli.reading import Reader, trained_reader
from t2icli.recipe import Recipe
from t2icli.recipe_files import Change, changes, override, parse
from t2icli.setting import Setting
from t2icli.storage import sha256
from t2icli.systems._base import System
from t2icli.training.checkpoint import WEIGHTS, read_generator
from t2icli.training.finding import find_run
from t2icli.weight_files import fill, misfit

BATCH = 32  # pictures drawn together


@dataclass
class TrainedRun:
    """A run's averaged generator with what it needs to read captions."""

    folder: Path
    recipe: Recipe
    system: System
    reader: Reader
    images: int  # real images it was trained on: the run's clock
    weights_sha256: str
    device: torch.device
    changes: Mapping[str, Change] = field(default_factory=dict)  # keys of the recipe that were changed for drawing

    def generate(self, captions: Sequence[str], indices: Sequence[int], seed: int) -> Tensor:
        """Pictures for captions, uint8 ``(n, 3, S, S)``; ``indices`` number the pictures for their noise."""
        empty = [i for i, caption in enumerate(captions) if not caption.strip()]
        if empty:
            raise UserError(f"caption {empty[0] + 1} of {len(captions)} is empty; write what the picture should show")
        return self.draw(self.reader.captions(captions), indices, seed)

    def generate_from_shards(
        self, folder: ShardFolder, captions: Sequence[tuple[int, int]], indices: Sequence[int], seed: int
    ) -> Tensor:
        """The same for captions of shards: pairs of (picture of the split, which of its captions)."""
        return self.draw(self.reader.stored(folder, captions), indices, seed)

    @torch.no_grad()
    def draw(self, text: Text, indices: Sequence[int], seed: int) -> Tensor:
        """Pictures for captions that were read."""
        drawn = []
        for start in range(0, len(indices), BATCH):
            part = slice(start, start + BATCH)
            noise = noise_for(indices[part], self.system.noise_dim, seed).to(self.device)
            piece = Text(text.words[part], text.sentence[part], text.mask[part], text.tokens[part])
            drawn.append(to_uint8(self.system.generate(piece, self.system.drawing_noise(noise)).images[-1]).cpu())
        return torch.cat(drawn)


def noise_for(indices: Sequence[int], dim: int, seed: int) -> Tensor:
    """Standard normal noise ``(n, dim)``; each row depends on the seed and its own index only."""
    rows = [np.random.Generator(np.random.Philox(key=[seed, i])).standard_normal(dim, np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows))


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to 0..255, rounded to the nearest level (published code often cuts off, half a level darker)."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def open_run(run: Path | None, overrides: Sequence[str] = (), device: torch.device | None = None) -> TrainedRun:
    """The newest run, or the one named: a run folder, or a file of weights that ``train`` wrote."""
    path = find_run(run)
    file = path if path.is_file() else path / WEIGHTS
    if not file.is_file():
        raise DataError(f"{path}: has no {WEIGHTS} yet; they are written at the run's first checkpoint")
    header, tensors = read_generator(file)
    recipe = recipe_in(header["recipe"], overrides, file)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reader = trained_reader(header["text"], recipe, file, device)
    system = system_of(recipe, Setting(recipe.data.image_size, reader.dim), tensors, file)
    changed = changes(header["recipe"], overrides, recipe)
    return TrainedRun(path, recipe, system.eval().to(device), reader, header["images"], sha256(file), device, changed)


def recipe_in(raw: dict[str, Any], overrides: Sequence[str], file: Path) -> Recipe:
    """The recipe in a header of weights, with what ``--set`` changes; a damaged one is the file's fault."""
    try:
        recipe = parse(raw, f"{file}: damaged: its recipe")
    except RecipeError as fault:
        raise DataError(str(fault)) from None
    return parse(override(raw, overrides), f"{file} (its recipe)") if overrides else recipe


def system_of(recipe: Recipe, setting: Setting, tensors: Mapping[str, Tensor], file: Path) -> System:
    """The networks of a recipe with a generator's weights; nothing is built that they do not fit."""
    build = partial(registry.load("t2icli.systems", recipe.system).build, recipe.model, setting)
    outlined: System = outline(build)
    fault = misfit(outlined.generator.state_dict(), tensors)
    if fault is not None:
        raise DataError(f"{file}: does not fit its recipe: {fault}")
    refuse_holding(outlined, torch.device("cpu"))
    system: System = build()
    fill(system.generator, tensors, f"{file}: does not fit its recipe")
    return system
