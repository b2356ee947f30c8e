"""Scores images by metrics. Which images, and what may be said about the result, is decided elsewhere."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t2icli import registry
from t2icli.console import say
from t2icli.errors import DataError, UserError
from t2icli.evaluation.features import Features, Network, Pictures
from t2icli.evaluation.looking import Machine, look
from t2icli.evaluation.metric import REAL, Metric, Score
from t2icli.evaluation.reference import Reference
from t2icli.weights import Weights

METRICS = "t2icli.evaluation.metrics"
NETWORKS = "t2icli.evaluation.networks"


@dataclass(frozen=True)
class Sides:
    """Pictures that are scored, one list entry a noise seed, and what they are compared with."""

    generated: Sequence[Pictures]
    real: Pictures | None = None
    reference: Reference | None = None  # in place of real pictures: statistics of a file
    foreign: str = ""  # the data set that generated or real pictures are known to be of; empty: not known


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    entries: dict[str, dict[str, Any]]  # title of a metric -> values, or the reason why there are none
    pixels: dict[str, str]  # label of a side -> sha256 of its pixels in order
    sets: dict[str, str]  # label of a side -> sha256 of its pixels in whatever order


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
    networks, reasons = ready(sides, metrics, weights, machine)
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
    looked = {one.pictures.label: one for side in seen.values() for one in all_of(*side) if one.pictures}
    return Outcome(
        entries,
        {label: one.sha256 for label, one in looked.items()},
        {label: one.set_sha256 for label, one in looked.items()},
    )


def ready(
    sides: Mapping[str, Sides], metrics: Sequence[Metric], weights: Weights, machine: Machine
) -> tuple[dict[str, Network], dict[str, UserError]]:
    """The networks that are needed, and why some metrics cannot be computed, which is said before anything is."""
    reasons: dict[str, UserError] = {}
    networks: dict[str, Network] = {}
    for metric in metrics:  # what is cheap to check first
        try:
            check_needs(metric, side_for(metric, sides))
        except UserError as fault:
            reasons[metric.name] = fault
    for metric in metrics:
        try:
            if metric.name not in reasons and metric.network not in networks:
                networks[metric.network] = registry.load(NETWORKS, metric.network).load(weights, machine.world.device)
        except UserError as fault:
            reasons[metric.name] = fault
    for name, reason in reasons.items():
        say(f"{name} will not be computed: {reason}")
    return networks, reasons


def name_of(metric: Metric, sides: Mapping[str, Sides]) -> str:
    """Which of the sides a metric judges."""
    return metric.pictures if metric.pictures in sides else "drawn"


def side_for(metric: Metric, sides: Mapping[str, Sides]) -> Sides:
    """The pictures a metric judges."""
    return sides[name_of(metric, sides)]


def check_needs(metric: Metric, sides: Sides) -> None:
    """Whether what a metric looks at is there, so that no network runs in vain."""
    if metric.only and sides.foreign not in ("", metric.only):
        raise UserError(
            f"{metric.name} judges pictures of the data set {metric.only} alone, and these are of {sides.foreign}: its "
            "network has never seen such pictures, so the figure would mean nothing; leave it out"
        )
    if metric.needs_real and sides.real is None and sides.reference is None:
        raise UserError(f"{metric.name} compares with real images: give them with --against")
    if metric.needs_real and sides.reference is not None:
        check_reference(metric, sides.reference)
    if metric.needs_captions and any(one.captions is None for one in sides.generated):
        raise UserError(
            f"{metric.name} compares images with their captions, and those of a folder are not known: "
            "give them with --captions FILE"
        )
    counted = [("", one) for one in sides.generated]
    if metric.needs_real and sides.real is not None:
        counted.append(("real ", sides.real))
    for whose, one in counted:
        if len(one.images) < metric.fewest:
            raise UserError(f"{metric.name} needs at least {metric.fewest} {whose}images, and has {len(one.images)}")
    for one in sides.generated:
        metric.check(one)


def check_reference(metric: Metric, reference: Reference) -> None:
    """Whether mean and covariance are enough for a metric, and of as many features as it compares."""
    if not metric.statistics:
        raise UserError(
            f"{metric.name} compares with real images themselves, and {reference.path} holds only their mean and "
            "covariance: give a folder of images, or shards, with --against"
        )
    if metric.statistics != reference.features:
        raise UserError(
            f"{metric.name} compares {metric.statistics:,} features, and {reference.path} holds the statistics of "
            f"{reference.features:,}: they are of another network"
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
    if sides.reference is not None:
        truth = Features(0, sides.reference.sha256, {}, statistics=sides.reference.gaussian)
    generated = [look(one, needed, machine) for one in sides.generated] if needed else []
    return [one for one in generated if one is not None], truth


def entry(
    metric: Metric, facts: Mapping[str, Any], generated: Sequence[Features], real: Features | None
) -> dict[str, Any]:
    """A metric's entry in a result."""
    try:
        for side in all_of(generated, real):
            check_finite(metric, side)
        scores = metric.compute(generated, real)
        enough = real is not None and real.statistics is None and real.count >= metric.fewest
        if real is not None and enough and not metric.needs_real and not metric.needs_captions:
            (truth,) = metric.compute([real], None)  # what real images reach: no score can be read without it
            beside = {key + REAL: value for key, value in truth.values.items()}
            scores = [Score({**score.values, **beside}, score.details) for score in scores]
        check_values(metric, scores)
    except UserError as fault:
        return not_computed(fault)
    return summary(metric, facts, scores, [one.pictures.seed if one.pictures else None for one in generated])


def check_finite(metric: Metric, side: Features) -> None:
    """Whether a network had a number to say of every picture."""
    for layers in (side.layers.get(metric.network, {}), side.texts.get(metric.network, {})):
        for name, values in layers.items():
            bad = (~values.isfinite()).flatten(1 if values.ndim > 1 else 0)
            rows = (bad.any(dim=1) if bad.ndim > 1 else bad).nonzero().flatten().tolist()
            if rows:
                whose = side.pictures.label if side.pictures is not None else "images"
                raise DataError(
                    f"{metric.name}: {metric.network} gives values that are not finite ({name}) for {len(rows):,} of "
                    f"{side.count:,} pictures ({whose}), the first being number {rows[0] + 1}: its weights are damaged "
                    "or the precision is too low for them"
                )


def check_values(metric: Metric, scores: Sequence[Score]) -> None:
    """A figure is a number."""
    for score in scores:
        for key, value in score.values.items():
            if not math.isfinite(value):
                raise DataError(f"{metric.name}: {key} came out as {value}, which is no figure")


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
