"""manifest.json: what ``prepare`` wrote, in one small file that is written last.

A folder without it was not finished. Nothing here needs torch or h5py.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from t2icli.documents import Count, Document, checked, read_json
from t2icli.errors import DataError

SCHEMA = 2  # 1 had checksums of pictures only
NAME = "manifest.json"


SIZE_LIMIT = 1 << 28  # bytes; of a million repaired pictures every name is listed
ROOM = 28  # bytes that the index of a shard takes for each picture, and for each caption
TOKEN = 4  # and for each token


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


class ShardShape(Document):
    """A shard's line of the manifest; counts are bounded by the bytes that they would take."""

    file: str = Field(pattern=r"^[^/\\\x00-\x1f]+\.h5$")  # a plain name: shards lie beside the manifest
    split: str = Field(min_length=1)
    images: Count
    captions: Count
    tokens: Count
    bytes: Count
    sha256: str

    @model_validator(mode="after")
    def _room(self) -> Self:
        """Counts that the file cannot hold would ask for memory before anybody looks into it."""
        if ROOM * (self.images + self.captions) + TOKEN * self.tokens > self.bytes:
            raise ValueError(f"{self.file} counts more than its {self.bytes:,} bytes can hold")
        return self


class TextShape(Document):
    """See ``TextIdentity``."""

    model: str
    revision: str
    sha256: str
    tokenizer: str
    max_tokens: int = Field(ge=1, le=1 << 16)
    dim: int = Field(ge=0, le=1 << 16)
    precision: str = "float32"


class ImagesShape(Document):
    """What is read of a recipe's [images]."""

    size: int = Field(ge=1, le=1 << 16)
    fit: str


class RecipeTextShape(Document):
    """What is read of a recipe's [text]."""

    pad_sum: bool
    embeddings: str


class RecipeShape(Document):
    """What is read of the recipe."""

    images: ImagesShape
    text: RecipeTextShape


class Manifest(Document):
    """What everything that reads a shard folder relies on."""

    dataset: str
    recipe: RecipeShape
    text: TextShape
    shards: list[ShardShape] = Field(min_length=1)


def canonical(value: Any) -> str:
    """JSON that is the same for equal values; what hashes are taken of."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard folder; says what to do where there is none."""
    path = folder / NAME
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; make it with 't2i prepare DATASET --out {folder}'")
    if not path.is_file():
        begun = any(folder.glob("*.h5"))
        state = "preparation was not finished; run the same 't2i prepare' again" if begun else "holds no shards"
        raise DataError(f"{folder}: no {NAME}: {state}")
    manifest: dict[str, Any] = read_json(path, SIZE_LIMIT)
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: schema {schema!r}, and this t2i reads schema {SCHEMA}; prepare the data again")
    try:
        checked(manifest, Manifest, str(path))
        check_places(folder, entries(manifest))
    except DataError as fault:
        raise DataError(f"{fault}; run the same 't2i prepare' again, which writes it anew") from None
    return manifest


def check_places(folder: Path, shards: Sequence[ShardEntry]) -> None:
    """Refuse shards that lie outside the folder, by their names or by links, and one that is counted twice."""
    root, seen = folder.resolve(), dict[Path, str]()
    for shard in shards:
        place = (folder / shard.file).resolve()
        if place.parent != root:
            raise DataError(
                f"{folder / shard.file}: damaged: is a link to {place}, outside its folder; put the shard there, "
                "or link the whole folder"
            )
        if place in seen:
            raise DataError(f"{folder / NAME}: damaged: shards: {shard.file} and {seen[place]} are the same file")
        seen[place] = shard.file


def entries(manifest: dict[str, Any], split: str | None = None) -> list[ShardEntry]:
    """The shards of a manifest, of one split or of all."""
    shards = [ShardEntry.from_json(values) for values in manifest["shards"]]
    return [shard for shard in shards if split in (None, shard.split)]


def totals(shards: Sequence[ShardEntry]) -> dict[str, int]:
    """Counts over several shards."""
    return {key: sum(getattr(s, key) for s in shards) for key in ("images", "captions", "tokens", "bytes")}


def numbers(manifest: dict[str, Any], table: str) -> dict[str, int]:
    """The counts in a table that older manifests lack."""
    found = manifest.get(table)
    return {key: n for key, n in found.items() if type(n) is int} if isinstance(found, dict) else {}
