"""Images/s of the training loader against two ways in which released GANs read their pictures, in one process.

    python bench/loader_others.py COCO_ROOT [--rounds 5] [--images 288] [--limit 150] [--cold]

Photographs are prepared in a temporary folder as ``t2i prepare coco-304`` stores them. In turns, round by round, and
each time with files opened anew, the same photographs are read as batches of 16 float pictures of 256 px, cropped at
random and flipped:

* ours: the loader, from shards; also from shards that hold pictures of 256 px, of which nothing is cropped; and its
  decoding alone, as it is and with torchvision's decoder (deprecated since torchvision 0.29) in place of Pillow's;
* originals: the photographs decoded by Pillow, shorter side to 304, crop and flip by torchvision, as the released
  AttnGAN and DF-GAN loaders do;
* hdf5: raw pictures of 256 px in chunks of 500, the file opened for every item, as StudioGAN's loader does; without
  compression and with LZF. Cropping at random is left out there.

Medians over the rounds. Reads are from a warm page cache, or with --cold the kernel is asked to forget the files before
each. Processor time leaves out what other programs take from the
cores; system calls and page faults are in it.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from loader import forget
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg

from t2icli.data.loader import Loader
from t2icli.data.prepare import Options, prepare, read_source
from t2icli.data.shard_folder import ShardFolder
from t2icli.recipe_files import load_data_recipe

SIZE, STORED, BATCH = 256, 304, 16
CHUNK, CHUNKS = 500, 6
SLOW = 20  # times fewer items where one takes a fifth of a second
FLOATS = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]


def ours(shards: Path, split: str, images: int) -> None:
    batches = Loader(ShardFolder(shards, split), SIZE, BATCH, sentence=None).batches()
    for (loaded,) in islice(batches, images // BATCH):
        loaded.pairs(torch.device("cpu"))


def shard_bytes(shards: Path, split: str, images: int) -> list[bytes]:
    folder = ShardFolder(shards, split)
    order = np.random.default_rng(0).permutation(images) % len(folder)
    places = [folder.locate(int(i)) for i in order]
    return [shard.image_bytes(row) for shard, row in places]


def decoded_by_pillow(shards: Path, split: str, images: int) -> None:
    for data in shard_bytes(shards, split, images):
        np.asarray(Image.open(io.BytesIO(data)))


def decoded_by_torchvision(shards: Path, split: str, images: int) -> None:
    for data in shard_bytes(shards, split, images):
        decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)


def originals(paths: list[Path], images: int) -> None:
    change = [transforms.Resize(STORED), transforms.RandomCrop(SIZE), transforms.RandomHorizontalFlip(), *FLOATS]
    read(lambda i: transforms.Compose(change)(Image.open(paths[i % len(paths)]).convert("RGB")), images)


def hdf5(path: Path, images: int) -> None:
    change = transforms.Compose([transforms.RandomHorizontalFlip(), *FLOATS])

    def item(index: int) -> Tensor:
        with h5py.File(path, "r") as file:
            picture = file["pictures"][index]
        return change(Image.fromarray(picture.transpose(1, 2, 0)))

    read(item, images)


def read(item: Callable[[int], Tensor], images: int) -> None:
    """Items in random order, as batches."""
    order = np.random.default_rng(0).permutation(CHUNK * CHUNKS)[:images]
    for start in range(0, images, BATCH):
        torch.stack([item(int(i)) for i in order[start : start + BATCH]])


def write_hdf5(path: Path, paths: list[Path], compression: str | None) -> None:
    """The photographs at 256 px, raw, repeated until six chunks are full."""
    squash = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE)])
    raw = np.stack([np.asarray(squash(Image.open(p).convert("RGB"))).transpose(2, 0, 1) for p in paths])
    with h5py.File(path, "w") as file:
        pictures = file.create_dataset(
            "pictures",
            (CHUNK * CHUNKS, 3, SIZE, SIZE),
            "u1",
            chunks=(CHUNK, 3, SIZE, SIZE),
            compression=compression,
        )
        for start in range(0, len(pictures), CHUNK):
            pictures[start : start + CHUNK] = raw[np.arange(start, start + CHUNK) % len(raw)]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=288, help="read by each in each round")
    parser.add_argument("--split", default="val")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--limit", type=int, default=150, help="different photographs of what is not ours, at most")
    options = parser.parse_args()
    images = options.images // BATCH * BATCH
    with tempfile.TemporaryDirectory() as folder:
        shards, squares = Path(folder) / "shards", Path(folder) / "squares"
        recipe = load_data_recipe("coco-304", [])
        prepare(recipe, options.root, shards, Options(workers=1, max_bad=1.0))
        prepare(load_data_recipe("coco", ["text.model=none"]), options.root, squares, Options(workers=1, max_bad=1.0))
        torch.set_num_threads(1)  # after prepare, which sets it too
        paths = [r.path for r in read_source(recipe, options.root).splits[options.split]][: options.limit]
        raw, packed = Path(folder) / "raw.h5", Path(folder) / "lzf.h5"
        write_hdf5(raw, paths, None)
        write_hdf5(packed, paths, "lzf")
        ways: dict[str, tuple[Callable[[int], None], int]] = {
            "ours": (lambda n: ours(shards, options.split, n), images),
            "ours, 256 px stored": (lambda n: ours(squares, options.split, n), images),
            "Pillow decodes": (lambda n: decoded_by_pillow(shards, options.split, n), images),
            "torchvision decodes": (lambda n: decoded_by_torchvision(shards, options.split, n), images),
            "(a) originals": (lambda n: originals(paths, n), images),
            "(b) hdf5": (lambda n: hdf5(raw, n), images),
            "(b) hdf5, LZF": (lambda n: hdf5(packed, n), max(BATCH, images // SLOW // BATCH * BATCH)),
        }
        files = [*shards.glob("*.h5"), *squares.glob("*.h5"), raw, packed, *paths] if options.cold else []
        rates = measure(ways, options.rounds, files)
    cache = "cold" if options.cold else "warm"
    print(f"{images} images a round, {options.rounds} rounds, one thread, {cache} cache, torch {torch.__version__}")
    for name, values in rates.items():
        middle = [statistics.median(value[clock] for value in values) for clock in (0, 1)]
        ratios = [
            statistics.median(own[clock] / other[clock] for own, other in zip(rates["ours"], values, strict=True))
            for clock in (0, 1)
        ]
        print(
            f"{name:22}{middle[0]:7.1f} images/s, ours is {ratios[0]:6.2f} times as fast; "
            f"by processor time {middle[1]:7.1f}, {ratios[1]:6.2f} times"
        )


def measure(
    ways: dict[str, tuple[Callable[[int], None], int]], rounds: int, files: list[Path]
) -> dict[str, list[tuple[float, float]]]:
    """Images/s of every way in every round by the wall and by processor time, after one round that does not count.

    Each begins with files that the kernel has forgotten.
    """
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (way, images) in ways.items():
            for file in files:
                forget(file)
            wall, processor = time.perf_counter(), time.process_time()
            way(images)
            if number:
                rates[name].append((images / (time.perf_counter() - wall), images / (time.process_time() - processor)))
    return rates


if __name__ == "__main__":
    main()
