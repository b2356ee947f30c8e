"""A folder of pictures, and a way to prepare it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2icli.data.prepare import prepare
from t2icli.recipe import load_data_recipe

CAPTIONS = ["a red bus on the street", "a blue dog.", "the sea"]


def draw_pictures(root: Path, count: int, size: tuple[int, int] = (48, 32)) -> Path:
    """Photographs of noise, each with three captions."""
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    lines = []
    for number in range(count):
        pixels = random.integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(root / f"{number:03d}.png")
        lines.append(json.dumps({"file": f"{number:03d}.png", "captions": [f"{c} {number}" for c in CAPTIONS]}))
    (root / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures."""
    return draw_pictures(tmp_path / "pictures", 12)


@pytest.fixture
def prepared(tiny_bert: Path) -> Callable[..., dict[str, Any]]:
    """Prepare a folder of pictures at 16 px, four images a shard."""

    def run(root: Path, out: Path, *overrides: str, **options: Any) -> dict[str, Any]:
        settings = [f"text.model={tiny_bert}", "text.max_tokens=12", "images.size=16", "images_per_shard=4"]
        recipe = load_data_recipe("folder", [*settings, "reader.val_share=0.3", *overrides])
        return prepare(recipe, root, out, workers=options.pop("workers", 1), **options)

    return run
