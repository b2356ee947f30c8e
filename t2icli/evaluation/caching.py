"""What networks saw, on disk. A file's name is the hash of its key; the key is in the file beside a hash of the rest.

The key holds everything that decides the numbers, and nothing else: which pixels or captions, which network with which
weights and settings, its resize, the precision (``looking.key_of``). A file whose key or content is not what it should
be is refused, never used. What was seen of a part of a file's rows lies beside its place until the rest is seen too.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from t2icli.documents import Document, checked, parse_json
from t2icli.errors import DataError
from t2icli.storage import write_atomically
from t2icli.weight_files import opened

Key = dict[str, Any]
FORMAT = 2  # raised when a network's layers, or the pixels that it is shown, are made otherwise
HEADER = "t2i-features"
LAYER, DIGESTS = "layer/", "digests"
DIGEST = 32  # bytes of an image's hash
SETTINGS = (".json", ".txt")  # endings of a model's files that decide its answers beside its weights


class Header(Document):
    """What a file says of itself."""

    key: str
    content: str  # the hash of all its tensors


@dataclass(frozen=True)
class Stored:
    """What one network said of some rows."""

    digests: bytes  # of images: 32 bytes each, the SHA-256 of their pixels; of captions: nothing
    layers: Mapping[str, Tensor]  # name -> (n, ...)

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return len(next(iter(self.layers.values())))

    def first(self, count: int) -> "Stored":
        """The first rows alone."""
        return Stored(self.digests[: DIGEST * count], {name: values[:count] for name, values in self.layers.items()})


def cache_folder() -> Path:
    """``$T2I_CACHE``, where what was seen is kept."""
    return Path(os.environ.get("T2I_CACHE") or "~/.cache/t2i/features").expanduser()


def text_of(key: Key) -> str:
    """A key as text; equal keys have equal texts."""
    return json.dumps({"format": FORMAT, **key}, sort_keys=True, ensure_ascii=False, default=str)


def digest_of(texts: Sequence[str]) -> str:
    """SHA-256 of a list of texts."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def settings_of(folder: Path) -> str:
    """SHA-256 of the small files of a model's folder: its configuration, how it prepares pictures, its tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in SETTINGS and path.is_file()):
        digest.update(f"{path.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def path_of(folder: Path, key: Key) -> Path:
    """Where a key's file lies."""
    name = hashlib.sha256(text_of(key).encode("utf-8", "surrogatepass")).hexdigest()
    return folder / name[:2] / f"{name}.safetensors"


def part_of(folder: Path, key: Key) -> Path:
    """Where the first rows of a key's file lie until all are seen."""
    return path_of(folder, key).with_suffix(".part")


def write_chunk(folder: Path, key: Key, seen: Stored) -> None:
    """Keep what was seen of all rows; the file gets its name when it is whole, and replaces what was begun."""
    write(path_of(folder, key), key, seen)
    part_of(folder, key).unlink(missing_ok=True)


def write_part(folder: Path, key: Key, seen: Stored) -> None:
    """Keep what was seen of the first rows."""
    write(part_of(folder, key), key, seen)


def write(path: Path, key: Key, seen: Stored) -> None:
    """Layers, hashes of images and the key as one file."""
    tensors = {LAYER + name: values.contiguous() for name, values in seen.layers.items()}
    tensors[DIGESTS] = torch.frombuffer(bytearray(seen.digests), dtype=torch.uint8) if seen.digests else torch.empty(0)
    header = {"key": text_of(key), "content": content_hash(tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={HEADER: json.dumps(header)}))


def read_chunk(folder: Path, key: Key) -> Stored | None:
    """What was kept under a key, if anything was; ``DataError`` where a file is not what its name says."""
    return read(path_of(folder, key), key)


def read_part(folder: Path, key: Key) -> Stored | None:
    """What was kept of the first rows, if anything was."""
    return read(part_of(folder, key), key)


def read(path: Path, key: Key) -> Stored | None:
    """One file; ``None`` where there is none."""
    if not path.is_file():
        return None
    try:
        metadata, tensors = opened(path)
        header = checked(parse_json(metadata.get(HEADER, "null")), Header, f"{path}: its header")
    except (DataError, ValueError) as fault:  # ValueError: no JSON
        raise refused(path, f"cannot be read ({str(fault).removeprefix(f'{path}: ')})") from None
    if header.key != text_of(key):
        raise refused(path, "holds what was seen of other images, or by another network, than its name says")
    if header.content != content_hash(tensors) or DIGESTS not in tensors or len(tensors) < 2:
        raise refused(path, "has been changed since it was written")
    digests = tensors[DIGESTS].numpy().tobytes()
    return Stored(digests, {name.removeprefix(LAYER): tensors[name] for name in tensors if name != DIGESTS})


def refused(path: Path, why: str) -> DataError:
    """A file of the cache that is not used."""
    return DataError(f"{path}: {why}; delete it (it will be made again), or evaluate with --no-cache")


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and numbers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
