"""What the program says to people: on stderr, so that stdout stays data."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

people = Console(stderr=True, highlight=False, soft_wrap=True)

SECONDS_WORTH_A_LINE = 1.0
SECONDS_BETWEEN_LINES = 15.0  # where there is no terminal, e.g. in a job's log file


def say(message: str) -> None:
    """One line for people; text in brackets is not read as markup."""
    people.print(message, markup=False)


def quiet() -> None:
    """Say nothing more: for all but the first of several processes."""
    people.quiet = True


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a task of ``total`` units is, with rate and time left; yields ``advance(count)``.

    On a terminal it is a bar; elsewhere a line every fifteen seconds, and one at the end of what took a second.
    """
    if people.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
        )
        with Progress(*columns, console=people) as bar:
            task = bar.add_task(what, total=total, rate="")

            def advance(count: int) -> None:
                bar.advance(task, count)
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed or 0.0
                bar.update(task, rate=f"{speed:,.1f} {unit}/s")

            yield advance
        return
    lines = Lines(what, total, unit)
    yield lines.advance
    if time.monotonic() - lines.start >= SECONDS_WORTH_A_LINE and lines.said != lines.done:
        lines.show()


class Lines:
    """Progress as plain lines."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.said = -1  # how much was done when it was last shown
        self.start = self.shown = time.monotonic()

    def advance(self, count: int) -> None:
        """Count some units as done."""
        self.done += count
        if time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES:
            self.show()

    def show(self) -> None:
        """Print where the task stands."""
        self.shown, self.said = time.monotonic(), self.done
        rate = self.done / max(self.shown - self.start, 1e-9)
        left = (self.total - self.done) / rate if self.done else float("nan")
        eta = f", {left:,.0f} s left" if 0 < self.done < self.total else ""
        say(f"{self.what}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.1f} {self.unit}/s{eta}")
