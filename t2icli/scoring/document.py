"""A result: every figure with the whole tuple that makes it comparable (docs/protocols.md)."""

import importlib.metadata
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import t2icli
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.captions import negatives_hash
from t2icli.evaluation.evaluate import Outcome, find_metrics
from t2icli.evaluation.images import Images
from t2icli.evaluation.looking import Machine
from t2icli.evaluation.protocol import Facts
from t2icli.evaluation.reference import UNKNOWN
from t2icli.scoring.results import FORMAT, sealed
from t2icli.scoring.task import Task


def document(task: Task, outcome: Outcome, machine: Machine) -> dict[str, Any]:
    """What ``t2i evaluate`` writes and prints."""
    entries = {name: entry | in_loop(task, entry) for name, entry in outcome.entries.items()}
    named = set(find_metrics(task.protocol.metrics))
    for name, entry in entries.items():
        entry["named_by_protocol"] = entry.get("metric", name) in named
    images = task.drawn.generated[0].images
    real = task.real.pictures.images if task.real and task.real.pictures else None
    statistics = UNKNOWN if task.real and task.real.reference else ""
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
        changed=task.changed,
        statistics=statistics,
    )
    departed = protocols.deviations(task.protocol, facts)
    notes = list(task.notes)
    distances = [entry for entry in entries.values() if entry["computed"] and entry["metric"].startswith("fid")]
    if distances and len(images) < protocols.COMPARABLE:
        notes.append(f"FID of {len(images):,} images is biased upwards: compare only with results of the same number")
    notes += unknown_origin(task, entries)
    notes += [f"{name} judges with a network that the run was trained with: it is no independent measure"
              for name, entry in entries.items() if entry.get("in_loop")]  # fmt: skip
    rule = task.protocol.negatives
    hidden = rule.model_dump() | {"sha256": negatives_hash(negatives)} if rule and negatives is not None else None
    return sealed(
        {
            "format": FORMAT,
            "protocol": task.name + ("*" if departed else ""),
            "deviations": departed,
            "notes": notes,
            "target": task.target,
            "generated": sizes(images)
            | task.generated_facts
            | {
                "negatives": hidden,
                "pixels_sha256": of_generated(task, outcome.pixels),
                "pixel_sets_sha256": of_generated(task, outcome.sets),
            },
            "real": real_facts(task, outcome),
            "metrics": entries,
            "protocol_file": task.protocol.model_dump(mode="json"),
            "precision": machine.precision,
            "processes": machine.world.size,
            "versions": versions(),
            "device": str(machine.world.device),
            "utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def in_loop(task: Task, entry: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a metric's network guided the training of what it judges."""
    if not entry["computed"] or entry["weights"]["sha256"] not in task.trained_with:
        return {}
    return {"in_loop": True}


def unknown_origin(task: Task, entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What has to be said of metrics that judge one data set alone, where nobody knows whose pictures these are."""
    computed = [entry["metric"] for entry in entries.values() if entry["computed"]]
    judged = {name: metric.only for name, metric in find_metrics(computed).items() if metric.only}
    if not judged or task.drawn.foreign:
        return []
    names, only = ", ".join(judged), ", ".join(sorted(set(judged.values())))
    return [
        f"{names}: means something only if these are pictures of the data set {only}, which is not known of a folder"
    ]


def of_generated(task: Task, hashes: Mapping[str, str]) -> dict[str, str]:
    """Label of every generated side -> hash of its pixels."""
    labels = [pictures.label for sides in task.sides.values() for pictures in sides.generated]
    return {label: hashes[label] for label in labels if label in hashes}


def real_facts(task: Task, outcome: Outcome) -> dict[str, Any] | None:
    """What is known of the real side."""
    if task.real is None:
        return None
    if task.real.pictures is None:
        return task.real.facts
    hashes = {"pixels_sha256": outcome.pixels.get("real"), "pixel_set_sha256": outcome.sets.get("real")}
    return task.real.facts | sizes(task.real.pictures.images) | hashes


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
