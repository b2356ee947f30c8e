"""Small files, ours and other people's, read in one way: bounded, checked, and refused in words.

Cards, locks, logs, results, manifests, recipes and the headers of weights all come from disks that fill up, copies
that break off and editors that slip. Whoever reads one asks here; what cannot be used is a ``DataError`` that names the
file, what was found in it and what should be there. Nothing here imports torch.
"""

import json
import math
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t2icli.errors import DataError

Shape = TypeVar("Shape", bound=BaseModel)
Count = Annotated[int, Field(ge=0, lt=1 << 63)]

SIZE_LIMIT = 1 << 24  # bytes; the largest of them, a result of ten metrics over many seeds, takes some hundred thousand
HEAD = 512  # bytes that tell what a file is

LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")
SHOWN = 60  # characters of a text that a message shows
MAGIC = (  # place in a file, what stands there, and what such a file is
    (4, b'\0\0\0\0{"', "a safetensors file"),  # the header's length of 8 bytes, then the header
    (4, b"\0\0\0\0{}", "a safetensors file without tensors"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5, .hdf5; a shard or Keras weights)"),
    (0, b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"GIF8", "a picture (GIF)"),
    (8, b"WEBP", "a picture (WebP)"),
    (0, b"\x93NUMPY", "a numpy array (.npy)"),
    (0, b"PK\x03\x04", "a zip archive, as torch's newer checkpoints, .npz and .zip are"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x1f\x8b", "compressed by gzip (.gz, .tgz); unpack it first"),
    (0, b"BZh", "compressed by bzip2; unpack it first"),
    (0, b"\xfd7zXZ\0", "compressed by xz; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (12, b"V 1", "a Torch7 file (.t7, of Lua's Torch)"),  # the first object's kind, number and length of the version
    (0, b"4\n1\n3\nV 1\n", "a Torch7 file (.t7, of Lua's Torch, as text)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program or library (ELF)"),
    (0, b"GGUF", "a GGUF file, as llama.cpp has them"),
    *((0, bytes([0x80, n]), "a pickle, as Python and torch's older checkpoints are") for n in range(1, 6)),
)


class Document(BaseModel):
    """What a JSON file of ours should hold at least: the very types, and whatever else a later version adds."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file for reading; what stops that is said in words."""
    try:
        # asked first, because opening a pipe would wait for ever for somebody to write to it
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is no file but a folder, a pipe or a device")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror or fault}") from None
    except ValueError as fault:
        if "null" not in str(fault):  # of what is done with the file
            raise
        raise DataError(f"{str(path)!r}: cannot be read: the name holds a NUL") from None


def read_bytes(path: Path, limit: int = SIZE_LIMIT) -> bytes:
    """The content of a regular file of at most ``limit`` bytes."""
    with opened(path) as file:
        size = max(os.fstat(file.fileno()).st_size, 1 << 16)  # the kernel's own files say 0
        content = file.read(min(size, limit) + 1)  # not the limit at once: that much memory would be asked for
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
        value = json.loads(text, parse_constant=refuse_constant, parse_float=finite)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half of a letter (a lone surrogate), which cannot be written") from None
    return value


def refuse_constant(name: str) -> NoReturn:
    """NaN and infinities are no JSON, although Python writes and reads them."""
    raise ValueError(f"{name} is no number of JSON")


def finite(digits: str) -> float:
    """A number with a point or an exponent, which may be too large for any float."""
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:SHOWN]} is larger than any number can be")
    return value


def read_document(path: Path, shape: type[Shape], limit: int = SIZE_LIMIT) -> Shape:
    """A JSON file as what it should hold."""
    return checked(read_json(path, limit), shape, str(path))


def checked(value: Any, shape: type[Shape], where: str) -> Shape:
    """A value from a file as what it should be; ``where`` names the file in the message."""
    try:
        return shape.model_validate(value)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:SHOWN] or "the whole"
        said = f"lacks {place}" if first["type"] == "missing" else f"{place}: {first['msg']}"
        raise DataError(f"{where}: damaged: {said}") from None


def list_of_words(text: Any, where: str) -> list[str]:
    """A list of words that is kept as JSON in an attribute; ``where`` names file and attribute in the message."""
    try:
        words = parse_json(text)
    except (TypeError, ValueError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{where}: damaged: should be a list of words")
    return words


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
    known = next((name for place, magic, name in MAGIC if head[place:].startswith(magic)), None)
    return None if known is None else f"it is {known}"


def what_file_is(path: Path) -> str:
    """What a file is that lies in the place of a larger one that is not text; says something of every file."""
    head = read_head(path)
    text = as_text(head)
    if text is not None and what_is(head) is None:
        return f"it is a text that begins with {text[:SHOWN]!r}"
    return what_is(head) or f"it is of no kind that is known here; its first bytes are {head[:8].hex(' ')}"


def read_head(path: Path) -> bytes:
    """The first bytes of a regular file."""
    with opened(path) as file:
        return file.read(HEAD)


def as_text(head: bytes) -> str | None:
    """The beginning of a file as text, if it is one."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        if len(head) < HEAD or fault.start < HEAD - 4:  # else the cut went through a letter
            return None
        text = head[: fault.start].decode("utf-8-sig")
    return text if all(c.isprintable() or c in "\t\r\n" for c in text) else None
