"""Parts of a preparation that are made apart, by jobs that share nothing but the folder they write to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2icli.data.build import Builder, Done
from t2icli.data.plan import Task
from t2icli.errors import DataError, UserError

SHOWN = 20  # shards that a message names


@dataclass(frozen=True)
class Part:
    """Every ``count``-th task, from task number ``number`` - 1 on."""

    number: int  # from 1
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def lock(self) -> str:
        """The file that keeps a second job out of this part; it also tells ``--merge`` into how many parts."""
        return f".lock-{self.number}-of-{self.count}"

    def of(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        """The tasks of this part."""
        return tuple(tasks[self.number - 1 :: self.count])


def parse_part(text: str) -> Part:
    """``I/N`` of the command line."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shards {text}: should be I/N with I from 1 to N, e.g. --shards 3/8 for the third of 8 jobs")
    return Part(int(match[1]), int(match[2]))


def part_locks(out: Path) -> list[Path]:
    """Locks of all parts that were ever begun in a folder, the latest first."""
    return sorted(out.glob(".lock-*-of-*"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def collect(out: Path, tasks: Sequence[Task], builder: Builder) -> list[Done]:
    """Every shard as the parts wrote it; one that is not there or not whole is an error that says what makes it."""
    found: list[Done] = []
    lacking: list[tuple[int, str]] = []
    for number, task in enumerate(tasks):
        done = builder.finished(task)
        if done is None:
            state = "absent" if not (out / task.file).is_file() else "damaged, or of another plan"
            lacking.append((number, f"{task.file}: {state}"))
        else:
            found.append(done)
        builder.advance(len(task.records))
    if lacking:
        count = f"{len(lacking):,} of {len(tasks):,}"
        raise DataError(f"{out}: {count} shards are not there or not whole:\n{told(out, lacking)}")
    return found


def told(out: Path, lacking: list[tuple[int, str]]) -> str:
    """Which shards are lacking, and which command makes them."""
    counts = [int(path.name.rpartition("-")[2]) for path in part_locks(out)]
    lines = [f"  {text}" for _, text in lacking[:SHOWN]]
    if len(lacking) > SHOWN:
        lines.append(f"  and {len(lacking) - SHOWN:,} more")
    advice = "the same command without --merge makes them here"
    if counts:
        numbers = sorted({number % counts[0] + 1 for number, _ in lacking})
        parts = ", ".join(f"--shards {Part(number, counts[0])}" for number in numbers)
        advice = f"they are made by {parts}; or {advice}"
    return "\n".join([*lines, advice])
