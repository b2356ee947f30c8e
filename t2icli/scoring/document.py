"""A result: every figure with the whole tuple that makes it comparable (docs/protocols.md)."""

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import t2icli
from t2icli.console import say
from t2icli.errors import DataError
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.captions import negatives_hash
from t2icli.evaluation.evaluate import Outcome, find_metrics
from t2icli.evaluation.images import Images
from t2icli.evaluation.looking import Machine
from t2icli.evaluation.protocol import Facts
from t2icli.evaluation.report.write import Grid, write_report
from t2icli.scoring.comparison import read_result
from t2icli.scoring.task import Task
from t2icli.storage import write_atomically, write_json

SHOWN = 32  # pictures of a report's grid


def document(task: Task, outcome: Outcome, machine: Machine) -> dict[str, Any]:
    """What ``t2i evaluate`` writes and prints."""
    entries = {name: entry | in_loop(task, entry) for name, entry in outcome.entries.items()}
    named = set(find_metrics(task.protocol.metrics))
    for name, entry in entries.items():
        entry["named_by_protocol"] = entry.get("metric", name) in named
    images = task.drawn.generated[0].images
    real = task.real.pictures.images if task.real else None
    captions = task.drawn.generated[0].captions
    negatives = captions.negatives if captions is not None else None
    facts = Facts(
        generated=len(images),
        real=len(real) if real else 0,
        sizes=(images.size, real.size if real else images.size),
        seeds=task.seeds,
        captions=task.captions,
        captions_given=captions is not None,
        real_set=task.real.real_set if task.real else None,
        precision=machine.precision,
        entries=entries,
    )
    departed = protocols.deviations(task.protocol, facts)
    notes = list(task.notes)
    distances = [entry for entry in entries.values() if entry["computed"] and entry["metric"].startswith("fid")]
    if distances and len(images) < protocols.COMPARABLE:
        notes.append(f"FID of {len(images):,} images is biased upwards: compare only with results of the same number")
    notes += [f"{name} judges with a network that the run was trained with: it is no independent measure"
              for name, entry in entries.items() if entry.get("in_loop")]  # fmt: skip
    rule = task.protocol.negatives
    hidden = rule.model_dump() | {"sha256": negatives_hash(negatives)} if rule and negatives is not None else None
    return {
        "protocol": task.name + ("*" if departed else ""),
        "deviations": departed,
        "notes": notes,
        "target": task.target,
        "generated": sizes(images)
        | task.generated_facts
        | {"negatives": hidden, "pixels_sha256": pixels_of_generated(task, outcome)},
        "real": real_facts(task, outcome),
        "metrics": entries,
        "protocol_file": task.protocol.model_dump(mode="json"),
        "precision": machine.precision,
        "processes": machine.world.size,
        "versions": versions(),
        "device": str(machine.world.device),
        "utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def in_loop(task: Task, entry: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a metric's network guided the training of what it judges."""
    if not entry["computed"] or entry["weights"]["sha256"] not in task.trained_with:
        return {}
    return {"in_loop": True}


def pixels_of_generated(task: Task, outcome: Outcome) -> dict[str, str]:
    """Label of every generated side -> hash of its pixels."""
    labels = [pictures.label for sides in task.sides.values() for pictures in sides.generated]
    return {label: outcome.pixels[label] for label in labels if label in outcome.pixels}


def real_facts(task: Task, outcome: Outcome) -> dict[str, Any] | None:
    """What is known of the real side."""
    if task.real is None:
        return None
    return task.real.facts | sizes(task.real.pictures.images) | {"pixels_sha256": outcome.pixels.get("real")}


def sizes(images: Images) -> dict[str, int]:
    """How many images, how large."""
    return {"count": len(images), "height": images.size[0], "width": images.size[1]}


def versions() -> dict[str, str]:
    """Of everything that could move a figure."""
    others = ("torch", "torchvision", "torch-fidelity", "transformers", "numpy", "pillow")
    return (
        {"t2i": t2icli.__version__}
        | {name: importlib.metadata.version(name) for name in others}
        | {"python": platform.python_version()}
    )


def keep(result: dict[str, Any], task: Task, out: Path | None) -> None:
    """Write the result to ``out``, else to the run's ``eval`` folder under a name that is not taken; and the report.

    The negatives lie beside it, named by their hash, so that results which share them share the file.
    """
    if out is None and task.folder is None:
        return
    if out is None:
        assert task.folder is not None
        stamp = result["utc"].replace("-", "").replace(":", "")
        stem = f"{task.name}-{stamp}"
        folder = task.folder / "eval"
        taken = len(list(folder.glob(f"{stem}*.json")))
        out = folder / (f"{stem}-{taken + 1}.json" if taken else f"{stem}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    keep_negatives(result, task, out.parent)
    write_json(out, result)
    say(f"Result: {out}")
    say(f"Report: {write_report(out.parent, [(out, result), *earlier_results(task, out)], grids(task))}")


def earlier_results(task: Task, out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What a run was scored before; a damaged file is no reason to lose the new result's page."""
    for path in sorted((task.folder / "eval").glob("*.json"), reverse=True) if task.folder else []:
        if path.resolve() == out.resolve():
            continue
        try:
            yield path, read_result(path)
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
