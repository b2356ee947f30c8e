"""Images/s of the training loader in one process, from prepared shards.

    python bench/loader.py [--shards DIR] [--size 32] [--batch 16] [--batches 200] [--workers 0]

Without --shards, scenes are drawn and prepared first. Reads are from a warm page cache.
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from t2icli.data.loader import Loader
from t2icli.data.prepare import prepare
from t2icli.data.shards import ShardFolder
from t2icli.recipe_files import load_data_recipe


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards
        if shards is None:
            recipe = load_data_recipe("scenes", ["reader.train=500", "reader.val=20", f"images.size={options.size}"])
            shards = Path(folder) / "out"
            prepare(recipe, Path(folder) / "raw", shards, workers=1)
        loader = Loader(ShardFolder(shards, "train"), options.size, options.batch, workers=options.workers)
        batches = loader.batches()
        list(islice(batches, 20))
        start = time.perf_counter()
        list(islice(batches, options.batches))
        rate = options.batches * options.batch / (time.perf_counter() - start)
    print(f"{options.size} px, batch {options.batch}, {options.workers} workers: {rate:,.0f} images/s")


if __name__ == "__main__":
    main()
