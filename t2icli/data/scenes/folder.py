"""Writes drawn scenes as a folder in the COCO 2014 layout."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from t2icli.data.scenes.captions import CAPTIONS, describe
from t2icli.data.scenes.drawing import Region, paint
from t2icli.data.scenes.world import CATEGORIES, Scene, compose
from t2icli.documents import read_json
from t2icli.errors import DataError
from t2icli.storage import write_text

CARD = "scenes.json"
# Raised whenever the same seed would give other pictures or captions, so that old folders are drawn again.
VERSION = 1
# COCO's image ids are unique over both splits; validation starts where training cannot reach.
FIRST_ID = {"train": 1, "val": 1_000_001}
Annotations = dict[str, list[dict[str, Any]]]


def draw(folder: Path, size: int = 64, train: int = 4000, val: int = 2000, seed: int = 0, max_objects: int = 3) -> None:
    """Fill ``folder`` with pictures and annotations; nothing is done where the same ones are complete already."""
    counts = {"train": train, "val": val}
    card = {"version": VERSION, "size": size, **counts, "max_objects": max_objects, "seed": seed}
    if read_card(folder) == {**card, "complete": True}:
        return
    # The card comes first as a claim on the folder and last as the word that all is there.
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CARD, json.dumps({**card, "complete": False}))
    (folder / "annotations").mkdir(exist_ok=True)
    for split, count in counts.items():
        draw_split(folder, split, count, size, seed, max_objects)
    write_text(folder / CARD, json.dumps({**card, "complete": True}))


def read_card(folder: Path) -> dict[str, Any] | None:
    """What a folder says of itself; a folder with annotations that are not ours is refused."""
    path = folder / CARD
    if path.is_file():
        try:
            card = read_json(path)
        except DataError:
            return None
        return card if isinstance(card, dict) else None
    # the folder that version 0.1 made before its card, and was killed or out of space, is empty but for a draft
    if any(not entry.name.startswith(".") for entry in (folder / "annotations").glob("*")):
        raise DataError(
            f"{folder}: holds annotations but no {CARD}, so another data set lies there; "
            "give scenes a folder of its own"
        )
    return None


def draw_split(folder: Path, split: str, count: int, size: int, seed: int, max_objects: int) -> None:
    """Pictures first, then the two annotation files; pictures beyond the count (of an older drawing) go."""
    name = f"{split}2014"
    (folder / name).mkdir(parents=True, exist_ok=True)
    captions: Annotations = {"images": [], "annotations": []}
    instances: Annotations = {"images": [], "annotations": [], "categories": categories()}
    for index in range(count):
        # Every picture has a stream of its own: its content does not depend on how many are drawn.
        rng = np.random.default_rng((seed, FIRST_ID[split], index))
        scene = compose(rng, max_objects)
        image, regions = paint(scene, size)
        file_name = f"COCO_{name}_{FIRST_ID[split] + index:012d}.jpg"
        entry: dict[str, Any] = {
            "id": FIRST_ID[split] + index,
            "file_name": file_name,
            "height": size,
            "width": size,
            "place": scene.place,
        }
        path = folder / name / file_name
        temporary = path.with_suffix(f".{os.getpid()}.part")
        image.save(temporary, format="JPEG", quality=97, subsampling=0)
        temporary.replace(path)
        record(captions, instances, entry, scene, regions, describe(scene, rng))
    wanted = {entry["file_name"] for entry in captions["images"]}
    for stale in (folder / name).glob("COCO_*.jpg"):
        if stale.name not in wanted:
            stale.unlink(missing_ok=True)
    write_text(folder / "annotations" / f"captions_{name}.json", json.dumps(captions))
    write_text(folder / "annotations" / f"instances_{name}.json", json.dumps(instances))


def record(
    captions: Annotations,
    instances: Annotations,
    entry: dict[str, Any],
    scene: Scene,
    regions: list[Region],
    said: tuple[str, ...],
) -> None:
    """Add one picture to both annotation files; ``place`` and ``colour`` are keys that COCO does not have."""
    image = entry["id"]
    captions["images"].append(entry)
    instances["images"].append(entry)
    for number, caption in enumerate(said):
        captions["annotations"].append({"image_id": image, "id": image * CAPTIONS + number, "caption": caption})
    for number, (thing, region) in enumerate(zip(scene.things, regions, strict=True)):
        instances["annotations"].append(
            {
                "id": image * 10 + number,
                "image_id": image,
                "category_id": CATEGORIES[thing.category].coco_id,
                "bbox": [region.x, region.y, region.width, region.height],
                "area": region.area,
                "iscrowd": 0,
                "colour": thing.colour,
            }
        )


def categories() -> list[dict[str, Any]]:
    """COCO's entries for the categories of this world, in COCO's order."""
    return [
        {"supercategory": category.group, "id": category.coco_id, "name": name} for name, category in CATEGORIES.items()
    ]
