"""COCO 2014 captions: train2014/, val2014/ and annotations/ as cocodataset.org packs them."""

import contextlib
import io
import json
from pathlib import Path, PurePosixPath
from typing import Any

from t2icli.data.source import Box, Record, Source
from t2icli.errors import DataError
from t2icli.recipe import Section

ANNOTATIONS = "annotations_trainval2014.zip"


class Config(Section):
    """COCO needs nothing but its files."""


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Captions, boxes and pictures of both splits; nothing here depends on the seed."""
    if root is None:
        raise DataError("coco: say where the raw data lies: --root DIR (it holds train2014/, val2014/, annotations/)")
    require(root)
    categories: set[str] = set()
    source = Source("coco", {})
    for split in ("train", "val"):
        source.splits[split] = read_split(root, split, source, categories)
    source.categories = tuple(sorted(categories))
    return source


def require(root: Path) -> None:
    """Name everything that is missing, and where it is to be had."""
    sources = {f"{split}2014": (f"{split}2014.zip", Path.is_dir) for split in ("train", "val")}
    sources |= {f"annotations/captions_{s}2014.json": (ANNOTATIONS, Path.is_file) for s in ("train", "val")}
    missing = [
        f"  {name}: from {archive}" for name, (archive, is_there) in sources.items() if not is_there(root / name)
    ]
    if missing:
        lines = "\n".join(missing)
        raise DataError(
            f"{root}: COCO 2014 is not whole; missing:\n{lines}\n"
            "get them at https://cocodataset.org/#download (2014 train images, val images, train/val annotations) "
            f"and unpack them in {root}"
        )


def read_split(root: Path, split: str, source: Source, categories: set[str]) -> list[Record]:
    """The records of one split in the order of their ids; what cannot be used goes to ``source.left_out``."""
    folder = root / f"{split}2014"
    captions_file = root / "annotations" / f"captions_{split}2014.json"
    captions = load(captions_file)
    boxes = read_boxes(root / "annotations" / f"instances_{split}2014.json", categories)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    records = []
    for number in sorted(captions.imgs):
        name = captions.imgs[number].get("file_name")
        if not isinstance(name, str) or unsafe(name):
            source.leave_out(split, str(name), "the file name is not a path inside the image folder")
        elif str(PurePosixPath(name)) not in present:
            source.leave_out(split, name, f"listed in {captions_file.name}, but there is no {folder.name}/{name}")
        else:
            texts = [annotation.get("caption") for annotation in captions.imgToAnns.get(number, [])]
            records.append(
                Record(number, folder / name, usable(texts, split, name, source), tuple(boxes.get(number, ())))
            )
    return records


def unsafe(name: str) -> bool:
    """Whether a file name leads out of its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or ":" in path.parts[0]


def usable(texts: list[Any], split: str, image: str, source: Source) -> tuple[str, ...]:
    """The captions that are text, in the order of the file."""
    kept = []
    for text in texts:
        if isinstance(text, str) and text.strip():
            kept.append(text)
        else:
            what = "is empty" if isinstance(text, str) else f"is {json.dumps(text)}, not text"
            source.leave_out(split, image, f"caption {what}", caption=True)
    return tuple(kept)


def read_boxes(path: Path, categories: set[str]) -> dict[int, list[Box]]:
    """Boxes by image id; none where the instances file is absent, for captions alone are enough to train."""
    if not path.is_file():
        return {}
    instances = load(path)
    try:
        names = {number: str(category["name"]) for number, category in instances.cats.items()}
        categories.update(names.values())
        return {
            image: [Box(names[a["category_id"]], *map(float, a["bbox"])) for a in annotations]
            for image, annotations in instances.imgToAnns.items()
        }
    except (KeyError, TypeError, ValueError) as fault:
        raise DataError(f"{path}: an annotation is not as COCO has it: {fault!r}") from None


def load(path: Path) -> Any:
    """A COCO file through pycocotools, whose prints are kept off stdout."""
    from pycocotools.coco import COCO

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            index = COCO(str(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: not valid JSON ({fault}); was it cut short while unpacking?") from None
    except (KeyError, TypeError, AssertionError) as fault:
        raise DataError(f"{path}: not an annotation file of COCO ({fault!r})") from None
    if not index.imgs:
        raise DataError(f"{path}: lists no images")
    return index
