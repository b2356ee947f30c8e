"""Files under a user's folder, found without ever leaving it.

Names come from files that others wrote, and links may lead anywhere. A reader asks here whether a name is one, whether
a path stays inside, what lies below a folder, and what a message may repeat of all that.
"""

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from t2icli.errors import DataError

SHOWN = 80  # characters of a name that a message repeats
TEXT_LIMIT = 1 << 20  # bytes that the captions of one picture, or a line, may take; they take hundreds


# ---------------------------------------------------------------------------- names


def climbs_out(name: str) -> bool:
    """Whether a name by itself, links aside, leads out of the folder, or the tar, that it is a name in."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def strange(text: str) -> bool:
    """Whether a text has characters that no name has: control characters, ends of lines, halves of characters."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def unsafe(name: str) -> bool:
    """Whether a file name leads out of its folder, on any system, or has characters that no name of an image has."""
    path = PurePosixPath(name.replace("\\", "/"))
    return climbs_out(str(path)) or not path.parts or strange(name) or ":" in path.parts[0]


def shown(name: object) -> str:
    """A name from a file as a message may repeat it: printable, and not long."""
    text = str(name) if len(str(name)) <= SHOWN else f"{str(name)[:SHOWN]}..."
    return text if text.isprintable() else ascii(text)


def encodable(name: str) -> str:
    """A file's name as text can hold it, otherwise unchanged: bytes of it that are not UTF-8 are written out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


# ---------------------------------------------------------------------------- links


def leads_out(root: Path, path: Path) -> bool:
    """Whether a path, its links followed, ends outside of ``root``."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def refuse_links(root: Path, names: Iterable[str]) -> None:
    """Say so where a file or folder of the root is a link out of it."""
    for name in names:
        if leads_out(root, root / name):
            raise DataError(
                f"{root / name}: is a symbolic link that leads out of {root}; put the files themselves there, "
                "or give --root the folder that holds them"
            )


def no_file_inside(root: Path, path: Path, walked: bool = False) -> str | None:
    """Why a path is no file inside ``root``, if so.

    ``walked`` says that the folders of the path are known to be no links, which saves most of the work.
    """
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return "is not there"
    try:
        if not walked or stat.S_ISLNK(mode):
            if leads_out(root, path):
                return "is a symbolic link out of the folder"
            mode = path.stat().st_mode
    except OSError:
        return "is a symbolic link that leads nowhere"
    if stat.S_ISDIR(mode):
        return "is a folder"
    return None if stat.S_ISREG(mode) else "is a pipe, a socket or a device"


# ---------------------------------------------------------------------------- what lies below a folder


class Folders:
    """What lies in the image folders of a root, looked at once: asking for every image by itself takes minutes."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        self.files = {
            name: {f"{below}{file}": out for below, file, out in files_below(root, root / name)} for name in names
        }

    def refusal(self, folder: str, name: Any, listing: str) -> str | None:
        """Why an image that ``listing`` names cannot be used, if so."""
        if not isinstance(name, str) or unsafe(name):
            return "the file name is not a path inside the image folder"
        out = self.files[folder].get(str(PurePosixPath(name)))
        if out is None:
            return f"listed in {listing}, but there is no {folder}/{shown(name)}"
        return "is a symbolic link that leads out of the root" if out else None


def files_below(root: Path, top: Path) -> Iterator[tuple[str, str, bool]]:
    """Every file below ``top``: its folder (empty, or with a slash at its end), its name, and whether it leads out.

    The last is true of a symbolic link that ends outside of ``root``.
    Folders come in the order of their names. Links to folders are not followed, so that no circle has to be feared.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        deeper = []
        try:
            with os.scandir(top / folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        deeper.append(f"{folder}{entry.name}/")
                    elif entry.is_symlink():
                        out = leads_out(root, Path(entry.path))
                        if out or Path(entry.path).is_file():
                            yield folder, entry.name, out
                    elif entry.is_file():
                        yield folder, entry.name, False
        except OSError as fault:
            refuse_unlisted(fault)
        pending += sorted(deeper, reverse=True)


def refuse_unlisted(fault: OSError) -> NoReturn:
    """Say so where a folder cannot be listed: what lies in it would be missing without a word."""
    raise DataError(f"{encodable(str(fault.filename))}: the folder cannot be listed: {fault.strerror}") from None
