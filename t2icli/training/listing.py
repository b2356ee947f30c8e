"""``t2i runs ls``: what is under ``runs/``, and what became of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from t2icli import locks
from t2icli.console import say
from t2icli.errors import DataError
from t2icli.training.latest import LATEST, RUNS, started
from t2icli.training.run import CARD, IMPORTING, LOCK, RECIPE, read_card, signs

UNDER_WAY = ("training", IMPORTING)  # on the card of a run whose process is at work, or was killed at it


def list_runs(as_json: bool) -> None:
    """Print them, newest first."""
    places = {path.parent for name in (RECIPE, CARD, LOCK) for path in RUNS.glob(f"*/*/{name}")}
    rows = [row(run) for run in sorted(places) if run.name != LATEST]
    rows.sort(key=lambda found: found["updated"], reverse=True)
    if as_json:
        print(json.dumps({"runs": rows}))
        return
    if not rows:
        say("no run under runs/ yet; t2i quickstart makes one in minutes")
    for one in rows:
        print(f"{one['run']}  {one['state']}  {one['images']:,} images  {one['scores']} scores  {one['updated']}")


def row(run: Path) -> dict[str, Any]:
    """A run in a line."""
    try:
        card = read_card(run)
    except DataError as fault:
        say(str(fault))
        card = None
    updated = card.updated if card is not None else ""
    return {
        "run": str(run),
        "state": state_of(run),
        "images": card.images if card is not None else 0,
        "scores": len(list((run / "eval").glob("*.json"))),
        "updated": updated or datetime.fromtimestamp(started(run), UTC).isoformat(timespec="seconds"),
    }


def state_of(run: Path) -> str:
    """What became of a run: its card says it, but for a process that no longer runs or never got so far."""
    try:
        card = read_card(run)
    except DataError:
        return "damaged"
    if locks.look(run / LOCK, signs(run)) is not None:
        return "running"
    if card is None:
        return "failed"
    return "killed" if card.state in UNDER_WAY else card.state or "unknown"
