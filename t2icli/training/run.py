"""The run folder: where a run keeps what it is, and who may write to it.

``runs/<recipe>/<utc>-<id>/``: recipe.toml (resolved), card.json, log.jsonl, state/ (to resume), weights/ (to
use), samples/, eval/, tensorboard/. ``runs/<recipe>/latest`` points to the one that was started last.

A start looks at everything first and makes the folder last: empty folders, then the recipe, the card, the link. Until
something is saved there is nothing to lose, so what a start left that was killed on the way is taken up by the next.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from t2icli import locks
from t2icli.console import say
from t2icli.documents import read_document, read_toml
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.recipe import EncoderRecipe, Recipe
from t2icli.recipe_files import kind_of, parse, parse_encoder, to_toml
from t2icli.storage import write_json, write_text
from t2icli.training.latest import LATEST, RUNS, followed, latest_of

AnyRun = Recipe | EncoderRecipe

RECIPE, CARD, LOCK = "recipe.toml", "card.json", "run.lock"
PARTS = ("state", "weights", "samples", "eval")
IMPORTING = "importing"  # the state of a run whose weights are on their way into it

# Keys that may differ when a run goes on: they change neither the networks nor the order of the data.
MAY_CHANGE = {
    "description",
    "data.shards",  # may have moved; the manifest's hash is compared instead
    "data.workers",
    "text.model",
    "text.matcher",  # may have moved; its hash is compared instead
    "text.drawn_words",
    "train.images",
    "train.log_every",
    "train.sample_every",
    "train.save_every",
    "train.validate_every",
    "evaluate.protocol",
}


# ---------------------------------------------------------------------------- choosing


def choose_folder(recipe: AnyRun, name: str, run: Path | None, new: bool) -> Path:
    """The folder that ``t2i train`` writes to: the one named, the latest of this recipe, or a new one."""
    if run is not None and new:
        raise UserError("--run and --new exclude each other: --run names the folder, --new makes one")
    if run is not None:
        run = followed(run)
    elif not new:
        run = latest_of(RUNS / name)
    run = run or new_folder(name)
    check_folder(run, recipe)
    holder = locks.look(run / LOCK, signs(run))
    if holder is not None and holder.here:  # others are asked for longer, when everything else is known to be right
        raise locks.refusal(str(run), holder, ADVICE)
    return run


def new_folder(name: str) -> Path:
    """A folder for a new run of a recipe, or of whatever else it is named after."""
    return RUNS / name / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def check_folder(run: Path, recipe: AnyRun | None) -> None:
    """Refuse a folder that a run of this recipe cannot go on in; with no recipe, one that a new run cannot begin in."""
    check_place(run)
    if not is_run(run):
        if not holds_remains_only(run):
            raise UserError(f"{run}: is not empty and holds no run (no {RECIPE}); choose another folder with --run")
    elif recipe is None:
        raise UserError(f"{run}: is not empty, it holds a run; choose another folder with --run")
    elif has_saved(run):
        refuse_imported(run)
        check_same_recipe(run, recipe)


def check_place(run: Path) -> None:
    """Refuse a place where no folder can be, before anything is loaded or made."""
    with suppress(FileNotFoundError, NotADirectoryError):  # a name that is too long is told by the system's own words
        run.lstat()
    there = next(place for place in (run, *run.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise UserError(f"--run {run}: {there} is no folder; name a folder for the run, or one that can be made")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--run {run}: {there} cannot be written to; name a place that can")


def is_run(run: Path) -> bool:
    """Whether a folder holds a run, begun or imported; not what is left of an import that was killed."""
    return os.path.isfile(run / RECIPE) and state_on_card(run) != IMPORTING  # noqa: PTH113 (no permission is false)


def has_saved(run: Path) -> bool:
    """Whether a run has kept anything that training or an import made."""
    return any((run / "state").glob("*.pt")) or any((run / "weights").glob("*.safetensors"))


def holds_remains_only(run: Path) -> bool:
    """Whether a folder has nothing but what a start, or an import, leaves that is killed before it is through."""
    if state_on_card(run) == IMPORTING:
        return True
    return not run.is_dir() or all(is_remains(entry) for entry in run.iterdir())


def is_remains(entry: Path) -> bool:
    """Whether a file or folder is one that a start makes before the recipe."""
    if entry.name in PARTS:
        return entry.is_dir() and not any(entry.iterdir())
    drafts = (f".{name}." for name in (RECIPE, CARD, LOCK))
    return entry.name == LOCK or entry.name.startswith(tuple(drafts))


def refuse_imported(run: Path) -> None:
    """Weights that were imported come without the state of optimizers, so there is nothing to go on from."""
    if state_on_card(run) == "imported":
        raise UserError(f"{run}: holds imported weights, which can draw and be scored but not be trained on; use --new")


# ---------------------------------------------------------------------------- holding and making

ADVICE = "wait for it to end, or start another run with --new"


def signs(run: Path) -> tuple[Path, ...]:
    """Files that change while a run is trained."""
    return run / "log.jsonl", run / CARD


@contextmanager
def claimed(run: Path, recipe: AnyRun | None, advice: str = ADVICE) -> Iterator[locks.Hold]:
    """Be the only one who writes to a run's folder. What a start makes that fails in here goes again.

    The folder is looked at once more: another process may have begun a run in it since it was chosen.
    """
    missing = [place for place in (run, *run.absolute().parents) if not place.exists()]
    try:
        with ExitStack() as stack:
            held = hold_folder(run, advice, stack)
            check_folder(run, recipe)
            for draft in (*run.glob(f".{RECIPE}.*"), *run.glob(f".{CARD}.*")):
                draft.unlink(missing_ok=True)
            if not is_run(run):
                clear(run)
            try:
                yield held
            except BaseException as fault:
                with suppress(OSError, UserError):  # the disk may be full, and is then the message
                    give_up(run, "stopped" if isinstance(fault, KeyboardInterrupt) else "failed")
                raise
    finally:
        for place in missing:
            with suppress(OSError):  # it holds a run, or another process's
                place.rmdir()


def hold_folder(run: Path, advice: str, stack: ExitStack) -> locks.Hold:
    """Make a run's folder where it is not there yet, and hold its lock."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(locks.hold(run / LOCK, str(run), advice, signs(run)))
    except FileNotFoundError:
        raise UserError(
            f"{run}: another process whose start failed has just removed it; give the command again"
        ) from None


def give_up(run: Path, state: str) -> None:
    """Remove what a start made, or write on the card of a run how it ended."""
    if not is_run(run):
        clear(run)
    elif state_on_card(run) == "training":
        write_card(run, {"state": state})


def clear(run: Path) -> None:
    """Remove what a start or an import leaves, and nothing that others put beside it."""
    parts = [run / part for part in PARTS]
    ours = [run / RECIPE, run / CARD]
    ours += [file for file in (run / "weights").glob("*") if file.suffix in (".safetensors", ".tmp")]
    for file in ours:
        file.unlink(missing_ok=True)
    for part in parts:
        with suppress(OSError):  # it is not there, or not empty
            part.rmdir()


@contextmanager
def importing(run: Path, recipe: AnyRun | None = None) -> Iterator[None]:
    """A folder that weights from elsewhere are written to: all that is in it goes if they are not.

    Its card says so from the first moment to the last, when the import writes its own.
    """
    with claimed(run, None, "wait for it to end, or choose another folder with --run"):
        write_card(run, {"state": IMPORTING})
        if recipe is not None:
            make_parts(run)
            write_text(run / RECIPE, to_toml(recipe))
        yield
        point_latest(run)


def create(run: Path, recipe: AnyRun) -> None:
    """Begin, or go on: make the folders, keep the resolved recipe, and point ``latest`` to a run under ``runs/``."""
    make_parts(run)
    if not has_saved(run):  # what an earlier start said of itself is not this one's
        (run / CARD).unlink(missing_ok=True)
    write_text(run / RECIPE, to_toml(recipe))
    write_card(run, {"state": "training"})
    point_latest(run)


def make_parts(run: Path) -> None:
    """The folders of a run."""
    for part in PARTS:
        (run / part).mkdir(exist_ok=True)


def point_latest(run: Path) -> None:
    """Make ``latest`` beside a run under ``runs/`` point to it."""
    places = (run.parent.resolve() / run.name, run.resolve())
    place = next((place for place in places if place.parent.parent == RUNS.resolve()), None)
    if place is None:
        return
    link = place.parent / LATEST
    if link.is_dir() and not link.is_symlink():
        say(f"{link}: is a folder, so it cannot point to {run}; rename it")
        return
    draft = place.parent / f".{LATEST}.{secrets.token_hex(8)}"
    draft.symlink_to(place.name)
    draft.replace(link)


# ---------------------------------------------------------------------------- the recipe


def check_same_recipe(run: Path, recipe: AnyRun) -> None:
    """Refuse to go on with a run under a recipe that would make it another; report harmless changes."""
    there = stored_recipe(run)
    changed = differences(there.model_dump(mode="json"), recipe.model_dump(mode="json"))
    barred = [line for key, line in changed if key not in MAY_CHANGE]
    if barred:
        raise RecipeError(
            f"{run}: this run was trained with another recipe:\n  "
            + "\n  ".join(barred)
            + "\nstart a new run with --new, or go on with the recipe it has"
        )
    for _, line in changed:
        say(f"changed since this run began: {line}")


def stored_recipe(run: Path) -> AnyRun:
    """The resolved recipe that a run keeps."""
    path = run / RECIPE
    if not path.is_file():
        raise DataError(f"{run}: holds no {RECIPE}, so it is no run; t2i runs ls shows the runs there are")
    raw = read_toml(path)
    return (parse_encoder if kind_of(raw) == "encoder" else parse)(raw, str(path))


def differences(there: Any, here: Any, path: str = "") -> list[tuple[str, str]]:
    """Keys in which two recipes differ, each with a line that says how."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list(dict.fromkeys([*there, *here]))
        return [d for k in keys for d in differences(there.get(k), here.get(k), f"{path}.{k}" if path else k)]
    return [] if there == here else [(path, f"{path}: {there!r} there, {here!r} here")]


# ---------------------------------------------------------------------------- the card


class RunCard(BaseModel):
    """What every card says; each kind of run has more, and older versions said less."""

    model_config = ConfigDict(extra="allow")

    state: str = ""
    images: NonNegativeInt = 0
    updated: str = ""


def read_card(run: Path) -> RunCard | None:
    """A run's card, ``DataError`` where it is damaged; none where nothing was begun."""
    path = run / CARD
    return read_document(path, RunCard) if os.path.lexists(path) else None


def state_on_card(run: Path) -> str:
    """What the card says of where the run stands; empty where there is none, or a damaged one."""
    with suppress(DataError):
        card = read_card(run)
        return card.state if card is not None else ""
    return ""


def write_card(run: Path, facts: dict[str, Any]) -> None:
    """What the run is, for people and scripts; joined with what the card already says."""
    try:
        card = read_card(run)
    except DataError as fault:
        say(f"{fault}; it is written anew")
        card = None
    before = card.model_dump(exclude_unset=True) if card is not None else {}
    write_json(run / CARD, before | facts)
