"""manifest.json: what ``prepare`` wrote, in one small file that is written last.

A folder without it was not finished. Nothing here needs torch or h5py.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from t2icli.errors import DataError

SCHEMA = 2  # 1 had checksums of pictures only
NAME = "manifest.json"


@dataclass(frozen=True)
class TextIdentity:
    """Which text encoder made a set of vectors; vectors of two encoders must never meet in one model."""

    model: str  # hub id or folder, as the user may load it again
    revision: str
    sha256: str  # of the weights file
    tokenizer: str  # sha256 of the vocabulary in order and of lower-casing
    max_tokens: int
    dim: int
    precision: str = "float32"  # or "bfloat16", of the text encoder's arithmetic

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From plain values; keys that a later version added are ignored."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def same_vectors(self, other: "TextIdentity") -> bool:
        """Whether both give a caption the same vectors but for rounding; where the model lies does not matter."""
        return (self.sha256, self.tokenizer, self.max_tokens) == (other.sha256, other.tokenizer, other.max_tokens)


@dataclass(frozen=True)
class ShardEntry:
    """One shard file as the manifest lists it."""

    file: str
    split: str
    images: int
    captions: int
    tokens: int
    bytes: int
    sha256: str

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From plain values; keys that a later version added are ignored."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


# What everything that reads a shard folder relies on: keys with their types, a list by what each of its items is.
SHAPE = {
    "dataset": str,
    "recipe": {"images": {"size": int, "fit": str}, "text": {"pad_sum": bool, "embeddings": str}},
    "text": {field.name: field.type for field in fields(TextIdentity)},
    "shards": [{field.name: field.type for field in fields(ShardEntry)}],
}
CALLED = {str: "text", int: "a whole number", bool: "true or false", dict: "a table", list: "a list"}


def canonical(value: Any) -> str:
    """JSON that is the same for equal values; what hashes are taken of."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_json(path: Path) -> Any:
    """The value in a JSON file of a shard folder."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: damaged, not valid JSON ({fault})") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard folder; says what to do where there is none."""
    path = folder / NAME
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; make it with 't2i prepare DATASET --out {folder}'")
    if not path.is_file():
        begun = any(folder.glob("*.h5"))
        state = "preparation was not finished; run the same 't2i prepare' again" if begun else "holds no shards"
        raise DataError(f"{folder}: no {NAME}: {state}")
    manifest: dict[str, Any] = read_json(path)
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: schema {schema!r}, and this t2i reads schema {SCHEMA}; prepare the data again")
    fault = misfit(manifest, SHAPE) or (None if manifest["shards"] else "shards: names none")
    if fault is not None:
        raise DataError(f"{path}: damaged: {fault}; run the same 't2i prepare' again, which writes it anew")
    return manifest


def misfit(value: Any, shape: Any, name: str = "") -> str | None:
    """The first place where a value from JSON is not of a shape like ``SHAPE``, in words; it may have more keys."""
    kind: Any = shape if isinstance(shape, type) else type(shape)
    if not isinstance(value, kind):
        return f"{name}: should be {CALLED[kind]}"
    inner: list[tuple[Any, Any, str]] = []
    if kind is dict and shape is not dict:
        before = f"{name}." if name else ""
        lacking = [f"{before}{key}" for key in shape if key not in value]
        if lacking:
            return f"lacks {', '.join(lacking)}"
        inner = [(value[key], wanted, f"{before}{key}") for key, wanted in shape.items()]
    elif kind is list and shape is not list:
        inner = [(item, shape[0], f"{name}[{number}]") for number, item in enumerate(value)]
    faults = (misfit(*nested) for nested in inner)
    return next((fault for fault in faults if fault is not None), None)


def entries(manifest: dict[str, Any], split: str | None = None) -> list[ShardEntry]:
    """The shards of a manifest, of one split or of all."""
    shards = [ShardEntry.from_json(values) for values in manifest["shards"]]
    return [shard for shard in shards if split in (None, shard.split)]


def totals(shards: Sequence[ShardEntry]) -> dict[str, int]:
    """Counts over several shards."""
    return {key: sum(getattr(s, key) for s in shards) for key in ("images", "captions", "tokens", "bytes")}
