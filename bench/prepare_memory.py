"""Peak memory of ``t2i prepare``: of planning, which sees every image, and of a worker, which sees its own shards.

    python bench/prepare_memory.py [--images 20000 60000] [--extrapolate 500000] [--bert DIR]

Draws a folder of 8 x 8 pixel PNGs with five captions each for every number of images, plans it in a process of its
own and lets one worker write two shards; prints both peaks and the planner's bytes per image, extrapolated.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from t2icli.data.engines.pool import build_in_worker, start_worker
from t2icli.data.plan import make_settings
from t2icli.data.prepare import planned
from t2icli.data.text_encoder import text_encoder
from t2icli.recipe_files import load_data_recipe

WORDS = "a the man woman dog cat red blue street table standing sitting with on near holding large small white"
LIMIT = 2_000_000_000  # bytes for each process


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=[20_000, 60_000])
    parser.add_argument("--extrapolate", type=int, default=500_000)
    parser.add_argument("--bert", default="none", help="folder of a BertModel; none stores no vectors")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.bert)))
        return
    found = [measure_apart(count, options.bert) for count in options.images]
    (small, large), (few, many) = found, options.images
    slope = (large["planner"] - small["planner"]) / (many - few)
    there = large["planner"] + slope * (options.extrapolate - many)
    print(f"planner: {slope:,.0f} bytes per image; {options.extrapolate:,} images: {there / 1e6:,.0f} MB")
    print(f"worker: {(large['worker'] - small['worker']) / (many - few):,.0f} bytes per image")
    print(f"under {LIMIT / 1e9:.0f} GB each: {max(there, large['worker']) < LIMIT}")


def measure_apart(count: int, bert: str) -> dict[str, float]:
    """Both peaks for a number of images, in bytes, taken in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "raw", count)
        command = [sys.executable, __file__, "--measure", folder, "--bert", bert]
        found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(
        f"{count:,} images: planner {found['planner'] / 1e6:,.0f} MB (of which {found['start'] / 1e6:,.0f} MB before "
        f"it began) in {found['seconds']:.1f} s, worker {found['worker'] / 1e6:,.0f} MB"
    )
    return found


def draw(root: Path, count: int) -> None:
    """A tree of so many pictures, a thousand in each folder."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    random = np.random.default_rng(0)
    root.mkdir()
    with (root / "captions.jsonl").open("w") as lines:
        for number in range(count):
            name = f"{number // 1000:04d}/{number:012d}.png"
            if number % 1000 == 0:
                (root / name).parent.mkdir()
            (root / name).write_bytes(data.getvalue())
            captions = [" ".join(words) for words in random.choice(WORDS.split(), (5, 10))]
            lines.write(json.dumps({"file": name, "captions": captions}) + "\n")


def measure(folder: Path, bert: str) -> dict[str, float]:
    """Both peaks for a folder, in bytes."""
    recipe = load_data_recipe("folder", [f"text.model={bert}"])
    encoder = text_encoder(bert, recipe.text.max_tokens)
    start, begun = peak(), time.perf_counter()
    plan, _ = planned(recipe, folder / "raw", encoder.identity)
    seconds = time.perf_counter() - begun
    settings = make_settings(plan, recipe, folder, threads=1)
    context = get_context("spawn")
    arguments = (settings, context.Value("q", 0), context.Event())
    with ProcessPoolExecutor(1, context, start_worker, arguments) as pool:
        for task in plan.tasks[:2]:
            pool.submit(build_in_worker, task).result()
        return {"start": start, "planner": peak(), "worker": pool.submit(peak).result(), "seconds": seconds}


def peak() -> int:
    """Most bytes of memory that this process ever held; not getrusage's, which a child takes over from its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
