"""Does a run trained on scenes draw the place and the colour that a caption says?

    python bench/place_and_colour.py RUN [--per-pair 20] [--json]

Samples every pair of place and colour, with the categories in turn, and reads place and colour twice: from the
pixels (bench/reading_pixels.py) and by the recogniser that comes with t2i. Beside it the same for real drawings of
the same captions. Chance is 1 in 6 and 1 in 8.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from reading_pixels import read_colour, read_place
from torch import Tensor

from t2icli.data.scenes import CATEGORIES, COLOURS, PLACES, one_scene, paint
from t2icli.evaluation.scenes_recogniser import place_objects_colours_right
from t2icli.sampling import open_run

PHRASES = {
    "street": "on a street",
    "sea": "on the sea",
    "grass": "on the grass",
    "beach": "on a beach",
    "snow": "in the snow",
    "night": "in the night sky",
}
Asked = tuple[str, str, str]  # place, colour, category


def asked(per_pair: int) -> list[Asked]:
    """Every pair of place and colour, each with ``per_pair`` categories in turn."""
    names = itertools.cycle(CATEGORIES)
    return [(place, colour, next(names)) for place in PLACES for colour in COLOURS for _ in range(per_pair)]


def caption(place: str, colour: str, category: str) -> str:
    """As a user would type it."""
    article = "an" if colour[0] in "aeiou" else "a"
    return f"{article} {colour} {category} {PHRASES[place]}"


def drawings(wanted: list[Asked], size: int) -> Tensor:
    """Real pictures of what is asked: uint8 (n, 3, S, S)."""
    random = np.random.default_rng(1)
    pictures = []
    for place, colour, category in wanted:
        image, _ = paint(one_scene(place, category, colour, random), 64)
        pictures.append(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def shares(pictures: Tensor, wanted: list[Asked]) -> dict[str, float]:
    """Shares right by pixels and by the recogniser."""
    arrays = pictures.permute(0, 2, 3, 1).numpy()
    by_network = place_objects_colours_right(pictures, [caption(*one) for one in wanted])
    return {
        "place by pixels": float(np.mean([read_place(a) == w[0] for a, w in zip(arrays, wanted, strict=True)])),
        "colour by pixels": float(np.mean([read_colour(a) == w[1] for a, w in zip(arrays, wanted, strict=True)])),
        "place by recogniser": by_network["place"],
        "colour by recogniser": by_network["colours"],
        "object by recogniser": by_network["objects"],
    }


def main() -> None:
    """Sample, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--per-pair", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = asked(options.per_pair)
    run = open_run(options.run)
    generated = run.generate([caption(*one) for one in wanted], range(len(wanted)), seed=0)
    size = run.recipe.data.image_size
    result = {"generated": shares(generated, wanted), "real": shares(drawings(wanted, size), wanted)}
    if options.json:
        print(json.dumps({"pictures": len(wanted), "size": size, **result}))
        return
    print(f"{len(wanted)} pictures of {size} px after {run.images:,} training images")
    for name in result["real"]:
        print(f"{name:22}{result['generated'][name]:8.1%}   real drawings {result['real'][name]:6.1%}")


if __name__ == "__main__":
    main()
