"""What networks saw, on disk. A file's name is the hash of its key; the key is in the file beside a hash of the rest.

The key holds everything that decides the numbers: which pixels (data set, split, rows, size, crop, filter, or the
weights and seed they were drawn with), which network with which weights, its resize, the precision. A file whose key
or content is not what it should be is refused, never used.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2icli.errors import DataError
from t2icli.storage import write_atomically

Key = dict[str, Any]
FORMAT = 1  # raised when a network's layers are computed otherwise
HEADER = "t2i-features"
IMAGES, CAPTIONS, DIGESTS = "images/", "captions/", "digests"
Stored = tuple[bytes, dict[str, Tensor], dict[str, Tensor]]  # digests of the images, layers, layers of the captions


def cache_folder() -> Path:
    """``$T2I_CACHE``, where what was seen is kept."""
    return Path(os.environ.get("T2I_CACHE") or "~/.cache/t2i/features").expanduser()


def text_of(key: Key) -> str:
    """A key as text; equal keys have equal texts."""
    return json.dumps({"format": FORMAT, **key}, sort_keys=True, ensure_ascii=False, default=str)


def digest_of(texts: Sequence[str]) -> str:
    """SHA-256 of a list of texts."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=False).encode()).hexdigest()


def path_of(folder: Path, key: Key) -> Path:
    """Where a key's file lies."""
    name = hashlib.sha256(text_of(key).encode()).hexdigest()
    return folder / name[:2] / f"{name}.safetensors"


def write_chunk(
    folder: Path, key: Key, digests: bytes, layers: Mapping[str, Tensor], texts: Mapping[str, Tensor]
) -> None:
    """Keep what was seen; the file gets its name when it is whole."""
    tensors = {IMAGES + name: values.contiguous() for name, values in layers.items()}
    tensors |= {CAPTIONS + name: values.contiguous() for name, values in texts.items()}
    tensors[DIGESTS] = torch.frombuffer(bytearray(digests), dtype=torch.uint8)
    header = {"key": text_of(key), "content": content_hash(tensors)}
    path = path_of(folder, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={HEADER: json.dumps(header)}))


def read_chunk(folder: Path, key: Key) -> Stored | None:
    """What was kept under a key, if anything was; ``DataError`` where a file is not what its name says."""
    path = path_of(folder, key)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as fault:
        raise refused(path, f"cannot be read ({fault})") from None
    if header.get("key") != text_of(key):
        raise refused(path, "holds what was seen of other images, or by another network, than its name says")
    if header.get("content") != content_hash(tensors):
        raise refused(path, "has been changed since it was written")
    digests = tensors.pop(DIGESTS).numpy().tobytes()
    parts = [
        {name.removeprefix(kind): values for name, values in tensors.items() if name.startswith(kind)}
        for kind in (IMAGES, CAPTIONS)
    ]
    return digests, parts[0], parts[1]


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
