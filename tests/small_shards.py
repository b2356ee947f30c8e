"""Small pictures, shards of them, and a stand-in for a trained run."""

import io
import json
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import nn

from t2icli.data.manifest import ShardEntry, TextIdentity
from t2icli.data.shards import ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.storage import sha256


def pictures(count, size=32, seed=0):
    """Smooth random pictures, uint8 (count, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 4, 4, generator=generator)
    large = nn.functional.interpolate(small, (size, size), mode="bilinear")
    return (large * 255).round().to(torch.uint8)


def save(folder, images, ending="png"):
    """Pictures as numbered files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:03}.{ending}")
    return folder


IDENTITY = TextIdentity("tests", "1", "a" * 64, "b" * 64, max_tokens=5, dim=4)


def write_shards(folder, counts=(5, 4), split="val", dataset="scenes", size=32, captions=3):
    """A prepared split: smooth pictures, ``captions`` captions each, vectors of noise."""
    folder.mkdir(parents=True)
    random, entries, first = np.random.RandomState(0), [], 0
    for number, count in enumerate(counts):
        images, texts = [], []
        for row, image in enumerate(pictures(count, size, seed=number)):
            png = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(png, "PNG")
            images.append(StoredImage(100 + first + row, png.getvalue(), size, size))
            for which in range(captions):
                words = random.standard_normal((3, 4)).astype(np.float16)
                text = f"picture {first + row} caption {which}"
                texts.append(StoredCaption(row, text, np.array([1, 2, 3], np.int32), words))
        path = folder / f"{split}-{number:05}-of-{len(counts):05}.h5"
        write_shard(path, ShardContent(images, texts, dim=4), {"split": split})
        sizes = {"tokens": 3 * len(texts), "bytes": path.stat().st_size, "sha256": sha256(path)}
        entries.append(asdict(ShardEntry(path.name, split, count, len(texts), **sizes)))
        first += count
    recipe = {"images": {"size": size, "fit": "squash"}, "text": {"pad_sum": False, "embeddings": "stored"}}
    manifest = {"schema": 2, "dataset": dataset, "shards": entries, "text": asdict(IDENTITY), "recipe": recipe}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@dataclass
class Names:
    """An object with the given attributes, as a recipe's table."""

    values: dict = field(default_factory=dict)

    def model_dump(self, mode):
        return {name: str(value) for name, value in self.values.items()}

    def __getattr__(self, name):
        return self.values[name]


class StandInRun:
    """What scoring needs of a run: pictures that are a function of seed, index and caption only."""

    def __init__(self, folder, shards, protocol, size=32):
        self.folder, self.images, self.weights_sha256 = folder, 1234, "c" * 64
        self.size, self.asked, self.changes = size, [], {}
        data = Names({"shards": shards, "image_size": size})
        self.recipe = Names({"system": "stand-in", "data": data, "evaluate": Names({"protocol": protocol})})

    def generate(self, captions, indices, seed):
        self.asked.append((list(captions), list(indices), seed))
        return torch.cat([pictures(1, self.size, 1000 * seed + i) for i in indices])

    def generate_from_shards(self, folder, captions, indices, seed):
        self.asked.append((captions, list(indices), seed))
        pairs = zip(captions, indices, strict=True)
        return torch.cat([pictures(1, self.size, 1000 * seed + i + 10 * image) for (image, _), i in pairs])
