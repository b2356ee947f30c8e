"""Does every system learn, with its terms? Trains shipped scenes recipes for a while and prints each loss's course.

    python bench/short_runs.py RECIPE... [--images 6400] [--set KEY=VALUE]

For each loss of the generator the mean over the first and over the last tenth of the run, from its log. Recipes name
their encoders under runs/; train those first (t2i pretrain-encoders damsm-scenes, stream-scenes, vlm-scenes).
"""

import argparse
import json
import tempfile
from pathlib import Path

from t2icli.recipe_files import load_recipe
from t2icli.training.loop import train

PARTS = 10  # of a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--images", type=int, default=6_400)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    every = options.images // PARTS
    length = [f"train.{key}={options.images}" for key in ("images", "save_every", "sample_every")]
    for name in options.recipes:
        recipe = load_recipe(name, [*length, f"train.log_every={every}", *options.overrides])
        with tempfile.TemporaryDirectory() as folder:
            run = train(recipe, lambda folder=folder: Path(folder) / "run")
            lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        print(f"{name}: {options.images:,} images, {lines[-1]['images_per_second']:.1f} images/s at the end")
        for key in lines[0]:
            if key.startswith("g/"):
                print(f"  {key[2:]:24} {lines[0][key]:9.3f} -> {lines[-1][key]:9.3f}")


if __name__ == "__main__":
    main()
