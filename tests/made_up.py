"""Batches of random images and captions, and folders of pictures."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from t2icli.batch import Batch, Text

WORD_DIM = 12


def made_up_text(images: int = 4, positions: int = 6, seed: int = 0) -> Text:
    """Captions of different lengths; vectors are zero where no token is."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([3 + i % (positions - 2) for i in range(images)])
    mask = torch.arange(positions) < lengths[:, None]
    words = torch.randn(images, positions, WORD_DIM, generator=generator) * mask[:, :, None]
    tokens = torch.randint(1, 90, (images, positions), generator=generator) * mask
    return Text(words, words.sum(1) / lengths[:, None], mask, tokens)


def made_up_batch(size: int, noise_dim: int, images: int = 4, seed: int = 0) -> Batch:
    """Random images of a size with random captions and noise."""
    generator = torch.Generator().manual_seed(seed + 1)
    image = torch.rand(images, 3, size, size, generator=generator) * 2 - 1
    noise = torch.randn(images, noise_dim, generator=generator)
    captions = tuple(f"{CAPTIONS[i % len(CAPTIONS)]} {'and more ' * (i % 4)}" for i in range(images))
    return Batch(image, made_up_text(images, seed=seed), noise, captions, torch.full((images,), -1))


def half(batch: Batch, rank: int) -> Batch:
    """What one of two processes has of a batch."""

    def mine(x: Tensor) -> Tensor:
        return x.chunk(2)[rank]

    text = batch.text
    return Batch(
        mine(batch.image),
        Text(mine(text.words), mine(text.sentence), mine(text.mask), mine(text.tokens)),
        mine(batch.noise),
        batch.captions[rank * len(batch.captions) // 2 : (rank + 1) * len(batch.captions) // 2],
        mine(batch.classes),
    )


CAPTIONS = ["a red bus on the street", "a blue dog.", "the sea"]


def made_up_pictures(root: Path, count: int, size: tuple[int, int] = (48, 32)) -> Path:
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
