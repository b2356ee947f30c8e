"""CUB-200-2011 with ten captions an image (Reed et al. 2016): birds cut out around their boxes.

The layout is CUB's own, with the captions under text/; the split is that of AttnGAN's train/ and test/filenames.pickle
where they lie beside it, else by classes: 150 to train on and 50 others to test with.
"""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from pydantic import Field

from t2icli.data.captions.text import numbered_lines
from t2icli.data.places import no_file_inside, refuse_links, shown, unsafe
from t2icli.data.reed import TEST_CLASSES, captions, listed_classes, named_classes, some_classes
from t2icli.data.source import FARTHEST, Box, Record, Source
from t2icli.errors import DataError
from t2icli.pickles import read_pickle
from t2icli.recipe import Section

IMAGES = "CUB_200_2011"
WHERE = {
    f"{IMAGES}/images": "CUB_200_2011.tgz",
    f"{IMAGES}/images.txt": "CUB_200_2011.tgz",
    f"{IMAGES}/bounding_boxes.txt": "CUB_200_2011.tgz",
    f"{IMAGES}/image_class_labels.txt": "CUB_200_2011.tgz",
    "text": "AttnGAN's birds.zip, or the captions of Reed et al. (cvpr2016)",
}
PICKLES = {split: f"{split}/filenames.pickle" for split in ("train", "test")}
PUBLISHED, EVERY = 50, 4  # classes to test with; every fourth of 200 are as many
WHOLE = re.compile(r"[1-9][0-9]{0,8}")

Value = TypeVar("Value")


class Config(Section):
    """The [reader] table."""

    split: Literal["auto", "filenames", "classes"] = Field(
        "auto", description="by train/ and test/filenames.pickle, by classes, or by the first if it is there"
    )
    test_classes: tuple[int, ...] = Field(
        (), description="numbers of the classes (1 to 200) to test with; default: those in testclasses.txt"
    )
    crop: bool = Field(True, description="cut out a square of 1.5 times the longer side of the bird's box")


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Both splits in the order of CUB's numbers; nothing here depends on the seed."""
    if root is None:
        raise DataError(f"cub: say where the raw data lies: --root DIR (it holds {IMAGES}/ and text/)")
    require(root)
    source = Source("cub", {"train": [], "test": []}, categories=("bird",))
    names = read_names(root)
    boxes = table(root, "bounding_boxes.txt", box_of, "1 60.0 27.0 325.0 304.0 (x, y, width and height in pixels)")
    labels = table(root, "image_class_labels.txt", whole, "1 1 (the number of the class)")
    splits = split_of(config, root, {name: labels.get(number) for number, name in names.items()})
    for name in sorted(splits.keys() - set(names.values())):
        source.leave_out(splits[name], shown(name), f"listed in {PICKLES[splits[name]]}, but not in images.txt")
    for number, name in sorted(names.items()):
        split = splits.get(name)
        if split is None:  # on neither of AttnGAN's lists, and so not asked for
            continue
        reason = refusal(root, name, number in boxes, number in labels)
        if reason is not None:
            source.leave_out(split, shown(name), reason)
            continue
        try:
            texts = captions(root, root / "text" / PurePosixPath(name).with_suffix(".txt"))
        except DataError as fault:
            source.leave_out(split, shown(name), f"captions: {fault}")
            continue
        box = boxes[number]
        record = Record(
            number,
            root / IMAGES / "images" / name,
            texts,
            (box,),
            class_index=labels[number] - 1,
            crop=square(int(box.x), int(box.y), int(box.w), int(box.h)) if config.crop else None,
        )
        source.splits[split].append(record)
    return source


def require(root: Path) -> None:
    """Name everything that is missing, and where it is to be had; refuse links that lead out of the root."""
    missing = [
        f"  {name}: from {archive}"
        for name, archive in WHERE.items()
        if not ((root / name).is_file() if name.endswith(".txt") else (root / name).is_dir())
    ]
    if missing:
        lines = "\n".join(missing)
        raise DataError(
            f"{root}: CUB-200-2011 is not whole; missing:\n{lines}\n"
            "get the images at https://data.caltech.edu/records/65de6-vp158 and unpack everything side by side"
        )
    refuse_links(root, WHERE)


def square(x: int, y: int, w: int, h: int) -> tuple[int, int, int, int]:
    """AttnGAN's rule: 1.5 times the longer side around the middle of the box; the image's edge may cut it off."""
    radius = int(0.75 * max(w, h))
    middle_x, middle_y = (2 * x + w) // 2, (2 * y + h) // 2
    return middle_x - radius, middle_y - radius, middle_x + radius, middle_y + radius


def refusal(root: Path, name: str, boxed: bool, labelled: bool) -> str | None:
    """Why an image cannot be used, if so."""
    if unsafe(name):
        return "its name is not a path inside the image folder"
    if not boxed:
        return "has no line in bounding_boxes.txt"
    if not labelled:
        return "has no line in image_class_labels.txt"
    reason = no_file_inside(root, root / IMAGES / "images" / name)
    return f"listed in images.txt, but {IMAGES}/images/{shown(name)} {reason}" if reason else None


# ---------------------------------------------------------------------------- tables


def table(root: Path, file: str, value_of: Callable[[str], Value], example: str) -> dict[int, Value]:
    """A file of CUB's: a number, a space, and what belongs to it, on every line.

    ``value_of`` reads what belongs to it, or raises ``ValueError``. A ``DataError`` names the first line that is not
    like ``example``, or whose number was there before.
    """
    path = root / IMAGES / file
    rows: dict[int, Value] = {}
    for line, text in numbered_lines(path):
        if not text.strip():
            continue
        first, _, rest = text.strip().partition(" ")
        try:
            number, value = whole(first), value_of(rest.strip())
        except ValueError:
            raise DataError(
                f"{path}: line {line} is {shown(repr(text.strip()))}; it should be like {example}"
            ) from None
        if number in rows:
            raise DataError(f"{path}: line {line}: the number {number} is given twice; it should be there once")
        rows[number] = value
    if not rows:
        raise DataError(f"{path}: is empty; its lines should be like {example}")
    return rows


def read_names(root: Path) -> dict[int, str]:
    """The names of the images by their numbers; a name that two numbers have is refused."""
    names = table(root, "images.txt", name_of, "1 001.Black_footed_Albatross/NAME.jpg")
    numbers: dict[str, int] = {}
    for number, name in names.items():
        first = numbers.setdefault(name, number)
        if first != number:
            path = root / IMAGES / "images.txt"
            raise DataError(f"{path}: {shown(name)} has the numbers {first} and {number}; it should be there once")
    return names


def name_of(text: str) -> str:
    """What stands behind a number in images.txt; whether it can be used is asked later."""
    if not text:
        raise ValueError
    return text


def whole(text: str) -> int:
    """A number of CUB's, from 1 and so that a shard can hold it."""
    if not WHOLE.fullmatch(text):
        raise ValueError
    return int(text)


def box_of(text: str) -> Box:
    """The box of a bird, around something and no larger than a picture could be."""
    x, y, w, h = map(float, text.split())
    if not (abs(x) <= FARTHEST and abs(y) <= FARTHEST and 0 < w <= FARTHEST and 0 < h <= FARTHEST):
        raise ValueError  # NaN, too, is neither smaller nor larger
    return Box("bird", x, y, w, h)


# ---------------------------------------------------------------------------- splits


def split_of(config: Config, root: Path, classes: dict[str, int | None]) -> dict[str, str]:
    """The split of every image that is in one; "all" stands for that of an image whose class is not known."""
    there = all((root / file).is_file() for file in PICKLES.values())
    if config.split == "filenames" and not there:
        raise DataError(f"{root}: reader.split = 'filenames' needs {' and '.join(PICKLES.values())}")
    if config.split == "filenames" or (there and config.split == "auto" and not config.test_classes):
        return by_filenames(root)
    known = {name: number for name, number in classes.items() if number is not None}
    testing = test_classes(config, root, set(known.values()))
    by_class = {name: "test" if number in testing else "train" for name, number in known.items()}
    return dict.fromkeys(classes, "all") | by_class


def by_filenames(root: Path) -> dict[str, str]:
    """AttnGAN's lists; names come without their ending. One that is on both would be tested with what it trained on."""
    splits: dict[str, str] = {}
    refuse_links(root, PICKLES.values())
    for split, file in PICKLES.items():
        names = read_pickle(root / file)
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{root / file}: should be a list of names such as 001.Black_footed_Albatross/NAME")
        for name in names:
            if splits.setdefault(f"{name}.jpg", split) != split:
                raise DataError(
                    f"{root / file}: {shown(name)} is in {PICKLES['train']} too; it should be in one of them"
                )
    return splits


def test_classes(config: Config, root: Path, known: set[int]) -> set[int]:
    """Numbers of the classes to test with."""
    if config.test_classes:
        return named_classes(root, config.test_classes, known)
    listed = listed_classes(root, (root, root / "text", root / IMAGES), class_number)
    missing = f"neither {PICKLES['test']} nor {TEST_CLASSES}"
    return some_classes(root, missing, PUBLISHED, known, EVERY) if listed is None else listed


def class_number(name: str, path: Path) -> int:
    """The number in the name of a class, e.g. 4 of 004.Groove_billed_Ani."""
    try:
        # as CUB writes it, with zeros before it
        return whole(name.partition(".")[0].lstrip("0"))
    except ValueError:
        raise DataError(
            f"{path}: {shown(repr(name))} is no class of CUB; it should be like 004.Groove_billed_Ani"
        ) from None
