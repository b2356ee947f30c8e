"""Oxford-102 flowers (Nilsback and Zisserman 2008) with ten captions an image (Reed et al. 2016).

Images lie in one folder, as Oxford packs them; the captions' folders say which class an image is of, and a list says
which 20 of the 102 classes the field tests with. Flowers fill their pictures, so nothing is cut out.
"""

import re
from pathlib import Path

from pydantic import Field

from t2icli.data.places import files_below, no_file_inside, refuse_links, shown
from t2icli.data.reed import TEST_CLASSES, captions, listed_classes, named_classes, some_classes
from t2icli.data.source import Record, Source
from t2icli.errors import DataError
from t2icli.recipe import Section

IMAGES, TEXT = "jpg", "text_c10"
WHERE = {
    IMAGES: "102flowers.tgz at https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    TEXT: "the captions of Reed et al. (cvpr2016), flowers",
}
IMAGE = re.compile(r"image_([0-9]{5})\.jpg")
CAPTIONS = re.compile(r"image_([0-9]{5})\.txt")
CLASS = re.compile(r"class_([0-9]{5})")
PUBLISHED, EVERY = 20, 5  # classes to test with; every fifth of 102 are as many


class Config(Section):
    """The [reader] table."""

    test_classes: tuple[int, ...] = Field(
        (), description=f"numbers of the classes (1 to 102) to test with; default: those in {TEST_CLASSES}"
    )


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Both splits in the order of Oxford's numbers; nothing here depends on the seed."""
    if root is None:
        raise DataError(f"flowers: say where the raw data lies: --root DIR (it holds {IMAGES}/ and {TEXT}/)")
    require(root)
    source = Source("flowers", {"train": [], "test": []})
    texts = captions_by_number(root)
    classes = {number: class_number(path.parent.name, path) for number, path in texts.items()}
    testing = test_classes(config, root, set(classes.values()))
    for number, path in sorted(texts.items()):
        split = "test" if classes[number] in testing else "train"
        image = root / IMAGES / f"{path.stem}.jpg"
        reason = no_file_inside(root, image)
        if reason:
            source.leave_out(split, image.name, f"has captions, but {IMAGES}/{image.name} {reason}")
            continue
        try:
            lines = captions(root, path)
        except DataError as fault:
            source.leave_out(split, image.name, f"captions: {fault}")
            continue
        source.splits[split].append(Record(number, image, lines, class_index=classes[number] - 1))
    for _, name, _ in files_below(root, root / IMAGES):
        found = IMAGE.fullmatch(name)
        if found and int(found[1]) not in texts:
            source.leave_out("all", name, f"has no captions in {TEXT}/, and so no class")
    return source


def require(root: Path) -> None:
    """Name what is missing, and where it is to be had; refuse links that lead out of the root."""
    missing = [f"  {name}/: from {archive}" for name, archive in WHERE.items() if not (root / name).is_dir()]
    if missing:
        lines = "\n".join(missing)
        raise DataError(f"{root}: Oxford-102 flowers are not whole; missing:\n{lines}\nunpack everything side by side")
    refuse_links(root, WHERE)


def captions_by_number(root: Path) -> dict[int, Path]:
    """The text file of each image; other files beside them, such as Reed's vectors, are passed over."""
    found: dict[int, Path] = {}
    for folder, name, _ in files_below(root, root / TEXT):
        match = CAPTIONS.fullmatch(name)
        if match is None or not CLASS.fullmatch(folder.rstrip("/")):
            continue
        path = root / TEXT / folder / name
        first = found.setdefault(int(match[1]), path)
        if first != path:
            raise DataError(
                f"{root / TEXT}: {name} lies in {first.parent.name} and in {path.parent.name}; it should be in one"
            )
    if not found:
        raise DataError(f"{root / TEXT}: holds no captions; they should be like class_00001/image_06734.txt")
    return found


def test_classes(config: Config, root: Path, known: set[int]) -> set[int]:
    """Numbers of the classes to test with."""
    if config.test_classes:
        return named_classes(root, config.test_classes, known)
    listed = listed_classes(root, (root, root / TEXT), class_number)
    return some_classes(root, f"no {TEST_CLASSES}", PUBLISHED, known, EVERY) if listed is None else listed


def class_number(name: str, path: Path) -> int:
    """The number in the name of a class, e.g. 51 of class_00051."""
    match = CLASS.fullmatch(name)
    if match is None or not int(match[1]):
        raise DataError(f"{path}: {shown(repr(name))} is no class of flowers; it should be like class_00051")
    return int(match[1])
