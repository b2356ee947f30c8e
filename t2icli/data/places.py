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
# Why something is no file inside a folder that a user named.
OUT = "is a symbolic link out of the folder"
NOWHERE = "is a symbolic link that leads nowhere"
FOLDER = "is a folder"
SPECIAL = "is a pipe, a socket or a device"
HIDDEN, HIDDEN_FOLDER = "is hidden", "is a hidden folder"
AGAIN = "is a link to a folder that is read under another name"
# Folders that systems put beside what people keep; names with a dot before them are hidden as well.
OF_SYSTEMS = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
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


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is no part of what a user keeps, such as ``._a.jpg`` or ``__MACOSX``."""
    return (name.startswith(".") and name not in (".", "..")) or name in OF_SYSTEMS


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
                return OUT
            mode = path.stat().st_mode
    except OSError:
        return NOWHERE
    if stat.S_ISDIR(mode):
        return FOLDER
    return None if stat.S_ISREG(mode) else SPECIAL


# ---------------------------------------------------------------------------- what lies below a folder


class Folders:
    """What lies in the image folders of a root, looked at once: asking for every image by itself takes minutes."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        self.files = {
            name: {f"{below}{file}": reason for below, file, reason in files_below(root, root / name)} for name in names
        }

    def refusal(self, folder: str, name: Any, listing: str) -> str | None:
        """Why an image that ``listing`` names cannot be used, if so."""
        if not isinstance(name, str) or unsafe(name):
            return "the file name is not a path inside the image folder"
        absent = f"listed in {listing}, but there is no {folder}/{shown(name)}"
        reason = self.files[folder].get(str(PurePosixPath(name)), absent)
        return "is a symbolic link that leads out of the root" if reason == OUT else reason


def files_below(root: Path, top: Path) -> Iterator[tuple[str, str, str | None]]:
    """What lies below ``top``: its folder (empty, or with a slash at its end), its name, and why it is no file, if so.

    Folders come in the order of their names. Links to folders inside of ``root`` are followed when all else was looked
    at, and no folder is looked at twice, so that no circle has to be feared and nothing comes under two names; a link
    to a folder elsewhere is a ``DataError``. Hidden folders are not looked into.
    """
    looked_at: set[tuple[int, int]] = set()
    pending, links = [""], list[str]()
    while pending or links:
        linked = not pending
        if linked:
            links.sort(reverse=True)
        folder = links.pop() if linked else pending.pop()
        deeper = []
        try:
            found = (top / folder).stat()
            if (found.st_dev, found.st_ino) in looked_at:
                if linked:
                    below, _, name = folder.removesuffix("/").rpartition("/")
                    yield f"{below}/" if below else "", name, AGAIN
                continue
            looked_at.add((found.st_dev, found.st_ino))
            with os.scandir(top / folder) as entries:
                for entry in entries:
                    reason = entry_reason(root, entry)
                    if reason == FOLDER and entry.is_symlink():
                        links.append(f"{folder}{entry.name}/")
                    elif reason == FOLDER:
                        deeper.append(f"{folder}{entry.name}/")
                    yield folder, entry.name, reason
        except OSError as fault:
            refuse_unlisted(fault)
        pending += sorted(deeper, reverse=True)


def entry_reason(root: Path, entry: "os.DirEntry[str]") -> str | None:
    """Why what lies in a folder is no file inside ``root``, if so."""
    try:
        is_folder = entry.is_dir()
    except OSError:  # a link in a circle
        return NOWHERE
    if is_hidden(entry.name):
        return HIDDEN_FOLDER if is_folder else HIDDEN
    if entry.is_symlink():
        if leads_out(root, Path(entry.path)):
            if is_folder:
                raise DataError(
                    f"{encodable(entry.path)}: is a symbolic link to a folder outside of {root}, and nothing outside "
                    "is read; put the folder itself there, or remove the link"
                )
            return OUT
        if not Path(entry.path).exists():
            return NOWHERE
    if is_folder:
        return FOLDER
    return None if entry.is_file() else SPECIAL


def refuse_unlisted(fault: OSError) -> NoReturn:
    """Say so where a folder cannot be listed: what lies in it would be missing without a word."""
    raise DataError(f"{encodable(str(fault.filename))}: the folder cannot be listed: {fault.strerror}") from None
