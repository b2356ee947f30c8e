"""Raw pictures and captions into shards: plan, build, and write down what was done.

The folder that results depends on the recipe and the raw data only. A run that was killed is taken up by the
same command: finished shards are kept, and the manifest, written last, is the same as if nothing had happened.
"""

import errno
import fcntl
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from t2icli import registry
from t2icli.console import progress, say
from t2icli.data import plan as planning
from t2icli.data.build import Advance, Done, build_all
from t2icli.data.manifest import NAME, SCHEMA, entries, read_json, read_manifest, totals
from t2icli.data.plan import Plan, make_plan, make_settings, unusable_images
from t2icli.data.source import Source
from t2icli.data.text_encoder import text_encoder
from t2icli.errors import DataError, DiskFull, Interrupted, UserError
from t2icli.recipe import DataRecipe
from t2icli.storage import write_json, write_text

PLAN = "plan.json"
QUARANTINE = "quarantine.jsonl"
LOCK = ".lock"
IMAGES_WORTH_A_PROCESS = 2500  # each process takes seconds to start, because it imports torch and transformers
SHOWN = 3  # bad images that a message names; the quarantine file has them all


def prepare(
    recipe: DataRecipe,
    root: Path | None,
    out: Path,
    workers: int = 0,
    max_bad: float = 0.001,
    overwrite: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Write the shards of a data set into ``out`` and give a summary; ``workers`` 0 means one per core,
    or fewer where there are few images.

    More than ``max_bad`` of the images being unusable is an error, after everything else was done.
    """
    encoder = text_encoder(recipe.text.model, recipe.text.max_tokens)  # first, because it is what is missing most often
    source = read_source(recipe, root)
    plan = make_plan(recipe, source, root, encoder.identity)
    if plan.images == 0:
        raise DataError(
            f"{root}: no image with a caption was found; first of what was left out: {first(plan.left_out)}"
        )
    if dry_run:
        return {"out": str(out), "dry_run": True, **outline(plan, recipe)}
    if root is not None and out.resolve() == root.resolve():
        raise UserError(f"--out {out}: is the folder of the raw data; shards need a folder of their own")
    out.mkdir(parents=True, exist_ok=True)
    with lock(out):
        settle(out, plan, overwrite)
        accept(plan.left_out, plan.listed, max_bad, out)
        if not is_finished(out, plan):
            reserve(out, plan, recipe)
            build(out, plan, recipe, workers, max_bad)
        return summary(out)


def read_source(recipe: DataRecipe, root: Path | None) -> Source:
    """What the data set's reader finds."""
    reader = registry.load("t2icli.data.readers", recipe.dataset)
    source: Source = reader.read(recipe.reader, root, recipe.seed)
    return source


def outline(plan: Plan, recipe: DataRecipe) -> dict[str, Any]:
    """What would be written."""
    splits: dict[str, Counter[str]] = {}
    for task in plan.tasks:
        captions = sum(len(record.captions) for record in task.records)
        splits.setdefault(task.split, Counter()).update(images=len(task.records), captions=captions, shards=1)
    needed = sum(planning.estimate_bytes(task.records, recipe, plan.text.dim) for task in plan.tasks)
    return {
        "dataset": recipe.dataset,
        "splits": {split: dict(counts) for split, counts in splits.items()},
        "estimated_bytes": needed,
        "left_out": count_left_out(plan.left_out),
    }


# ---------------------------------------------------------------------------- the folder


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Keep a second ``prepare`` out of the folder; the kernel opens the lock when a process dies."""
    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another 't2i prepare' is writing this folder; wait for it to end") from None
        except OSError:
            pass  # a file system without locks
        yield


def settle(out: Path, plan: Plan, overwrite: bool) -> None:
    """Make the folder one of this plan, or say what is in the way."""
    if overwrite:
        clear(out)
    for stale in out.glob(".*.tmp"):
        stale.unlink()
    path = out / PLAN
    there = read_json(path) if path.is_file() else None
    if there is not None and there != plan.identity:
        lines = "\n".join(f"  {line}" for line in planning.differences(there, plan.identity))
        raise DataError(
            f"{out}: holds shards that were prepared otherwise:\n{lines}\n"
            "choose another --out, or replace them with --overwrite"
        )
    if there is None:
        write_json(path, plan.identity)


def clear(out: Path) -> None:
    """Remove what ``prepare`` wrote, the manifest first, and nothing else."""
    for name in (NAME, PLAN, QUARANTINE):
        (out / name).unlink(missing_ok=True)
    for shard in out.glob("*-?????-of-?????.h5"):
        shard.unlink()


def is_finished(out: Path, plan: Plan) -> bool:
    """Whether an earlier run wrote everything and its files still have their sizes."""
    if not (out / NAME).is_file():
        return False
    manifest = read_manifest(out)
    files = {entry.file: entry.bytes for entry in entries(manifest)}
    whole = all((out / name).is_file() and (out / name).stat().st_size == size for name, size in files.items())
    if whole and manifest["plan"] == plan.hash:
        say(f"{out}: already prepared")
        return True
    (out / NAME).unlink()  # a folder with a manifest is a whole folder
    return False


def reserve(out: Path, plan: Plan, recipe: DataRecipe) -> None:
    """Refuse to begin what the disk cannot hold."""
    missing = [task for task in plan.tasks if not (out / task.file).is_file()]
    needed = sum(planning.estimate_bytes(task.records, recipe, plan.text.dim) for task in missing)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DiskFull(
            f"{out}: about {needed / 1e9:,.2f} GB are needed and {free / 1e9:,.2f} GB are free; "
            "choose another --out or make room"
        )


# ---------------------------------------------------------------------------- the work


def build(out: Path, plan: Plan, recipe: DataRecipe, workers: int, max_bad: float) -> None:
    """Write what is missing, then the quarantine and the manifest."""
    cores = len(os.sched_getaffinity(0))
    worthwhile = -(-plan.images // IMAGES_WORTH_A_PROCESS)
    workers = min(workers or min(cores, worthwhile), len(plan.tasks))
    settings = make_settings(plan, recipe, out, threads=max(1, cores // workers))
    with progress(f"prepare {recipe.dataset}", plan.images, "images") as advance:
        done = run(out, plan, settings, workers, advance)
    left_out = [*plan.left_out, *(line for shard in done for line in shard.left_out)]
    accept(left_out, plan.listed, max_bad, out)
    write_json(out / NAME, manifest_of(plan, recipe, done, left_out))


def run(out: Path, plan: Plan, settings: planning.Settings, workers: int, advance: Advance) -> list[Done]:
    """All shards in the order of the plan, whichever was finished first."""
    order = {task.file: number for number, task in enumerate(plan.tasks)}
    try:
        done = list(build_all(plan.tasks, settings, workers, advance))
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"{out}: no space left on the disk; finished shards are kept: make room and run the same command again"
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(
            f"{out}: stopped; finished shards are kept, and the same command goes on from there"
        ) from None
    return sorted(done, key=lambda shard: order[shard.entry.file])


def accept(left_out: Sequence[dict[str, Any]], listed: int, max_bad: float, out: Path) -> None:
    """Write down what was left out; refuse to go on when it is too much."""
    write_text(out / QUARANTINE, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in left_out))
    bad = unusable_images(list(left_out))
    if bad <= max_bad * listed:
        return
    share = bad / listed
    # rounded up to two digits, so that the number offered is accepted
    digits = 10.0 ** (1 - math.floor(math.log10(share)))
    enough = math.ceil(share * digits) / digits
    raise DataError(
        f"{bad:,} of {listed:,} images ({share:.2%}) cannot be used, and --max-bad allows {max_bad:.2%}: "
        f"{first(left_out)}\n{out / QUARANTINE} lists all. Repair or remove them, "
        f"or go on without them: the same command with --max-bad {enough:g}"
    )


def first(left_out: Sequence[dict[str, Any]]) -> str:
    """The first few images that were left out, for a message."""
    lines = [line for line in left_out if line.get("what", "image") == "image"]
    named = "; ".join(f"{line['split']}/{line['image']}: {line['reason']}" for line in lines[:SHOWN])
    return f"{named}; ..." if len(lines) > SHOWN else named or "nothing"


def count_left_out(left_out: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many images and captions were left out."""
    images = unusable_images(list(left_out))
    return {"images": images, "captions": len(left_out) - images}


def manifest_of(plan: Plan, recipe: DataRecipe, done: list[Done], left_out: list[dict[str, Any]]) -> dict[str, Any]:
    """All that is known of the folder, without anything of this machine or this hour."""
    notes: Counter[str] = Counter()
    for shard in done:
        notes.update(shard.notes)
    shards = [shard.entry for shard in done]
    splits = list(dict.fromkeys(task.split for task in plan.tasks))
    return {
        "schema": SCHEMA,
        "dataset": recipe.dataset,
        "plan": plan.hash,
        "recipe": recipe.model_dump(mode="json"),
        "text": plan.text.to_json(),
        "vocabulary": {"words": len(plan.vocabulary.words), "sha256": plan.vocabulary.sha256},
        "categories": list(plan.categories),
        "counts": {split: totals([shard for shard in shards if shard.split == split]) for split in splits},
        "left_out": count_left_out(left_out),
        "truncated_captions": sum(shard.truncated_captions for shard in done),
        "decoding": dict(notes),
        "repaired": [name for shard in done for name in shard.repaired],
        "shards": [vars(entry) for entry in shards],
    }


def summary(out: Path) -> dict[str, Any]:
    """What a folder holds, as ``--json`` prints it."""
    manifest = read_manifest(out)
    counts = totals(entries(manifest))
    shown = ("dataset", "counts", "left_out", "truncated_captions", "decoding", "repaired")
    return {
        "out": str(out),
        **{key: manifest[key] for key in shown},
        **counts,
        "shards": len(manifest["shards"]),
        "bytes_per_image": round(counts["bytes"] / counts["images"]) if counts["images"] else 0,
    }
