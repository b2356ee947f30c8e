"""What a user asks to be scored, and what is refused before anything is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2icli.data.picture_files import in_words
from t2icli.errors import DataError, UserError
from t2icli.evaluation.images import look_into, passed_over, paths_of
from t2icli.storage import refuse_unwritable

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how; what is left out follows from the run or from the protocol."""

    target: Path
    against: Path | None = None
    captions: Path | None = None  # of a folder of images
    objects: Path | None = None  # SOA's caption lists, for a run
    protocol: str | None = None
    metrics: Sequence[str] = ()
    samples: int | None = None
    seeds: int | None = None
    weights: Sequence[str] = ()
    overrides: Sequence[str] = ()  # of the run's recipe
    batch_size: int = 32
    precision: str = "float32"
    cache: bool = False  # keep what networks saw, and use what was kept
    out: Path | None = None


def check_numbers(request: Request) -> None:
    """Values that cannot mean anything."""
    for option, value, least in (
        ("--samples", request.samples, 2),
        ("--seeds", request.seeds, 1),
        ("--batch", request.batch_size, 1),
    ):
        if value is not None and value < least:
            raise UserError(f"{option} {value}: should be at least {least}")
    if request.out is not None:
        refuse_unwritable(request.out)
    if request.precision not in PRECISIONS:
        raise UserError(f"--precision {request.precision}: should be {' or '.join(PRECISIONS)}")


def kind_of(target: Path) -> str:
    """Whether a target is a run or a folder of images."""
    if not target.exists():
        raise DataError(f"{target}: no such run and no such folder of images")
    if target.is_file():
        if target.suffix == ".safetensors":
            return "run"
        raise DataError(f"{target}: is a file; t2i evaluate takes a run folder, its weights or a folder of images")
    if (target / "recipe.toml").is_file():
        return "run"
    runs = sorted(path.parent for depth in ("*", "*/*") for path in target.glob(f"{depth}/recipe.toml"))
    if runs:  # their sample grids must not pass for a folder of images
        raise DataError(f"{target}: holds runs, and is none itself: name one, e.g. {runs[-1]}")
    if is_shards(target):
        raise DataError(f"{target}: holds shards of real images; give them with --against")
    found = look_into(target)
    if not paths_of(target, found):
        aside = f"; passed over: {in_words(passed_over(found))}" if passed_over(found) else ""
        raise DataError(f"{target}: neither a run (it has no recipe.toml) nor a folder of images (it has none){aside}")
    return "images"


def is_shards(path: Path) -> bool:
    """Whether a folder is what ``t2i prepare`` wrote."""
    return (path / "manifest.json").is_file()
