"""Files that are either whole or not there: the one way to write.

What lies at a place decides what a write does there. A regular file is replaced by the new one in a single step and
keeps its permissions. A symbolic link stays, and the file that it points to is replaced, or made where there is none.
A pipe, a device and a descriptor of this process (``/dev/stdout``) are written to and never replaced. A folder, a disk,
a socket, a read-only file and a link into a folder that is not there are refused in words.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from t2icli.errors import UserError

NAME_SHOWN = 50  # letters of a file's name in its temporary file's; at 4 bytes each they leave room below 255 bytes
DESCRIPTOR = re.compile(rf"/(?:dev|proc/self|proc/{os.getpid()})/fd/(\d+)")
# What a file system without hard links answers.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# What libraries say that keep no error number: safetensors, HDF5, and torch's own writer after a write came back short.
FULL = (*map(os.strerror, NO_SPACE), "unexpected pos", "PytorchStreamWriter failed writing")


def no_space(fault: BaseException | None) -> bool:
    """Whether a fault, or one it came from, says that a disk or a quota is full; decided here for all libraries."""
    seen: set[int] = set()
    while fault is not None and id(fault) not in seen:
        seen.add(id(fault))
        if (isinstance(fault, OSError) and fault.errno in NO_SPACE) or any(words in str(fault) for words in FULL):
            return True
        fault = fault.__cause__ or fault.__context__
    return False


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, force it to the disk, then put it in the place of ``path``.

    A kill at any moment leaves the old file or the new one; a failed write leaves no half of one behind. A full disk is
    the ``OSError`` that says so, with the file's name, whatever ``write`` raises. Folders that are missing on the way
    are made.
    """
    refuse_unwritable(path)
    if is_stream(path):
        write_through(path, write)
        return
    target = path.resolve()
    make_folder(target.parent)
    temporary = temporary_beside(target)
    try:
        fill(temporary, write, path)
        keep_permissions(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    to_disk(target.parent)


def write_new(path: Path, write: Callable[[Path], object]) -> None:
    """The same for a file that must not exist yet: ``FileExistsError`` if anything at all has that name."""
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        fill(temporary, write, path)
        give_free_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    to_disk(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------------- what lies at a place


def refuse_unwritable(path: Path) -> None:
    """Refuse a place that cannot be written to; verbs ask this before their work, and every write asks it again."""
    if descriptor_of(path) is not None:
        return
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink() and not path.resolve().parent.is_dir():
            raise UserError(f"{path}: is a link to {path.readlink()}, whose folder is not there") from None
        refuse_no_folder(path.parent)
        return
    except OSError as fault:  # a file where a folder should be, a circle of links, a name that is too long
        if fault.errno == errno.ENOTDIR:
            refuse_no_folder(path.parent)
        raise UserError(f"{path}: {fault.strerror}; name a place that can be written") from None
    kinds = ((stat.S_ISDIR, "a folder; name a file in it"), (stat.S_ISBLK, "a disk"), (stat.S_ISSOCK, "a socket"))
    for is_kind, name in kinds:
        if is_kind(found.st_mode):
            raise UserError(f"{path}: is {name}; it is left as it is")
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: is read-only; it is left as it is")
    if stat.S_ISREG(found.st_mode):
        refuse_no_folder(path.resolve().parent)


def refuse_no_folder(folder: Path) -> None:
    """Refuse a folder that neither is there nor could be made."""
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        what = "a link to nothing" if folder.is_symlink() else "a file"
        raise UserError(f"{folder}: is {what}, and no folder can be made there")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: nothing may be written in this folder; name a place that can be written")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        refuse_no_folder(folder)
        raise  # it came to be meanwhile


def is_stream(path: Path) -> bool:
    """Whether what is written there flows on: a pipe, a device, or a descriptor of this process."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return descriptor_of(path) is not None or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def descriptor_of(path: Path) -> int | None:
    """The number of this process's descriptor that a path stands for, as ``/dev/stdout`` stands for 1."""
    here = path.absolute()
    for _ in range(8):  # /dev/stdout -> /proc/self/fd/1, and links of the user's to it; none of them a real file's
        found = DESCRIPTOR.fullmatch(str(here))
        if found:
            return int(found[1])
        if not os.path.islink(here):  # noqa: PTH114 - Path's own raises for names that are too long
            break
        here = here.parent / here.readlink()
    return None


# ---------------------------------------------------------------------------- steps of a write


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that nobody else uses."""
    # by chance: process numbers are the same in two containers, or on two machines that share the folder
    return path.with_name(f".{path.name[:NAME_SHOWN]}.{secrets.token_hex(8)}.tmp")


def fill(temporary: Path, write: Callable[[Path], object], path: Path) -> None:
    """Let the file be written that is to be at ``path``, and force it to the disk."""
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    except Exception as fault:  # every library has its own way to say that the disk is full
        if not no_space(fault) or (isinstance(fault, OSError) and fault.filename):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from fault


def keep_permissions(old: Path, new: Path) -> None:
    """Give the new file the old one's permissions, and its owner where that is allowed."""
    try:
        found = old.stat()
    except FileNotFoundError:
        return
    with suppress(PermissionError):
        os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))


def give_free_name(temporary: Path, path: Path) -> None:
    """Move a file to a name that is free; another process may be about to take the same one."""
    try:
        os.link(temporary, path)
    except OSError as fault:
        if fault.errno not in NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)  # a moment in which another could take the name: the file system offers no better


def to_disk(folder: Path) -> None:
    """Force a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_through(path: Path, write: Callable[[Path], object]) -> None:
    """Make the whole file elsewhere, then send its bytes through a pipe, a device or a descriptor."""
    with tempfile.TemporaryDirectory(prefix="t2i-") as folder:
        whole = Path(folder) / f"whole{path.suffix}"
        write(whole)
        sys.stdout.flush()  # what was printed comes before, if it goes the same way
        with whole.open("rb") as source, os.fdopen(open_stream(path), "wb") as target:
            shutil.copyfileobj(source, target)


def open_stream(path: Path) -> int:
    """A descriptor to write to; a pipe that nobody reads is refused, because to open it would wait for ever."""
    number = descriptor_of(path)
    try:
        if number is not None:
            if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, "is open for reading only")
            return os.dup(number)  # to open it anew would begin at the start of a file that stdout was sent to
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as fault:
        why = "is a pipe that nobody reads" if fault.errno == errno.ENXIO else fault.strerror
        raise UserError(f"{path}: {why}; nothing was written") from None
    os.set_blocking(descriptor, True)
    return descriptor
