"""Which figures of two results may be compared, and why others may not: ``t2i evaluate --compare A B``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import hypot
from pathlib import Path
from typing import Any

from t2icli.errors import DataError, UserError
from t2icli.evaluation.evaluate import find_metrics
from t2icli.evaluation.metric import Metric
from t2icli.evaluation.reference import STATISTICS, UNKNOWN
from t2icli.scoring.results import Figure, Generated, NoFigure, RealFacts, Result, read_result

TIE = 2  # standard deviations over noise seeds: a difference below them is none
OUTCOMES = ("labels", "real_labels", "captions_cut")  # details that were found, not chosen


@dataclass
class Verdict:
    """What speaks against a comparison, and what nobody can know about it."""

    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def same(self, what: str, left: Any, right: Any) -> None:
        """Two facts that have to be equal."""
        if left != right:
            self.reasons.append(f"{what}: {left} and {right}")

    def same_where_known(self, what: str, left: Any, right: Any) -> None:
        """Two facts that have to be equal, of which either may be unknown."""
        unknown = [letter for letter, value in (("a", left), ("b", right)) if value is None]
        if unknown:
            self.remarks.append(f"{what}: not known of {' and '.join(unknown)}")
        else:
            self.same(what, left, right)


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Every metric of two results (files, or runs: their newest), side by side."""
    paths = [result_file(first), result_file(second)]
    a, b = (read_result(path) for path in paths)
    names = list(dict.fromkeys([*a.metrics, *b.metrics]))
    return {
        "a": {"file": str(paths[0]), "target": a.target.path, "protocol": a.protocol},
        "b": {"file": str(paths[1]), "target": b.target.path, "protocol": b.protocol},
        "remarks": list(remarks(a, b)),
        "metrics": {name: side_by_side(name, a, b) for name in names},
    }


def result_file(given: Path) -> Path:
    """A result: the file itself, or the newest of a run, or of the folder where a folder's results are kept."""
    if given.is_file():
        return given
    kept = given / "eval" if (given / "eval").is_dir() else given
    found = sorted(kept.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if found:
        return found[-1]
    if not given.exists():
        raise DataError(f"--compare {given}: no such result (a .json file that t2i evaluate wrote) and no such run")
    raise DataError(f"--compare {given}: has no results in {given / 'eval'}; make one with t2i evaluate {given}")


def remarks(a: Result, b: Result) -> Iterator[str]:
    """What moves figures a little, or cannot be known, whatever the metric."""
    for letter, result in (("a", a), ("b", b)):
        if result.format == 1:
            yield f"{letter} is of an older version: it has no checksum, so nobody can tell whether it was edited"
    both = sorted(set(a.versions) & set(b.versions))
    moved = [
        f"{name} {a.versions[name]} and {b.versions[name]}" for name in both if a.versions[name] != b.versions[name]
    ]
    if moved:
        yield f"other versions, which may move figures: {', '.join(moved)}"
    if a.device != b.device:
        yield f"other devices, whose sums are rounded differently: {a.device or 'unknown'} and {b.device or 'unknown'}"


def side_by_side(name: str, a: Result, b: Result) -> dict[str, Any]:
    """One metric of both results."""
    one, other = a.metrics.get(name), b.metrics.get(name)
    for letter, figure in (("a", one), ("b", other)):
        if not isinstance(figure, Figure):
            why = f"was not computed: {figure.reason}" if isinstance(figure, NoFigure) else "is not in it"
            return {"comparable": False, "reasons": [f"{letter}: {name} {why}"], "remarks": []}
    assert isinstance(one, Figure) and isinstance(other, Figure)
    try:
        metric = next(iter(find_metrics([one.metric]).values()))
    except UserError as fault:
        return {"comparable": False, "reasons": [f"a: {fault}"], "remarks": []}
    verdict = differences(metric, (a, one), (b, other))
    deviations = [figure.std_over_seeds for figure in (one, other)]
    known = [deviation for deviation in deviations if deviation is not None]
    difference = other.value - one.value
    return {
        "a": one.value,
        "b": other.value,
        "difference": difference,
        "better": one.better,
        "signed": metric.signed,
        "comparable": not verdict.reasons,
        "reasons": verdict.reasons,
        "remarks": verdict.remarks,
        "tie": abs(difference) < TIE * hypot(*known) if len(known) == 2 and not verdict.reasons else None,
    }


def differences(metric: Metric, first: tuple[Result, Figure], second: tuple[Result, Figure]) -> Verdict:
    """In words, everything in which the figures' tuples differ."""
    (a, one), (b, other) = first, second
    verdict = Verdict()
    verdict.same("metric", one.metric, other.metric)
    verdict.same("network", one.network, other.network)
    verdict.same("weights (sha256)", one.weights.sha256, other.weights.sha256)
    verdict.same("resize", one.resize, other.resize)
    verdict.same("precision", a.precision, b.precision)
    verdict.same("a judge that guided the training", one.in_loop, other.in_loop)
    for what, left, right in further(one, other):
        verdict.same_where_known(what, left, right)
    pictures_of(verdict, metric, a, b)
    if metric.reads_negatives:
        left, right = (result.generated.negatives for result in (a, b))
        verdict.same("wrong captions (sha256)", left and left.sha256, right and right.sha256)
    if metric.needs_real:
        real_of(verdict, a.real or RealFacts(), b.real or RealFacts())
    return verdict


def further(one: Figure, other: Figure) -> Iterator[tuple[str, Any, Any]]:
    """What a network says of itself beyond its weights, and what a metric says of how it was computed."""
    named = [{name: fact["sha256"] for name, fact in hashed(figure)} for figure in (one, other)]
    chosen = [
        {key: value for key, value in (figure.details[0].model_extra or {}).items() if key not in OUTCOMES}
        for figure in (one, other)
    ]
    for left, right in (named, chosen):
        for key in dict.fromkeys([*left, *right]):
            yield key.replace("_", " "), left.get(key, None), right.get(key, None)


def hashed(figure: Figure) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Files beside the weights that decide what a network is, e.g. a detector's cfg."""
    for name, fact in (figure.model_extra or {}).items():
        if isinstance(fact, Mapping) and "sha256" in fact:
            yield name, fact


def pictures_of(verdict: Verdict, metric: Metric, a: Result, b: Result) -> None:
    """How many pictures of which captions, and how they were made; of equal pictures nothing more has to be known."""
    listed = metric.pictures == "objects" and any(result.generated.objects for result in (a, b))
    left, right = (drawn(result.generated, listed) for result in (a, b))
    identical = bool(left) and left == right
    if listed:
        asked = [one.sha256 if one else "the drawn captions" for one in (a.generated.objects, b.generated.objects)]
        verdict.same("SOA's captions (sha256)", *asked)
    else:
        captions_of(verdict, a, b, identical)
        verdict.same("number of pictures", a.generated.count, b.generated.count)
    if identical:
        return
    verdict.same("height", a.generated.height, b.generated.height)
    verdict.same("width", a.generated.width, b.generated.width)
    verdict.same_where_known("quantisation", *(quantisation(result.generated) for result in (a, b)))
    verdict.same_where_known("files compressed with loss", *(lossy(result) for result in (a, b)))
    verdict.same("changed keys of the run's recipe (--set)", changed(a), changed(b))


def drawn(generated: Generated, listed: bool) -> set[str]:
    """Hashes of the pictures of every noise seed, those of SOA's lists or the others."""
    return {sha256 for label, sha256 in generated.pixel_sets_sha256.items() if label.startswith("objects") == listed}


def captions_of(verdict: Verdict, a: Result, b: Result, identical: bool) -> None:
    """Whether both drew for the same captions, in whatever order."""
    left, right = a.generated.captions, b.generated.captions
    if left is None and right is None:
        if not identical:
            verdict.remarks.append(
                "captions: not known of a and b, so nobody can tell whether both drew for the same ones"
            )
    elif left is None or right is None:
        said = [one.texts_sha256 or one.sha256 if one else "not known" for one in (left, right)]
        if identical:
            verdict.remarks.append(f"captions: not known of {'a' if left is None else 'b'}")
        else:
            verdict.same("captions (sha256)", *said)
    elif left.texts_sha256 is not None and right.texts_sha256 is not None:
        verdict.same("captions (sha256)", left.texts_sha256, right.texts_sha256)
    elif a.target.kind == b.target.kind or left.sha256 == right.sha256:
        verdict.same("captions (sha256)", left.sha256, right.sha256)
    else:
        old = "a" if left.texts_sha256 is None else "b"
        verdict.remarks.append(
            f"captions: {old}'s hash is of an older form, which cannot be compared with the other's; evaluate it again"
        )


def quantisation(generated: Generated) -> str | None:
    """How floats became bytes, where that is known."""
    return (
        None if not generated.quantisation or generated.quantisation.startswith("not known") else generated.quantisation
    )


def lossy(result: Result) -> str | None:
    """How many pictures come from files that were compressed with loss."""
    if result.target.kind == "run":  # drawn here, and never a file
        return "none"
    found, count = result.generated.lossy, result.generated.count
    if found is None:
        return None
    return {0: "none", count: "all"}.get(found, f"{found:,} of {count:,}")


def changed(result: Result) -> str:
    """The keys of the run's recipe that were changed, but for places."""
    found = [f"{key}={one.given}" for key, one in sorted(result.target.overrides.items()) if not one.harmless]
    return ", ".join(found) or "none"


def real_of(verdict: Verdict, left: RealFacts, right: RealFacts) -> None:
    """The real side: the same pixels are the same set, whatever it is called and however it is ordered."""
    if STATISTICS in (left.kind, right.kind):
        if left.kind == right.kind and left.sha256 == right.sha256:
            verdict.remarks.append(UNKNOWN)
        else:
            said = [f"statistics {one.sha256}" if one.kind == STATISTICS else "images" for one in (left, right)]
            verdict.same("real side", *said)
        return
    hashes = [(one.pixel_set_sha256, one.pixels_sha256) for one in (left, right)]
    for one, other in zip(*hashes, strict=True):
        if one and one == other:
            return
    facts = [left.model_dump(), right.model_dump()]
    keys = ("dataset", "split", "fit", "stored_size", "filter", "count", "height", "width")
    differ = [key for key in keys if facts[0].get(key) != facts[1].get(key)]
    for key in differ:
        verdict.same(f"real images: {key}", facts[0].get(key), facts[1].get(key))
    if not differ:
        verdict.same("real images: pixels (sha256)", *pixels(hashes))


def pixels(hashes: Sequence[tuple[str | None, str | None]]) -> list[str | None]:
    """The hashes to show: of sets, or in order where an older result has no other."""
    sets = [one for one, _ in hashes]
    return sets if all(sets) else [ordered for _, ordered in hashes]
