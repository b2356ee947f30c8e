"""Images/s of the training loader, from prepared shards in shuffled order.

    python bench/loader.py [--shards DIR] [--size 32] [--batch 16] [--batches 200] [--workers 0 2] [--rounds 3] [--cold]

Without --shards, scenes are drawn and prepared first. Numbers of workers are measured in turns, each time with files
opened anew in every process that reads; the start of the workers is not counted. Medians over the rounds. Reads are
from a warm page cache, or with --cold from the disk: the kernel is asked to forget the shards before each.
"""

import argparse
import os
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from t2icli.data.loader import Loader
from t2icli.data.prepare import Options, prepare
from t2icli.data.shard_folder import ShardFolder
from t2icli.recipe_files import load_data_recipe


def forget(path: Path) -> None:
    """Ask the kernel to drop a file from its page cache."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)  # what is not on the disk yet cannot be dropped
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def images_per_second(shards: Path, options: argparse.Namespace, workers: int) -> float:
    """Over ``options.batches`` batches, after as many as the workers fetch ahead."""
    folder = ShardFolder(shards, options.split)
    if options.cold:
        for entry in folder.entries:
            forget(shards / entry.file)
    sentence = "masked_mean" if folder.word_dim else None
    batches = Loader(folder, options.size, options.batch, sentence=sentence, workers=workers).batches()
    list(islice(batches, max(1, 2 * workers)))
    start = time.perf_counter()
    list(islice(batches, options.batches))
    return float(options.batches * options.batch / (time.perf_counter() - start))


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards
        if shards is None:
            recipe = load_data_recipe("scenes", ["reader.train=500", "reader.val=20", f"images.size={options.size}"])
            shards = Path(folder) / "out"
            prepare(recipe, Path(folder) / "raw", shards, Options(workers=1))
        torch.set_num_threads(1)  # after prepare, which sets it too
        rates: dict[int, list[float]] = {workers: [] for workers in options.workers}
        for _ in range(options.rounds):
            for workers in options.workers:
                rates[workers].append(images_per_second(shards, options, workers))
    for workers, values in rates.items():
        cache = "cold" if options.cold else "warm"
        print(
            f"{options.size} px, batch {options.batch}, {workers} workers, {cache} page cache: "
            f"{statistics.median(values):,.0f} images/s"
        )


if __name__ == "__main__":
    main()
