"""Images/s, captions/s and bytes per image of ``t2i prepare``, images and text apart.

    python bench/prepare.py [--root COCO_2014] [--bert DIR] [--threads 1]

Without --root, scenes are drawn. --bert takes any BertModel folder; without it the bundled small one is used, whose
vectors are 128 wide, so bytes per image are then not those of BERT-base.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from t2icli.data.bert import BertEncoder
from t2icli.data.images import load_picture
from t2icli.data.prepare import Options, prepare, read_source
from t2icli.recipe_files import load_data_recipe

IMAGES, CAPTIONS = 200, 1000  # at most so many are timed apart


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--bert", default="scenes-bert")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name = "coco" if options.root else "scenes"
    overrides = [f"text.model={options.bert}"]
    if name == "scenes":
        overrides += ["reader.train=400", "reader.val=100"]
    recipe = load_data_recipe(name, overrides)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder) / "raw"
        records = [r for records in read_source(recipe, root).splits.values() for r in records]
        start = time.perf_counter()
        for record in records[:IMAGES]:
            load_picture(record.path, recipe.images)
        image_seconds = (time.perf_counter() - start) / len(records[:IMAGES])
        captions = [c for r in records for c in r.captions[: recipe.text.captions_per_image]][:CAPTIONS]
        encoder = BertEncoder(recipe.text.model, recipe.text.max_tokens)
        encoder.encode(captions[:8])
        start = time.perf_counter()
        encoder.encode(captions)
        caption_seconds = (time.perf_counter() - start) / len(captions)
        start = time.perf_counter()
        summary = prepare(recipe, root, Path(folder) / "out", Options(workers=1))
        whole = len(records) / (time.perf_counter() - start)
    print(f"{name}, {recipe.images.size} px, {options.bert}, {options.threads} threads, torch {torch.__version__}")
    print(f"images: {1 / image_seconds:.1f}/s (decode, resize, encode)")
    print(f"captions: {1 / caption_seconds:.1f}/s (tokenise, BERT, sorted by length)")
    print(f"whole: {whole:.1f} images/s; {summary['bytes_per_image']:,} bytes per image with five captions")


if __name__ == "__main__":
    main()
