"""CUB-200-2011 with ten captions an image (Reed et al. 2016): birds cut out around their boxes.

The layout is CUB's own, with the captions under text/; the split is that of AttnGAN's train/ and test/filenames.pickle
where they lie beside it, else by classes: 150 to train on and 50 others to test with.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from t2icli.console import say
from t2icli.data.source import Box, Record, Source
from t2icli.errors import DataError
from t2icli.pickles import read_pickle
from t2icli.recipe import Section
from t2icli.vocabulary import LOST

IMAGES = "CUB_200_2011"
WHERE = {
    f"{IMAGES}/images": "CUB_200_2011.tgz",
    f"{IMAGES}/images.txt": "CUB_200_2011.tgz",
    f"{IMAGES}/bounding_boxes.txt": "CUB_200_2011.tgz",
    f"{IMAGES}/image_class_labels.txt": "CUB_200_2011.tgz",
    "text": "AttnGAN's birds.zip, or the captions of Reed et al. (cvpr2016)",
}
PICKLES = {split: f"{split}/filenames.pickle" for split in ("train", "test")}
LISTS = {"train": "trainvalclasses.txt", "test": "testclasses.txt"}
EVERY = 4  # class in the split that is made where nothing names the field's


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
    names = table(root, "images.txt")
    boxes, labels = table(root, "bounding_boxes.txt"), table(root, "image_class_labels.txt")
    classes = {names[number]: int(label) for number, label in labels.items() if number in names}
    splits = split_of(config, root, classes)
    for number, name in sorted(names.items(), key=lambda item: int(item[0])):
        split = splits.get(name)
        if split is None:
            continue
        reason = refusal(root, name, number in boxes, name in classes)
        texts = captions(root, name, split, source) if reason is None else ()
        if reason is None and not texts:
            reason = "has no caption"
        if reason is not None:
            source.leave_out(split, name, reason)
            continue
        x, y, w, h = (float(value) for value in boxes[number].split())
        record = Record(
            int(number),
            root / IMAGES / "images" / name,
            texts,
            (Box("bird", x, y, w, h),),
            class_index=classes[name] - 1,
            crop=square(int(x), int(y), int(w), int(h)) if config.crop else None,
        )
        source.splits[split].append(record)
    return source


def require(root: Path) -> None:
    """Name everything that is missing, and where it is to be had."""
    missing = [f"  {name}: from {archive}" for name, archive in WHERE.items() if not (root / name).exists()]
    if missing:
        lines = "\n".join(missing)
        raise DataError(
            f"{root}: CUB-200-2011 is not whole; missing:\n{lines}\n"
            "get the images at https://data.caltech.edu/records/65de6-vp158 and unpack everything side by side"
        )


def table(root: Path, file: str) -> dict[str, str]:
    """A file of CUB's: a number, a space, and what belongs to it, on every line."""
    path, rows = root / IMAGES / file, {}
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        number, space, rest = text.partition(" ")
        if not number.isdecimal() or not space:
            raise DataError(f"{path}: line {line} is {text!r}; it should be a number, a space and a value")
        rows[number] = rest.strip()
    return rows


def square(x: int, y: int, w: int, h: int) -> tuple[int, int, int, int]:
    """AttnGAN's rule: 1.5 times the longer side around the middle of the box; the image's edge may cut it off."""
    radius = int(0.75 * max(w, h))
    middle_x, middle_y = (2 * x + w) // 2, (2 * y + h) // 2
    return middle_x - radius, middle_y - radius, middle_x + radius, middle_y + radius


def refusal(root: Path, name: str, boxed: bool, labelled: bool) -> str | None:
    """Why an image cannot be used, if so."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "its name leads out of the folder"
    if not boxed:
        return "has no line in bounding_boxes.txt"
    if not labelled:
        return "has no line in image_class_labels.txt"
    if not (root / IMAGES / "images" / name).is_file():
        return f"listed in images.txt, but there is no {IMAGES}/images/{name}"
    return None


def captions(root: Path, name: str, split: str, source: Source) -> tuple[str, ...]:
    """The lines of an image's text file, the field's mark of a lost character read as a space."""
    path = root / "text" / PurePosixPath(name).with_suffix(".txt")
    try:
        lines = path.read_text(encoding="utf-8").replace(LOST, " ").split("\n")
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as fault:
        source.leave_out(split, name, f"captions: byte {fault.start} is not UTF-8", caption=True)
        return ()
    return tuple(line.strip() for line in lines if line.strip())


# ---------------------------------------------------------------------------- splits


def split_of(config: Config, root: Path, classes: dict[str, int]) -> dict[str, str]:
    """The split of every image that is in one."""
    there = all((root / file).is_file() for file in PICKLES.values())
    if config.split == "filenames" and not there:
        raise DataError(f"{root}: reader.split = 'filenames' needs {' and '.join(PICKLES.values())}")
    if config.split == "filenames" or (there and config.split == "auto" and not config.test_classes):
        return dict(by_filenames(root))
    testing = test_classes(config, root, classes)
    return {name: "test" if number in testing else "train" for name, number in classes.items()}


def by_filenames(root: Path) -> Iterator[tuple[str, str]]:
    """AttnGAN's lists; names come without their ending."""
    for split, file in PICKLES.items():
        names = read_pickle(root / file)
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{root / file}: should be a list of names such as 001.Black_footed_Albatross/NAME")
        for name in names:
            yield f"{name}.jpg", split


def test_classes(config: Config, root: Path, classes: dict[str, int]) -> set[int]:
    """Numbers of the classes to test with."""
    known = set(classes.values())
    if config.test_classes:
        unknown = set(config.test_classes) - known
        if unknown:
            raise DataError(f"reader.test_classes: {sorted(unknown)} are no classes of {root}, which has {len(known)}")
        return set(config.test_classes)
    for folder in (root, root / "text", root / IMAGES):
        path = folder / LISTS["test"]
        if path.is_file():
            return {class_number(line, path) for line in path.read_text(encoding="utf-8").split()}
    say(
        f"{root}: neither {PICKLES['test']} nor {LISTS['test']} says which 50 classes the field tests with: "
        f"every {EVERY}th class is taken, so scores compare with nothing published"
    )
    return {number for number in known if number % EVERY == 0}


def class_number(name: str, path: Path) -> int:
    """The number in the name of a class, e.g. 4 of 004.Groove_billed_Ani."""
    number = name.partition(".")[0]
    if not number.isdecimal():
        raise DataError(f"{path}: {name!r} is no class of CUB; it should be like 004.Groove_billed_Ani")
    return int(number)
