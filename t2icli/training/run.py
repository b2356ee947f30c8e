"""The run folder: where a run keeps what it is, and who may write to it.

``runs/<recipe>/<utc>-<id>/``: recipe.toml (resolved), card.json, log.jsonl, state/ (to resume), weights/ (to
use), samples/, eval/, tensorboard/. ``runs/<recipe>/latest`` points to the newest.
"""

import json
import os
import secrets
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from t2icli.console import say
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.recipe import EncoderRecipe, Recipe
from t2icli.recipe_files import kind_of, parse, parse_encoder, read, to_toml
from t2icli.storage import write_json, write_text

RUNS = Path("runs")
AnyRun = Recipe | EncoderRecipe

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


def choose_folder(recipe: AnyRun, name: str, run: Path | None, new: bool) -> Path:
    """The folder that ``t2i train`` writes to: the one named, the latest of this recipe, or a new one."""
    if run is not None and new:
        raise UserError("--run and --new exclude each other: --run names the folder, --new makes one")
    latest = RUNS / name / "latest"
    if run is None and not new and latest.exists():
        run = latest.parent / latest.resolve().name
    if run is None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        run = RUNS / name / f"{stamp}-{secrets.token_hex(2)}"
    if (run / "recipe.toml").is_file():
        refuse_imported(run)
        check_same_recipe(run, recipe)
        return run
    if run.is_dir() and any(run.iterdir()):
        raise UserError(f"{run}: is not empty and holds no run (no recipe.toml); choose another folder with --run")
    return run


def refuse_imported(run: Path) -> None:
    """Weights that were imported come without the state of optimizers, so there is nothing to go on from."""
    card = run / "card.json"
    if card.is_file() and json.loads(card.read_text(encoding="utf-8")).get("state") == "imported":
        raise UserError(f"{run}: holds imported weights, which can draw and be scored but not be trained on; use --new")


def create(run: Path, recipe: AnyRun) -> None:
    """Make the folders, keep the resolved recipe, and point ``latest`` to a run under ``runs/``."""
    for part in ("state", "weights", "samples", "eval"):
        (run / part).mkdir(parents=True, exist_ok=True)
    write_text(run / "recipe.toml", to_toml(recipe))
    if run.resolve().parent.parent == RUNS.resolve():
        link = run.parent / f".latest.{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(run.name)
        link.replace(run.parent / "latest")


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
    path = run / "recipe.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return (parse_encoder if kind_of(raw) == "encoder" else parse)(raw, str(path))
    except FileNotFoundError:
        raise DataError(f"{run}: holds no recipe.toml, so it is no run; t2i runs ls shows the runs there are") from None
    except tomllib.TOMLDecodeError as fault:
        raise DataError(f"{path}: damaged: {fault}") from None


def differences(there: Any, here: Any, path: str = "") -> list[tuple[str, str]]:
    """Keys in which two recipes differ, each with a line that says how."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = list(dict.fromkeys([*there, *here]))
        return [d for k in keys for d in differences(there.get(k), here.get(k), f"{path}.{k}" if path else k)]
    return [] if there == here else [(path, f"{path}: {there!r} there, {here!r} here")]


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Keep a second process from writing to the run; a lock whose process is gone is taken over."""
    path = run / "run.lock"
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(mine, file)
            break
        except FileExistsError:
            refuse_if_alive(path, mine)
            path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def refuse_if_alive(path: Path, mine: dict[str, Any]) -> None:
    """Raise when the lock belongs to a process that may still be writing."""
    try:
        other = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return  # gone meanwhile, or cut off by a kill
    same_host = other.get("host") == mine["host"]
    if same_host and process_start(other.get("pid", -1)) != other.get("started"):
        return
    raise UserError(
        f"{path}: process {other.get('pid')} on {other.get('host')} is writing to this run; "
        + ("wait for it or use --new" if same_host else "if that machine is gone, delete the file; or use --new")
    )


def process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks, so that a reused pid is told apart; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc (macOS): the pid alone must do
        os.kill(pid, 0)
    except OSError:
        return None
    return "alive"


def write_card(run: Path, facts: dict[str, Any]) -> None:
    """What the run is, for people and scripts; joined with what the card already says."""
    path = run / "card.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, before | facts)


def find_run(run: Path | None) -> Path:
    """The run that a command means: the one named, or the newest under ``runs/``."""
    if run is not None:
        if not run.exists():
            raise DataError(f"{run}: no such run; t2i runs ls shows the runs there are")
        return run.parent / run.resolve().name if run.is_symlink() else run
    cards = [path for path in RUNS.glob("*/*/recipe.toml") if path.parent.name != "latest" and draws(path)]
    if not cards:
        raise DataError("no run under runs/; train one (t2i quickstart makes one in minutes) or name it with --run")
    return max(cards, key=lambda path: path.stat().st_mtime).parent


def draws(recipe: Path) -> bool:
    """Whether a run is of a generator, and not of an encoder."""
    return kind_of(read(recipe)) == "system"


def list_runs(as_json: bool) -> None:
    """What is under ``runs/``, newest first."""
    rows = []
    for path in RUNS.glob("*/*/card.json"):
        if path.parent.name == "latest":
            continue
        card = json.loads(path.read_text(encoding="utf-8"))
        rows.append(
            {
                "run": str(path.parent),
                "state": card.get("state", "unknown"),
                "images": card.get("images", 0),
                "scores": len(list((path.parent / "eval").glob("*.json"))),
                "updated": card.get("updated", ""),
            }
        )
    rows.sort(key=lambda row: row["updated"], reverse=True)
    if as_json:
        print(json.dumps({"runs": rows}))
        return
    if not rows:
        say("no run under runs/ yet; t2i quickstart makes one in minutes")
    for row in rows:
        print(f"{row['run']}  {row['state']}  {row['images']:,} images  {row['scores']} scores  {row['updated']}")
