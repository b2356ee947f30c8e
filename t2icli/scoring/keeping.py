"""Where results lie: a run's in ``RUN/eval``, a folder's in ``scores/NAME``, or where ``--out`` says.

A result never lies in a folder of pictures, where it would be scored or prepared with them one day. Each has a page of
its own beside it; ``report.html`` of a place that t2i chose is the newest one's, with a list of the others.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from t2icli.console import say
from t2icli.errors import DataError, UserError
from t2icli.evaluation.report.write import Document, Grid, write_report
from t2icli.scoring.results import read_result
from t2icli.scoring.task import Task
from t2icli.storage import is_stream, write_atomically, write_json

SHOWN = 32  # pictures of a report's grid
PAGE = ".html"
SCORES = Path("scores")


def refuse_page(out: Path | None) -> None:
    """Refuse a name for a result that is its page's."""
    if out is not None and out.suffix == PAGE:
        raise UserError(
            f"--out {out}: the page of a result gets this name; name the result itself, e.g. {out.stem}.json"
        )


def keep(result: dict[str, Any], task: Task, out: Path | None) -> None:
    """Write the result, its page, and the wrong captions beside it, named by their hash so that results share them."""
    chosen = out is None
    if out is not None and is_stream(out):  # what flows on has no folder for a page
        write_json(out, result)
        return
    try:
        if out is None:
            out = free_name(task.folder, f"{task.name}-{result['utc'].replace('-', '').replace(':', '')}")
        out.parent.mkdir(parents=True, exist_ok=True)
        keep_negatives(result, task, out.parent)
        write_json(out, result)
    except (OSError, UserError) as fault:
        if not (chosen and task.may_be_lost):
            raise
        why = getattr(fault, "strerror", fault)
        say(f"the result is not kept: {task.folder} cannot be written ({why}); name a place with --out FILE")
        return
    say(f"Result: {out}")
    page = write_report(out.with_suffix(PAGE), [(out, result)], grids(task))
    if chosen:
        everything = [(out, result), *earlier_results(out.parent, out)]
        page = write_report(out.parent / f"report{PAGE}", everything, grids(task))
    say(f"Report: {page}")


def free_name(folder: Path, stem: str) -> Path:
    """A name that no other result has."""
    path, number = folder / f"{stem}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.json"
    return path


def folder_of_scores(pictures: Path, real: Path | None) -> Path:
    """Where a folder's results are kept: ``scores/NAME`` here, or above where that would lie among pictures."""
    name = pictures.resolve().name or "pictures"
    taken = [path.resolve() for path in (pictures, real) if path is not None]
    place = Path.cwd()
    while any(place.is_relative_to(path) for path in taken) and place != place.parent:
        place = place.parent
    return SCORES / name if place == Path.cwd() else place / SCORES / name


def earlier_results(folder: Path, out: Path) -> Iterator[Document]:
    """What else was kept there; a damaged file is no reason to lose the new result's page."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        if path.resolve() == out.resolve():
            continue
        try:
            yield path, read_result(path).model_dump()
        except DataError as fault:
            say(f"left out of the report: {fault}")


def keep_negatives(result: Mapping[str, Any], task: Task, folder: Path) -> None:
    """The rows of wrong captions as an array of NumPy."""
    hidden, captions = result["generated"]["negatives"], task.drawn.generated[0].captions
    if hidden is None or captions is None or captions.negatives is None:
        return
    negatives, path = captions.negatives, folder / f"negatives-{hidden['sha256'][:16]}.npy"

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, negatives)

    if not path.is_file():
        write_atomically(path, write)


def grids(task: Task) -> list[Grid]:
    """The first pictures of what was scored, and the real ones."""
    shown = []
    for title, pictures in (("Generated", task.drawn.generated[0]), ("Real", task.drawn.real)):
        if pictures is not None:
            count = min(SHOWN, len(pictures.images))
            captions = list(pictures.captions.texts[:count]) if pictures.captions is not None else [""] * count
            shown.append(Grid(f"{title} ({pictures.label})", pictures.images.batch(0, count), captions))
    return shown
