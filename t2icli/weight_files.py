"""Weights on disk, ours: safetensors whose header says in JSON what they are, with a hash of all that is in the file.

The one writer and the one reader of generators and encoders. Files of versions that wrote no hash are read as well.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from t2icli.documents import HEAD, SIZE_LIMIT, checked, parse_json, what_is
from t2icli.errors import DataError
from t2icli.released import misfits
from t2icli.storage import write_atomically

HASH = "sha256"  # of names, shapes, numbers and the header's text; beside that text in the file's metadata

Shape = TypeVar("Shape", bound=BaseModel)


def write_weights(path: Path, network: nn.Module, key: str, header: dict[str, Any]) -> None:
    """Weights and buffers of a network; ``key`` says whose files these are, ``header`` what they are and need."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    text = json.dumps(header, ensure_ascii=False)
    content = save(tensors, {key: text, HASH: content_hash(tensors, text)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def read_weights(path: Path, key: str, shape: type[Shape], otherwise: str) -> tuple[Shape, dict[str, Tensor]]:
    """Header and tensors of a whole file; ``otherwise`` is said of one whose metadata has no ``key``."""
    metadata, tensors = opened(path)
    if key not in metadata:
        raise DataError(f"{path}: {otherwise}")
    text, recorded = metadata[key], metadata.get(HASH)
    if metadata.keys() - {key, HASH}:
        raise damaged(path, f"its header has {', '.join(sorted(metadata.keys() - {key, HASH}))}, which is not known")
    if recorded is not None and recorded != content_hash(tensors, text):
        raise damaged(path, "its content is not what was saved (sha256)")
    try:
        header = checked(parse_json(text), shape, f"{path}: its header")
    except ValueError as fault:
        raise damaged(path, f"its header is not valid JSON: {fault}") from None
    endless = not_finite(tensors)
    if endless:
        raise damaged(path, f"holds numbers that are not finite ({', '.join(endless[:3])})")
    return header, tensors


def opened(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file of weights")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        found = None if head[8:9] == b"{" else what_is(head)  # after the header's length the header begins
        if found is None and int.from_bytes(head[:8], "little") > SIZE_LIMIT:
            found = f"its header would be longer than {SIZE_LIMIT:,} bytes"
        if found is None:
            with safe_open(path, framework="pt") as content:
                return content.metadata() or {}, {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except Exception as fault:  # safetensors and torch raise whatever the damage happens to cause
        found = str(fault)
    raise DataError(f"{path}: damaged, or no safetensors file: {found}") from None


def damaged(path: Path, why: str) -> DataError:
    """A file of weights that is not used."""
    return DataError(f"{path}: damaged: {why}; put a copy of it back, or make it again")


def fill(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Give a network its weights; names, shapes and types must be its own."""
    fault = misfit(network.state_dict(), tensors)
    if fault is not None:
        raise DataError(f"{what}: {fault}")
    network.load_state_dict(dict(tensors))


def misfit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """In which names, shapes and types tensors differ from a network's own, in words."""
    faults = misfits(expected, given)
    faults += [
        f"{name} is {given[name].dtype}, should be {expected[name].dtype}"
        for name in sorted(expected.keys() & given.keys())
        if given[name].dtype != expected[name].dtype
    ]
    more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
    return ", ".join(faults[:3]) + more if faults else None


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with a number that is infinite or none."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]


def content_hash(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of a text and of all names, types, shapes and numbers."""
    digest = hashlib.sha256(json.dumps(text).encode())
    for name in sorted(tensors):
        values = tensors[name]
        digest.update(json.dumps([name, str(values.dtype), list(values.shape)]).encode())
        digest.update(values.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
