"""Which run a command means that reads one."""

from collections.abc import Iterable
from pathlib import Path

from t2icli.console import say
from t2icli.documents import read_toml
from t2icli.errors import DataError
from t2icli.recipe_files import kind_of
from t2icli.training.checkpoint import WEIGHTS
from t2icli.training.latest import RUNS, begun, followed, means_latest, started
from t2icli.training.listing import state_of


def find_run(run: Path | None) -> Path:
    """The run that is drawn from or scored: the one named, or the newest under ``runs/`` that has weights."""
    if run is None:
        there = [path for folder in RUNS.glob("*") for path in begun(folder)]
        found = newest_with_weights(there)
        if found is None:
            without = f"; without weights: {told(there)}" if there else ""
            raise DataError(
                f"no run under {RUNS}/ has weights{without}; "
                "train one (t2i quickstart makes one in minutes) or name it with --run"
            )
        return found
    found = named(run)
    if not found.exists():
        raise DataError(f"{run}: no such run; t2i runs ls shows the runs there are")
    return found


def named(run: Path) -> Path:
    """What a path means to who reads: ``latest`` is the newest run beside it that has weights, others themselves."""
    if not means_latest(run):
        return run
    latest = followed(run)
    return latest if (latest / WEIGHTS).is_file() else newest_with_weights(begun(run.parent)) or latest


def newest_with_weights(runs: Iterable[Path]) -> Path | None:
    """The run of a generator with weights that was started last; those that were started later are said."""
    newest_first = sorted((run for run in runs if draws(run)), key=started, reverse=True)
    for number, run in enumerate(newest_first):
        if (run / WEIGHTS).is_file():
            if number:
                say(f"taking {run}: newer ones have no weights: {told(newest_first[:number])}")
            return run
    return None


def told(runs: Iterable[Path]) -> str:
    """Runs with what became of them."""
    return ", ".join(f"{run} ({state_of(run)})" for run in runs)


def draws(run: Path) -> bool:
    """Whether a run is of a generator, and not of an encoder."""
    if (run / WEIGHTS).is_file():
        return True
    try:
        return kind_of(read_toml(run / "recipe.toml")) == "system"
    except DataError:
        return False
