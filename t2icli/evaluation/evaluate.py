"""Scores images by metrics. Which images, and what may be said about the result, is decided elsewhere."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2icli import registry
from t2icli.errors import UserError
from t2icli.evaluation.features import Features, Network, Pictures
from t2icli.evaluation.looking import Machine, look
from t2icli.evaluation.metric import REAL, Metric, Score
from t2icli.weights import Weights

METRICS = "t2icli.evaluation.metrics"
NETWORKS = "t2icli.evaluation.networks"


@dataclass(frozen=True)
class Sides:
    """Pictures that are scored, one list entry a noise seed, and the real ones beside them."""

    generated: Sequence[Pictures]
    real: Pictures | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    entries: dict[str, dict[str, Any]]  # title of a metric -> values, or the reason why there are none
    pixels: dict[str, str]  # label of a side -> sha256 of its pixels


def find_metrics(names: Iterable[str]) -> dict[str, Metric]:
    """The metrics that names mean; a module's name means its first row, so ``fid`` is ``fid-tf``."""
    called: dict[str, Metric] = {}
    for module in registry.available(METRICS):
        rows: tuple[Metric, ...] = registry.load(METRICS, module).METRICS
        called |= {row.name: row for row in rows}
        called.setdefault(module.replace("_", "-"), rows[0])
    found = {}
    for name in names:
        wanted = name.strip().lower().replace("_", "-")
        if wanted not in called:
            raise UserError(f"metrics: there is no {name.strip()!r}; {registry.nearest(wanted, sorted(called))}")
        found[called[wanted].name] = called[wanted]
    return found


def evaluate_images(
    sides: Mapping[str, Sides], metrics: Sequence[Metric], weights: Weights, machine: Machine
) -> Outcome | None:
    """Score pictures; ``None`` in processes other than the first.

    ``sides`` are by what metrics ask for: "drawn" always, "objects" where SOA's lists are known (else it judges the
    drawn ones). A metric that cannot be computed says why and the others go on. Images are only looked at by networks
    that some metric still needs, so that nothing long is done in vain.
    """
    reasons: dict[str, UserError] = {}
    networks: dict[str, Network] = {}
    for metric in metrics:
        try:
            check_needs(metric, side_for(metric, sides))
            if metric.network not in networks:
                networks[metric.network] = registry.load(NETWORKS, metric.network).load(weights, machine.world.device)
        except UserError as fault:
            reasons[metric.name] = fault
    able = [metric for metric in metrics if metric.name not in reasons]
    seen = {}
    for name, one in sides.items():
        judged = [metric for metric in able if side_for(metric, sides) is one]
        seen[name] = look_at_sides(one, judged, networks, machine)
    if not machine.world.first:
        return None
    entries: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        if metric.name in reasons:
            entries[metric.name] = not_computed(reasons[metric.name])
            continue
        facts = networks[metric.network].facts
        entries[metric.title(facts)] = entry(metric, facts, *seen[name_of(metric, sides)])
    pixels = {one.pictures.label: one.sha256 for side in seen.values() for one in all_of(*side) if one.pictures}
    return Outcome(entries, pixels)


def name_of(metric: Metric, sides: Mapping[str, Sides]) -> str:
    """Which of the sides a metric judges."""
    return metric.pictures if metric.pictures in sides else "drawn"


def side_for(metric: Metric, sides: Mapping[str, Sides]) -> Sides:
    """The pictures a metric judges."""
    return sides[name_of(metric, sides)]


def check_needs(metric: Metric, sides: Sides) -> None:
    """Whether what a metric compares is there."""
    if metric.needs_real and sides.real is None:
        raise UserError(f"{metric.name} compares with real images: give them with --against")
    if metric.needs_captions and any(one.captions is None for one in sides.generated):
        raise UserError(
            f"{metric.name} compares images with their captions, and those of a folder are not known: "
            "give them with --captions FILE"
        )


def look_at_sides(
    sides: Sides, metrics: Sequence[Metric], networks: Mapping[str, Network], machine: Machine
) -> tuple[list[Features], Features | None]:
    """Features of every generated side, and of the real one; in other processes than the first, of none."""
    needed = {metric.network: networks[metric.network] for metric in metrics}
    real = sides.real
    for_real = {
        metric.network: networks[metric.network]
        for metric in metrics
        if real is not None and (real.captions is not None or not metric.needs_captions)
    }
    truth = look(real, for_real, machine) if real is not None and for_real else None
    generated = [look(one, needed, machine) for one in sides.generated] if needed else []
    return [one for one in generated if one is not None], truth


def entry(
    metric: Metric, facts: Mapping[str, Any], generated: Sequence[Features], real: Features | None
) -> dict[str, Any]:
    """A metric's entry in a result."""
    try:
        scores = metric.compute(generated, real)
        if real is not None and not metric.needs_real and not metric.needs_captions:
            (truth,) = metric.compute([real], None)  # what real images reach: no score can be read without it
            beside = {key + REAL: value for key, value in truth.values.items()}
            scores = [Score({**score.values, **beside}, score.details) for score in scores]
    except UserError as fault:
        return not_computed(fault)
    return summary(metric, facts, scores, [one.pictures.seed if one.pictures else None for one in generated])


def summary(
    metric: Metric, facts: Mapping[str, Any], scores: Sequence[Score], seeds: Sequence[int | None]
) -> dict[str, Any]:
    """Mean and standard deviation (divisor n - 1) over the noise seeds, and each one; the first value leads."""
    rows = [score.values for score in scores]
    headline, several = next(iter(rows[0])), len(rows) > 1
    return {
        "computed": True,
        "metric": metric.name,
        "value": statistics.fmean(row[headline] for row in rows),
        "std_over_seeds": statistics.stdev(row[headline] for row in rows) if several else None,
        "better": metric.better,
        "mean": {key: statistics.fmean(row[key] for row in rows) for key in rows[0]},
        "std": {key: statistics.stdev(row[key] for row in rows) if several else None for key in rows[0]},
        "per_seed": [{"seed": seed, **row} for seed, row in zip(seeds, rows, strict=True)],
        "details": [dict(score.details) for score in scores],
        **facts,
    }


def not_computed(fault: UserError) -> dict[str, Any]:
    """A metric's entry where there is no value; the exit code is the program's if nothing else was computed."""
    return {"computed": False, "reason": str(fault), "exit_code": fault.exit_code}


def all_of(generated: Sequence[Features], real: Features | None) -> list[Features]:
    """Both sides as one list."""
    return [*generated, *([real] if real is not None else [])]
