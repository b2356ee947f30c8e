"""Localized Narratives over Open Images: one pair for every narrative, of the images that lie anywhere below the root.

Few people have all images, so one without a file is counted and listed, but is no fault. ``list_images`` says
which images were taken, and a file of that form asks for them (``[reader] images``): then each of them must be there.
The narratives of an image stand together, at the place of its first, or of its line in that file.
"""

import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from t2icli.console import say
from t2icli.data.captions.text import numbered_lines
from t2icli.data.narratives import PAGE, missing_files, parts, read_narratives
from t2icli.data.picture_files import is_picture
from t2icli.data.places import OUT, files_below, shown
from t2icli.data.source import Record, Source
from t2icli.errors import DataError
from t2icli.recipe import Section

NARRATIVES = {
    "train": parts("open_images_train_v6_localized_narratives", 10),
    "val": ("open_images_validation_localized_narratives.jsonl",),
    "test": ("open_images_test_localized_narratives.jsonl",),
}
PUBLISHED = {"train": 507_444, "val": 41_691, "test": 126_020}
OPEN_IMAGES = "https://storage.googleapis.com/openimages/web/download_v7.html"
OPEN_IMAGES_ID = re.compile(r"[0-9a-f]{16}")
FILE = re.compile(r"([0-9a-f]{16})(\.[A-Za-z]+)")
ENDING = ".jpg"
ABSENT = "absent"  # what a line of left_out is about: an image that the user does not have, which is no fault
FIRST = 3  # missing images that a message names

Split = Literal["train", "val", "test"]
Asked = tuple[int, str | None]  # a line of a list of images: the number, and the split if it says one


class Config(Section):
    """The [reader] table."""

    splits: tuple[Split, ...] = Field(("train", "val"), min_length=1, description="splits to prepare")
    images: Path | None = Field(
        None,
        description="file that lists the images to take, absolute or from the root: an id a line, its split behind it "
        "or not; each must be there. Default: all that are there",
    )


def read(config: Config, root: Path | None, seed: int) -> Source:
    """The narratives of the images that are there; nothing here depends on the seed."""
    if root is None:
        raise DataError("ln-openimages: say where the raw data lies: --root DIR (it holds the images and narratives)")
    splits = list(dict.fromkeys(config.splits))
    require(root, splits)
    pictures = Pictures(root)
    source = Source("ln-openimages", {}, published={split: PUBLISHED[split] for split in splits})
    if config.images is None:
        for split in splits:
            narrated = gather(root, split, source, None)
            source.splits[split] = list(records(narrated, split, pictures, source))
    else:
        read_listed(root, root / config.images, splits, pictures, source)
    if not any(source.splits.values()):
        raise DataError(
            f"{root}: {len(pictures.where):,} images of Open Images, and no narrative is about any of them; "
            f"the splits read are {', '.join(splits)}"
        )
    return source


def require(root: Path, splits: list[Split]) -> None:
    """Name everything that is missing, and where it is to be had."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; --root DIR should hold the images of Open Images and the narratives")
    missing = [line for split in splits for line in missing_files(root, NARRATIVES[split])]
    if missing:
        lines = "\n".join(missing)
        raise DataError(
            f"{root}: Localized Narratives over Open Images are not whole; missing:\n{lines}\n"
            f"they are at {PAGE}; put them in {root} or in {root / 'annotations'}, "
            "or choose other splits, e.g. --set 'reader.splits=[\"val\"]'"
        )


def gather(root: Path, split: Split, source: Source, wanted: Container[int] | None) -> dict[int, list[str]]:
    """The captions of every image of a split, or of those that are wanted, in the order of the files."""
    narrated: dict[int, list[str]] = {}
    for file in NARRATIVES[split]:
        for narrative in read_narratives(root, file):
            if not OPEN_IMAGES_ID.fullmatch(narrative.image_id):
                reason = "the image_id is not one of Open Images, which have 16 hexadecimal digits"
                source.leave_out(split, shown(narrative.image_id), reason)
                continue
            number = number_of(narrative.image_id)
            if wanted is None or number in wanted:
                narrated.setdefault(number, []).append(narrative.caption)
    return narrated


def records(narrated: dict[int, list[str]], split: Split, pictures: "Pictures", source: Source) -> Iterator[Record]:
    """A record for every narrative whose image is there; the other images are listed in ``source.left_out``."""
    for number, captions in narrated.items():
        if number in pictures.outside:
            source.leave_out(split, id_of(number), "is a symbolic link that leads out of the root")
        elif number not in pictures.where:
            reason = "has a narrative, but there is no image of that name below the root"
            source.left_out.append({"split": split, "image": id_of(number), "what": ABSENT, "reason": reason})
        else:
            path = pictures.path(number)
            yield from (Record(number, path, (caption,)) for caption in captions)


# ---------------------------------------------------------------------------- ids and images


def number_of(image_id: str) -> int:
    """An id as the signed number of 64 bits that has the same bits; ``id_of`` is the way back."""
    return int.from_bytes(bytes.fromhex(image_id), signed=True)


def id_of(number: int) -> str:
    """The 16 hexadecimal digits of a record's id."""
    return number.to_bytes(8, signed=True).hex()


class Pictures:
    """Where the images lie, found in one walk.

    A number is kept for each, because the paths of 500,000 would take hundreds of megabytes.
    """

    def __init__(self, root: Path) -> None:
        self.folders: list[Path] = []
        self.where: dict[int, int] = {}  # number of an image -> place of its folder in the list
        self.endings: dict[int, str] = {}  # of the few that are not called .jpg
        self.outside: set[int] = set()  # links that lead out of the root
        last, again = None, 0
        for below, name, reason in files_below(root, root):
            image = FILE.fullmatch(name)
            if image is None or not is_picture(name) or reason not in (None, OUT):
                continue
            number = number_of(image[1])
            if reason == OUT:
                self.outside.add(number)
                continue
            if number not in self.where and image[2] != ENDING:
                self.endings[number] = image[2]
            if below != last:
                self.folders.append(root / below)
                last = below
            again += self.where.setdefault(number, len(self.folders) - 1) != len(self.folders) - 1
        self.outside -= self.where.keys()
        if not self.where and not self.outside:
            raise DataError(
                f"{root}: no image of Open Images lies below it; they are called like 0123456789abcdef.jpg; "
                f"get them at {OPEN_IMAGES}"
            )
        if again:
            say(f"{root}: {again:,} images lie in more than one folder; the first in the order of names is taken")

    def path(self, number: int) -> Path:
        """The file of an image that is there."""
        return self.folders[self.where[number]] / f"{id_of(number)}{self.endings.get(number, ENDING)}"


# ---------------------------------------------------------------------------- the list of images


def list_images(source: Source) -> str:
    """The list of the images that were taken: a line each, the id, a tab and the split, in the order of the records."""
    return "".join(
        f"{id_of(number)}\t{split}\n"
        for split, taken in source.splits.items()
        for number in dict.fromkeys(record.id for record in taken)
    )


def read_images(path: Path) -> list[Asked]:
    """The lines of such a list in their order; an image may be there once for every split, or once without one."""
    listed: dict[Asked, None] = {}
    if not path.exists():
        raise DataError(f"{path}: reader.images cannot be read: No such file or directory")
    for line, text in numbered_lines(path, hint="a line is of one image"):
        words = text.split()
        if not words:
            continue
        if not OPEN_IMAGES_ID.fullmatch(words[0]) or words[1:] not in ([], ["train"], ["val"], ["test"]):
            raise DataError(
                f"{path}: line {line} is {shown(text.strip())}; "
                "should be 16 hexadecimal digits, and a split (train, val, test) behind them or nothing"
            )
        number, split = number_of(words[0]), words[1] if len(words) == 2 else None
        rivals = (None, split) if split else (None, *NARRATIVES)
        if any((number, rival) in listed for rival in rivals):
            raise DataError(
                f"{path}: line {line}: {words[0]} is listed before; "
                "every id should be there once, or once with each of its splits"
            )
        listed[number, split] = None
    if not listed:
        raise DataError(f"{path}: lists no images; should have an id of Open Images a line")
    return list(listed)


def read_listed(root: Path, path: Path, splits: list[Split], pictures: Pictures, source: Source) -> None:
    """Exactly the images of a list, in its order; any that is missing is an error."""
    listed = read_images(path)
    narrated: set[Asked] = set()
    for split in splits:
        wanted = {number: None for number, named in listed if named in (None, split)}  # keeps the order of the list
        found = gather(root, split, source, wanted)
        narrated |= {(number, named) for number in found for named in (None, split)}
        there = {number: found[number] for number in wanted if number in found and number in pictures.where}
        source.splits[split] = list(records(there, split, pictures, source))
    reasons = {asked: lacking(asked, narrated, pictures) for asked in listed}
    missing = [f"{id_of(number)} {reason}" for (number, _), reason in reasons.items() if reason]
    if missing:
        more = "; ..." if len(missing) > FIRST else ""
        raise DataError(
            f"{path}: {len(missing):,} of its {len(listed):,} images are missing: {'; '.join(missing[:FIRST])}{more}; "
            f"put them below {root}, or take them off the list"
        )


def lacking(asked: Asked, narrated: set[Asked], pictures: Pictures) -> str | None:
    """What an image of the list lacks, if anything; ``narrated`` has it with its split and with None."""
    number, split = asked
    if number in pictures.outside:
        return "is a symbolic link that leads out of the root"
    if number not in pictures.where:
        return "has no file"
    if asked not in narrated:
        return f"has no narrative in {split or 'the splits that are read'}"
    return None
