"""Whether prepared shards are still what ``prepare`` wrote."""

from pathlib import Path
from typing import Any

from t2icli.console import progress
from t2icli.data.manifest import ShardEntry, entries, read_manifest, totals
from t2icli.data.shards import Shard
from t2icli.errors import DataError
from t2icli.storage import sha256


def verify(folder: Path) -> dict[str, Any]:
    """Compare every shard with its sha256 and every picture with its crc32; the damage found is an error."""
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
    """What is wrong with one shard, in words; the sha256 covers what the crc32 of pictures does not."""
    if not path.is_file():
        return [f"{path}: missing"]
    size = path.stat().st_size
    if size != entry.bytes:
        return [f"{path}: {size} bytes instead of {entry.bytes}"]
    if sha256(path) == entry.sha256:
        return []
    try:
        rows = Shard(path).damage()
    except DataError as fault:
        return [str(fault)]
    except (OverflowError, MemoryError):
        return [f"{path}: its sha256 does not fit; the places of pictures in the file are damaged"]
    return rows or [f"{path}: its sha256 does not fit; all pictures are whole, so captions or vectors are damaged"]
