"""Whether prepared shards are still what ``prepare`` wrote."""

from pathlib import Path
from typing import Any

from t2icli.console import progress
from t2icli.data.manifest import NAME, ShardEntry, entries, read_manifest, totals
from t2icli.data.shards import Shard
from t2icli.errors import DataError
from t2icli.storage import sha256


def verify(folder: Path) -> dict[str, Any]:
    """Compare every shard with its sha256; damage is an error that names every picture and caption it lies in."""
    shards = entries(read_manifest(folder))
    damage: list[str] = []
    with progress(f"verify {folder}", len(shards), "shards") as advance:
        for entry in shards:
            damage += examine(folder / entry.file, entry)
            advance(1)
    if damage:
        lines = "\n".join(f"  {line}" for line in damage)
        raise DataError(f"{folder}: damaged:\n{lines}\ndelete these shards and run the same 't2i prepare' again")
    return {"folder": str(folder), "verified": True, "shards": len(shards), **totals(shards)}


def examine(path: Path, entry: ShardEntry) -> list[str]:
    """What is wrong with one shard, in words."""
    if not path.is_file():
        return [f"{path}: missing"]
    size = path.stat().st_size
    if size != entry.bytes:
        return [f"{path}: {size} bytes instead of {entry.bytes}"]
    whole = sha256(path) == entry.sha256
    try:
        shard = Shard(path)
        if whole and (len(shard), shard.caption_count) == (entry.images, entry.captions):
            return []
        if whole:
            return [f"{path}: whole, but {NAME} counts other numbers of images or captions in it; delete {NAME}"]
        rows = shard.damage()
    except DataError as fault:
        return [str(fault)]
    return rows or [f"{path}: its sha256 does not fit, though every picture and caption is whole"]
