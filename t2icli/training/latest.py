"""``runs/<recipe>/latest``: the link to the run that was started last, and what is taken where it is broken."""

from pathlib import Path

from t2icli.console import say
from t2icli.errors import DataError

RUNS = Path("runs")
LATEST = "latest"


def followed(run: Path) -> Path:
    """The run that a path means: ``latest`` is the one that it points to, any other path is itself."""
    if not means_latest(run):
        return run
    found = latest_of(run.parent)
    if found is None:
        raise DataError(f"{run}: points to no run, and none is beside it; t2i runs ls shows the runs there are")
    return found


def means_latest(run: Path) -> bool:
    """Whether a path is, or would be, the link; a folder that somebody called so is one like any other."""
    return run.name == LATEST and (
        run.is_symlink() or (not run.exists() and run.parent.parent.resolve() == RUNS.resolve())
    )


def latest_of(folder: Path) -> Path | None:
    """The run in a folder of runs that was started last; none where there is none."""
    link = folder / LATEST
    if not link.is_symlink():
        return None
    target = folder / link.readlink()
    if target.name != LATEST and target.is_dir():
        return target
    newest = max(begun(folder), key=started, default=None)
    why = "points to itself" if target.name == LATEST else f"points to {target}, which is not there"
    say(
        f"{link}: {why}; " + ("no run is beside it" if newest is None else f"taking {newest}, the newest run beside it")
    )
    return newest


def begun(folder: Path) -> list[Path]:
    """The runs in a folder."""
    return [path.parent for path in folder.glob("*/recipe.toml") if path.parent.name != LATEST]


def started(run: Path) -> float:
    """When a run was started, or gone on with, last."""
    try:
        return (run / "recipe.toml").stat().st_mtime
    except OSError:  # gone meanwhile, or not for us to see
        return 0.0
