"""Captions that lie in a folder of pictures themselves: one list for all, or a text file beside each picture."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

LISTS = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")  # the first that is there is read
BELOW = LISTS[2:]  # of these every subfolder may have one, for its own pictures, as Hugging Face's image folders do
BESIDE = (".txt", ".caption")  # likewise, for NAME.jpg
FORMS = "captions.jsonl, captions.csv, metadata.jsonl, metadata.csv, or NAME.txt or NAME.caption beside each NAME.jpg"


def lists_in(root: Path, pictures: Iterable[str]) -> list[Path]:
    """The lists of a folder, whose names count from where each lies: one in the folder itself, else those below it."""
    there = first_of(root, LISTS)
    if there is not None:
        return [there]
    folders = {folder for picture in pictures for folder in PurePosixPath(picture).parents}
    below = (first_of(root / folder, BELOW) for folder in sorted(folders))
    return [path for path in below if path is not None]


def passed_over(root: Path) -> list[str]:
    """What a result says of lists of the folder that are not read because another one is."""
    there = [name for name in LISTS if os.path.lexists(root / name)]
    return [f"{there[0]} is read, and {', '.join(there[1:])} beside it not"] if len(there) > 1 else []


def beside(root: Path, picture: str) -> Path | None:
    """The text file of one picture."""
    path = root / picture
    return first_of(path.parent, [f"{path.stem}{ending}" for ending in BESIDE])


def first_of(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of these that is there, be it a link that leads nowhere."""
    return next((folder / name for name in names if os.path.lexists(folder / name)), None)
