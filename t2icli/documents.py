"""Small files, ours and other people's, read in one way: bounded, checked, and refused in words.

Cards, locks, logs, results, manifests, recipes and the headers of weights all come from disks that fill up, copies
that break off and editors that slip. Whoever reads one asks here; what cannot be used is a ``DataError`` that names the
file, what was found in it and what should be there. Nothing here imports torch.
"""

import json
import stat
import tomllib
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from t2icli.errors import DataError

Shape = TypeVar("Shape", bound=BaseModel)

SIZE_LIMIT = 1 << 24  # bytes; the largest of them, a result of ten metrics over many seeds, takes some hundred thousand
HEAD = 512  # bytes that tell what a file is

LFS = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")


def read_bytes(path: Path, limit: int = SIZE_LIMIT) -> bytes:
    """The content of a regular file of at most ``limit`` bytes."""
    try:
        # asked first, because opening a pipe would wait for ever for somebody to write to it
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is no file but a folder, a pipe or a device")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise DataError(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from None
    if len(content) > limit:
        raise DataError(f"{path}: is longer than {limit:,} bytes, which no such file is")
    return content


def read_text(path: Path, limit: int = SIZE_LIMIT) -> str:
    """The text of a UTF-8 file, with or without a byte order mark."""
    content = read_bytes(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        found = what_is(content[:HEAD]) or f"byte {fault.start} is not UTF-8"
        raise DataError(f"{path}: should be UTF-8 text: {found}") from None


def read_json(path: Path, limit: int = SIZE_LIMIT) -> Any:
    """The value in a JSON file."""
    text = read_text(path, limit)
    try:
        return parse_json(text)
    except ValueError as fault:
        found = what_is(text[:HEAD].encode()) or str(fault)
        raise DataError(f"{path}: damaged, not valid JSON: {found}") from None


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ``ValueError`` for whatever is wrong, be it NaN, depth or thousands of digits."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def refuse_constant(name: str) -> NoReturn:
    """NaN and infinities are no JSON, although Python writes and reads them."""
    raise ValueError(f"{name} is no number of JSON")


def read_document(path: Path, shape: type[Shape], limit: int = SIZE_LIMIT) -> Shape:
    """A JSON file as what it should hold."""
    return checked(read_json(path, limit), shape, str(path))


def checked(value: Any, shape: type[Shape], where: str) -> Shape:
    """A value from a file as what it should be; ``where`` names the file in the message."""
    try:
        return shape.model_validate(value)
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(f"{where}: damaged: {place}: {first['msg']}") from None


def read_toml(path: Path, limit: int = SIZE_LIMIT) -> dict[str, Any]:
    """The tables of a TOML file."""
    text = read_text(path, limit)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as fault:  # tomllib's own error is a ValueError, and so is int()'s limit
        found = what_is(text[:HEAD].encode()) or str(fault) or "it is nested too deeply"
        raise DataError(f"{path}: damaged, not valid TOML: {found}") from None


def what_is(head: bytes) -> str | None:
    """What a file is that lies in another one's place, by its first bytes; ``None`` where they tell nothing."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "it is empty (0 bytes)"
    if start.startswith(LFS):
        return "it is a Git LFS pointer, not the file itself; fetch that with 'git lfs pull'"
    if start.startswith(PAGES):
        return "it is a web page, as servers send it in place of a file; download the file itself"
    if not head.strip(b"\0"):
        return "it holds zeros only, as a copy that broke off leaves it"
    return None
