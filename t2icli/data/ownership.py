"""Whose a folder of shards is: of one plan, and of one job or of the jobs that make its parts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from t2icli.data.manifest import NAME
from t2icli.data.parts import Part
from t2icli.data.plan import Plan, differences
from t2icli.data.shards import Shard
from t2icli.documents import read_json
from t2icli.errors import DataError
from t2icli.locks import Kernel, take
from t2icli.storage import write_json

PLAN = "plan.json"
QUARANTINE = "quarantine.jsonl"
IMAGES = "images.txt"  # of data sets that not everybody has whole: which images were taken
LOCK = ".lock"
SHARDS = "*-?????-of-?????.h5"
SHOWN = 3  # shards that a message names
# Seconds since its last change after which a temporary file is a dead job's, where locks cannot tell. To fill one takes
# seconds, minutes on a slow network; the clocks of machines that share a folder differ by less than the rest of it.
ABANDONED = 3600.0


@contextmanager
def lock(out: Path, part: Part | None) -> Iterator[bool]:
    """Keep a second ``prepare`` out of the folder, but for one that makes another part; gives whether it is alone.

    The kernel opens the locks when a process dies. They save work and nothing depends on them: a shard gets its name
    when it is whole, and two jobs that write the same one write the same bytes.
    """
    # for reading too: NFS makes POSIX locks of these, and a shared one needs a file that is open for reading
    with (out / LOCK).open("a+") as folder:
        alone = claim(folder, shared=part is not None, refusal=f"{out}: another 't2i prepare' is writing this folder")
        if part is None:
            sweep(out, alone)
            yield alone
            return
        with (out / part.lock).open("w+") as own:
            claim(own, shared=False, refusal=f"{out}: another 't2i prepare --shards {part}' is writing this part")
            yield False


def claim(file: IO[str], shared: bool, refusal: str) -> bool:
    """Lock a file, or refuse to wait for it; false where the file system has no locks."""
    answer = take(file, shared)
    if answer is Kernel.BUSY:
        raise DataError(f"{refusal}; wait for it to end")
    return answer is Kernel.HELD


def settle(out: Path, plan: Plan, overwrite: bool) -> None:
    """Make the folder one of this plan, or say what is in the way."""
    if overwrite:
        clear(out)
    if read_plan(out) is None:
        refuse_others(out, plan)
        write_json(out / PLAN, plan.identity)
    there = read_plan(out) or {}  # even if it was just written: another part's may have come after it
    if there != plan.identity:
        lines = "\n".join(f"  {line}" for line in differences(there, plan.identity))
        raise DataError(
            f"{out}: holds shards that were prepared otherwise:\n{lines}\n"
            "choose another --out, or replace them with --overwrite"
        )


def read_plan(out: Path) -> dict[str, Any] | None:
    """The plan that a folder was begun with; none where that is not there, or is damaged."""
    if not (out / PLAN).is_file():
        return None
    try:
        there = read_json(out / PLAN)
    except DataError:
        return None
    return there if isinstance(there, dict) else None


def refuse_others(out: Path, plan: Plan) -> None:
    """Refuse shards that are not of a plan where the folder no longer says what it was begun with.

    Those that have the same names would be replaced although nobody said ``--overwrite``, and others would stay.
    """
    others = []
    for path in sorted(out.glob(SHARDS)):
        try:
            same = Shard(path).attributes.get("plan") == plan.hash
        except DataError:
            same = False
        if not same:
            others.append(path.name)
    if others:
        state = "damaged" if (out / PLAN).exists() else "absent"
        named = ", ".join(others[:SHOWN])
        more = f" and {len(others) - SHOWN:,} more" if len(others) > SHOWN else ""
        raise DataError(
            f"{out}: {PLAN} is {state}, and these shards are damaged or were prepared otherwise: {named}{more}; "
            "choose another --out, delete them, or replace all with --overwrite"
        )


def clear(out: Path) -> None:
    """Remove what ``prepare`` wrote, the manifest first, and nothing else."""
    for name in (NAME, PLAN, QUARANTINE, IMAGES):
        (out / name).unlink(missing_ok=True)
    for shard in out.glob(SHARDS):
        shard.unlink()


def sweep(out: Path, alone: bool) -> None:
    """Remove what killed processes were writing; unless this job is ``alone``, only what is certainly abandoned."""
    for temporary in out.glob(".*.tmp"):
        with suppress(FileNotFoundError):  # another job has just given it its name
            if alone or time.time() - temporary.stat().st_mtime > ABANDONED:
                temporary.unlink()
