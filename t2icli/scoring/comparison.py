"""Which figures of two results may be compared, and why others may not: ``t2i evaluate --compare A B``."""

import json
from math import hypot
from pathlib import Path
from typing import Any

from t2icli.errors import DataError
from t2icli.evaluation.evaluate import find_metrics
from t2icli.evaluation.metric import Metric

Result = dict[str, Any]
TIE = 2  # standard deviations over noise seeds: a difference below them is none


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Every metric of two results (files, or runs: their newest), side by side."""
    paths = [result_file(first), result_file(second)]
    a, b = (read_result(path) for path in paths)
    names = list(dict.fromkeys([*a["metrics"], *b["metrics"]]))
    return {
        "a": {"file": str(paths[0]), "target": a["target"]["path"], "protocol": a["protocol"]},
        "b": {"file": str(paths[1]), "target": b["target"]["path"], "protocol": b["protocol"]},
        "metrics": {name: side_by_side(name, a, b) for name in names},
    }


def result_file(given: Path) -> Path:
    """A result: the file itself, or the newest of a run."""
    if given.is_file():
        return given
    found = sorted((given / "eval").glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if found:
        return found[-1]
    if not given.exists():
        raise DataError(f"--compare {given}: no such result (a .json file that t2i evaluate wrote) and no such run")
    raise DataError(f"--compare {given}: has no results in {given / 'eval'}; make one with t2i evaluate {given}")


def read_result(path: Path) -> Result:
    """A result from its file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"{path}: cannot be read as a result of t2i evaluate: {fault}") from None
    if not isinstance(content, dict) or not {"metrics", "protocol", "target", "generated"} <= set(content):
        raise DataError(
            f"{path}: is JSON, but no result of t2i evaluate (it has no metrics, protocol, target, generated)"
        )
    return content


def side_by_side(name: str, a: Result, b: Result) -> dict[str, Any]:
    """One metric of both results."""
    entries = [result["metrics"].get(name) for result in (a, b)]
    for letter, entry in zip("ab", entries, strict=True):
        if entry is None or not entry["computed"]:
            why = "is not in it" if entry is None else f"was not computed: {entry['reason']}"
            return {"comparable": False, "reasons": [f"{letter}: {name} {why}"]}
    one, other = entries
    reasons = differences(name, a, b)
    deviations = [entry["std_over_seeds"] for entry in entries]
    difference = other["value"] - one["value"]
    known = all(deviation is not None for deviation in deviations)
    return {
        "a": one["value"],
        "b": other["value"],
        "difference": difference,
        "better": one["better"],
        "comparable": not reasons,
        "reasons": reasons,
        "tie": abs(difference) < TIE * hypot(*deviations) if known and not reasons else None,
    }


def differences(name: str, a: Result, b: Result) -> list[str]:
    """In words, everything in which the figures' tuples differ."""
    one, other = a["metrics"][name], b["metrics"][name]
    facts: list[tuple[str, Any, Any]] = [
        ("network", one["network"], other["network"]),
        ("weights (sha256)", one["weights"]["sha256"], other["weights"]["sha256"]),
        ("resize", one["resize"], other["resize"]),
        ("precision", a.get("precision", "float32"), b.get("precision", "float32")),
        ("a judge that guided the training", bool(one.get("in_loop")), bool(other.get("in_loop"))),
    ]
    metric = next(iter(find_metrics([one["metric"]]).values()))
    facts += pictures_of(metric, a, b)
    if metric.reads_negatives:
        facts.append(("wrong captions (sha256)", negatives(a), negatives(b)))
    if metric.needs_real:
        facts += real_of(a, b)
    return [f"{what}: {left} and {right}" for what, left, right in facts if left != right]


def pictures_of(metric: Metric, a: Result, b: Result) -> list[tuple[str, Any, Any]]:
    """How many pictures of which captions."""
    objects = [result["generated"].get("objects") if metric.pictures == "objects" else None for result in (a, b)]
    if any(objects):
        left, right = (found["sha256"] if found else "the drawn captions" for found in objects)
        return [("SOA's captions (sha256)", left, right), *shape_of(a, b)]
    left, right = ((result["generated"].get("captions") or {}).get("sha256", "not known") for result in (a, b))
    counts = ("number of pictures", a["generated"]["count"], b["generated"]["count"])
    return [("captions (sha256)", left, right), counts, *shape_of(a, b)]


def shape_of(a: Result, b: Result) -> list[tuple[str, Any, Any]]:
    """The pixels of the pictures."""
    return [
        (what, a["generated"][key], b["generated"][key])
        for what, key in (("height", "height"), ("width", "width"), ("quantisation", "quantisation"))
    ]


def negatives(result: Result) -> Any:
    """The hash of the wrong captions."""
    return (result["generated"].get("negatives") or {}).get("sha256")


def real_of(a: Result, b: Result) -> list[tuple[str, Any, Any]]:
    """The real side: the same pixels are the same set, whatever it is called."""
    left, right = (result["real"] or {} for result in (a, b))
    if left.get("pixels_sha256") and left.get("pixels_sha256") == right.get("pixels_sha256"):
        return []
    keys = ("dataset", "split", "fit", "stored_size", "filter", "count", "height", "width")
    found = [(f"real images: {key}", left.get(key), right.get(key)) for key in keys]
    if all(x == y for _, x, y in found):
        found.append(("real images: pixels (sha256)", left.get("pixels_sha256"), right.get("pixels_sha256")))
    return found
