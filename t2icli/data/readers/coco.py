"""COCO 2014 captions: train2014/, val2014/ and annotations/ as cocodataset.org packs them.

The split is COCO's own, or Karpathy's for captioning: 113,287 images to train on, 5,000 to validate and 5,000 to test.
"""

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t2icli.data.places import Folders, refuse_links, shown, strange
from t2icli.data.source import FARTHEST, Box, Record, Source
from t2icli.errors import DataError
from t2icli.recipe import Section

ANNOTATIONS = "annotations_trainval2014.zip"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
FOLDERS = ("train2014", "val2014")
PUBLISHED = {  # images; with each the papers count its first five captions
    "official": {"train": 82_783, "val": 40_504},
    "karpathy": {"train": 113_287, "val": 5_000, "test": 5_000},
}
CAPTIONS = 5
KARPATHYS = {"train": "train", "restval": "train", "val": "val", "test": "test"}  # his word for a split -> ours
LARGE = ("segmentation", "tokens", "sentids", "imgid", "sentid")  # what annotation files say and nobody here reads
INT64 = 2**63  # ids are stored as signed numbers of 64 bits


class Config(Section):
    """The [reader] table."""

    split: Literal["official", "karpathy"] = Field(
        "official", description="COCO's own train and val, or Karpathy's train (with restval), val and test"
    )
    karpathy: Path = Field(
        Path("dataset_coco.json"),
        description="file of Karpathy's split, absolute or from the root; read for split = 'karpathy' only",
    )


@dataclass(frozen=True)
class Listed:
    """An image as an annotation file lists it, nothing of it checked."""

    number: int
    folder: str
    name: Any
    texts: Sequence[Any]


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Captions, boxes and pictures of all splits; nothing here depends on the seed."""
    if root is None:
        raise DataError("coco: say where the raw data lies: --root DIR (it holds train2014/, val2014/, annotations/)")
    require(root, config)
    folders = Folders(root, FOLDERS)
    categories: set[str] = set()
    published = {split: CAPTIONS * images for split, images in PUBLISHED[config.split].items()}
    source = Source("coco", {}, published=published)
    boxes = {split: read_boxes(root, split, categories) for split in ("train", "val")}
    if config.split == "karpathy":
        everywhere = boxes["train"] | boxes["val"]
        for split, images in karpathy(root / config.karpathy).items():
            source.splits[split] = list(records(images, split, config.karpathy.name, folders, everywhere, source))
    else:
        for split in ("train", "val"):
            path = root / "annotations" / f"captions_{split}2014.json"
            listed = official(path, split, source)
            source.splits[split] = list(records(listed, split, path.name, folders, boxes[split], source))
    source.categories = tuple(sorted(categories))
    return source


def require(root: Path, config: Config) -> None:
    """Name everything that is missing, and where it is to be had; refuse links that lead out of the root."""
    needed = {name: (f"{name}.zip", Path.is_dir) for name in FOLDERS}
    if config.split == "karpathy":
        needed[str(config.karpathy)] = (KARPATHY, Path.is_file)
    else:
        needed |= {f"annotations/captions_{s}2014.json": (ANNOTATIONS, Path.is_file) for s in ("train", "val")}
    missing = [f"  {name}: from {archive}" for name, (archive, is_there) in needed.items() if not is_there(root / name)]
    if missing:
        lines = "\n".join(missing)
        raise DataError(
            f"{root}: COCO 2014 is not whole; missing:\n{lines}\n"
            "get them at https://cocodataset.org/#download (2014 train images, val images, train/val annotations) "
            f"and unpack them in {root}"
        )
    # a file of Karpathy's may lie anywhere, because the user names it
    own = [*needed, *(f"annotations/instances_{split}2014.json" for split in ("train", "val"))]
    refuse_links(root, [name for name in own if name != str(config.karpathy)])


def records(
    images: Iterable[Listed],
    split: str,
    listing: str,
    folders: Folders,
    boxes: dict[int, list[Box]],
    source: Source,
) -> Iterator[Record]:
    """The images of a split that are there; what cannot be used goes to ``source.left_out``."""
    for image in images:
        reason = folders.refusal(image.folder, image.name, listing)
        if reason is not None:
            source.leave_out(split, shown(image.name), reason)
            continue
        texts = usable(image.texts, split, shown(image.name), source)
        path = folders.root / image.folder / image.name
        yield Record(image.number, path, texts, tuple(boxes.get(image.number, ())))


def usable(texts: Sequence[Any], split: str, image: str, source: Source) -> tuple[str, ...]:
    """The captions that are text, in the order of the file."""
    kept = []
    for text in texts:
        if isinstance(text, str) and text.strip():
            kept.append(text)
        else:
            what = "is empty" if isinstance(text, str) else f"is {shown(json.dumps(text))}, not text"
            source.leave_out(split, image, f"caption {what}", caption=True)
    return tuple(kept)


# ---------------------------------------------------------------------------- COCO's own files


def official(path: Path, split: str, source: Source) -> Iterator[Listed]:
    """The images of a caption file in the order of their ids; captions of no image go to ``source.left_out``."""
    captions = load(path)
    for number, annotations in captions.imgToAnns.items():
        if number not in captions.imgs:
            for _ in annotations:
                reason = f"caption of an image_id that is not among the images of {path.name}"
                source.leave_out(split, shown(number), reason, caption=True)
    for number in sorted(captions.imgs):
        texts = [annotation.get("caption") for annotation in captions.imgToAnns.get(number, ())]
        yield Listed(number, f"{split}2014", captions.imgs[number].get("file_name"), texts)


def read_boxes(root: Path, split: str, categories: set[str]) -> dict[int, list[Box]]:
    """Boxes by image id; none where the instances file is absent, for captions alone are enough to train."""
    path = root / "annotations" / f"instances_{split}2014.json"
    if not path.is_file():
        return {}
    instances = load(path)
    try:
        names = {number: named(category["name"]) for number, category in instances.cats.items()}
        categories.update(names.values())
        return {
            image: [Box(names[a["category_id"]], *sides(a["bbox"])) for a in annotations]
            for image, annotations in instances.imgToAnns.items()
        }
    except ValueError as fault:
        raise DataError(f"{path}: {fault}") from None
    except (KeyError, TypeError) as fault:
        raise DataError(f"{path}: an annotation is not as COCO has it: {shown(repr(fault))}") from None


def named(category: Any) -> str:
    """The name of a category; ``ValueError`` where it is none that could be stored."""
    if not isinstance(category, str) or strange(category):
        raise ValueError(f"the category {shown(category)} should be a name, without control characters")
    return category


def sides(box: Any) -> tuple[float, float, float, float]:
    """x, y, width and height of a box; ``ValueError`` where they are no four numbers, or none of a picture."""
    numbers = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
    if not numbers or not all(abs(side) <= FARTHEST for side in box):  # which is false of NaN, too
        raise ValueError(f"the bbox {shown(box)} should be x, y, width and height in the pixels of a picture")
    x, y, width, height = map(float, box)
    return x, y, width, height


def load(path: Path) -> Any:
    """A COCO file through pycocotools, without outlines and whose prints are kept off stdout."""
    from pycocotools.coco import COCO

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            index = COCO()
            index.dataset = read_json(path)
            # first, because pycocotools lets the last of equal ids win and says nothing
            require_ids(path, index.dataset)
            index.createIndex()
    except (KeyError, TypeError, AttributeError) as fault:
        raise DataError(f"{path}: not an annotation file of COCO ({fault!r})") from None
    if not index.imgs:
        raise DataError(f"{path}: lists no images")
    return index


def read_json(path: Path) -> Any:
    """An annotation file without what is large in it, so that no more than its text is ever in memory."""
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_hook=lambda entry: {k: v for k, v in entry.items() if k not in LARGE})
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: not valid JSON ({fault}); was it cut short while unpacking?") from None


def require_ids(path: Path, content: dict[str, Any]) -> None:
    """Refuse ids of images and annotations that are no numbers of 64 bits, or that are given twice."""
    for table in ("images", "annotations"):
        seen: set[int] = set()
        repeated = []
        for entry in content.get(table, ()):
            number = entry["id"]
            if type(number) is not int or not -INT64 <= number < INT64:
                raise DataError(f"{path}: {table}: the id {shown(number)} should be a whole number of at most 64 bits")
            if number in seen:
                repeated.append(number)
            seen.add(number)
        if repeated:
            raise DataError(
                f"{path}: {table}: {len(repeated):,} ids are given more than once, first {repeated[0]}; "
                "every id should be there once: were two files joined?"
            )


# ---------------------------------------------------------------------------- Karpathy's file


class Sentence(BaseModel):
    """A caption in Karpathy's file."""

    model_config = ConfigDict(strict=True)

    raw: str


class KarpathyImage(BaseModel):
    """An image in Karpathy's file."""

    model_config = ConfigDict(strict=True)

    filepath: Literal["train2014", "val2014"]
    filename: str
    cocoid: Annotated[int, Field(ge=-INT64, lt=INT64)]
    split: Literal["train", "restval", "val", "test"]
    sentences: list[Sentence]


def karpathy(path: Path) -> dict[str, list[Listed]]:
    """The images of every split in the order of their ids; restval is trained on, as everybody does."""
    content = read_json(path)
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f'{path}: not Karpathy\'s file of COCO; it should be like {{"images": [...]}}; see {KARPATHY}')
    splits: dict[str, list[Listed]] = {split: [] for split in PUBLISHED["karpathy"]}
    seen: set[int] = set()
    for place, entry in enumerate(entries):
        try:
            image = KarpathyImage.model_validate(entry)
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(map(str, ("images", place, *first["loc"])))
            raise DataError(f"{path}: {where}: {first['msg']}; is it dataset_coco.json of {KARPATHY}?") from None
        if image.cocoid in seen:
            raise DataError(
                f"{path}: images.{place}: the cocoid {image.cocoid} is given twice; it should be there once"
            )
        seen.add(image.cocoid)
        texts = [sentence.raw for sentence in image.sentences]
        splits[KARPATHYS[image.split]].append(Listed(image.cocoid, image.filepath, image.filename, texts))
    return {split: sorted(images, key=lambda image: image.number) for split, images in splits.items()}
