"""Pictures from a trained generator.

Picture i's noise is a function of (seed, i) alone, so a picture does not depend on the batch, the process
or the order in which it is drawn.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchvision.utils import make_grid

from t2icli import registry
from t2icli.batch import Text
from t2icli.console import say
from t2icli.data.captions.lists import captions_alone
from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, UserError
from t2icli.reading import Reader, trained_reader
from t2icli.recipe import Recipe
from t2icli.recipe_files import Change, changes, override, parse
from t2icli.setting import Setting
from t2icli.storage import sha256, write_atomically, write_text
from t2icli.systems._base import System
from t2icli.training.checkpoint import WEIGHTS
from t2icli.training.run import find_run

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
    header, tensors = read_weights(file)
    recipe = parse(override(header["recipe"], overrides), f"{file} (its recipe)")
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reader = trained_reader(header["text"], recipe, file, device)
    system: System = registry.load("t2icli.systems", recipe.system).build(
        recipe.model, Setting(recipe.data.image_size, reader.dim)
    )
    try:
        system.generator.load_state_dict(tensors)
    except RuntimeError as fault:
        raise DataError(f"{file}: does not fit its recipe: {str(fault).splitlines()[1].strip()}") from None
    changed = changes(header["recipe"], overrides, recipe)
    return TrainedRun(path, recipe, system.eval().to(device), reader, header["images"], sha256(file), device, changed)


def read_weights(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file of weights."""
    try:
        with safe_open(file, framework="pt") as content:
            header = json.loads((content.metadata() or {})["t2i"])
            return header, {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise DataError(f"{file}: damaged, or no safetensors file: {fault}") from None
    except KeyError:
        raise DataError(f"{file}: holds weights, but not of a t2i run (its header has no 't2i')") from None


# ---------------------------------------------------------------------------- files


def sample_to_files(
    caption: str | None,
    file: Path | None,
    run: Path | None,
    count: int,
    seed: int,
    out: Path | None,
    single: bool,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """What ``t2i sample`` does: draw, write, and print the path."""
    if (caption is None) == (file is None):
        raise UserError('give either a caption, e.g. t2i sample "a red bus on a street", or --file CAPTIONS')
    captions = captions_alone(file) if file is not None else [caption or ""]
    opened = open_run(run, overrides)
    paths = sample(captions, opened, count, seed, out, single)
    say(f"{len(captions) * count} pictures by {opened.recipe.system} after {opened.images:,} images, {opened.folder}")
    where = paths[0].parent if single else paths[0]
    print(json.dumps({"paths": [str(path) for path in paths], "run": str(opened.folder)}) if as_json else where)


def sample(
    captions: Sequence[str], run: TrainedRun, count: int, seed: int, out: Path | None, single: bool
) -> list[Path]:
    """Draw ``count`` pictures a caption and write them: one grid (a row a caption), or a file each in a folder.

    The folder also gets ``captions.jsonl``, so that ``t2i evaluate`` and ``t2i prepare folder`` can read it.
    """
    repeated = [caption for caption in captions for _ in range(count)]
    pictures = run.generate(repeated, range(len(repeated)), seed)
    facts = {"run": str(run.folder), "images": run.images, "weights": run.weights_sha256, "seed": seed}
    if single:
        return write_singles(pictures, repeated, facts, out or Path(slug(captions[0])))
    path = out or Path(f"{slug(captions[0])}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = count if len(captions) > 1 else min(count, 8)
    grid = make_grid(pictures, nrow=columns, padding=2) if len(pictures) > 1 else pictures[0]
    write_png(path, grid, {"caption": "\n".join(captions), **facts})
    return [path]


def write_singles(pictures: Tensor, captions: Sequence[str], facts: dict[str, object], folder: Path) -> list[Path]:
    """A PNG for every picture, and what each shows."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:06d}.png" for index in range(len(pictures))]
    for index, (path, picture) in enumerate(zip(paths, pictures, strict=True)):
        write_png(path, picture, {"caption": captions[index], "index": index, **facts})
    lines = [
        json.dumps({"file": path.name, "captions": [caption]}, ensure_ascii=False)
        for path, caption in zip(paths, captions, strict=True)
    ]
    write_text(folder / "captions.jsonl", "\n".join(lines) + "\n")
    return paths


def write_png(path: Path, picture: Tensor, facts: dict[str, object]) -> None:
    """A picture uint8 ``(3, H, W)`` with what is known of it in the file's text fields."""
    info = PngInfo()
    for key, value in facts.items():
        info.add_itxt(key, str(value))
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG", pnginfo=info))


def slug(caption: str) -> str:
    """A file name made of a caption's words."""
    words = re.sub(r"[^\w]+", "-", caption.lower()).strip("-")
    return words[:60].rstrip("-") or "picture"
