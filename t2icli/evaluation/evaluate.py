"""Scores images by metrics. Which images, and what may be said about the result, is decided elsewhere.

The folder is the registry: a module in ``metrics/`` is a metric, one in ``networks/`` a frozen network. A metric has

    NAME             as results call it
    NETWORK          the module in ``networks/`` whose layers it reads
    NEEDS_REAL       whether it compares with real images
    NEEDS_CAPTIONS   whether it compares with the captions
    BETTER           "lower" or "higher"
    compute(generated, real, protocol)   one dict of values per generated side; the value under NAME is the headline
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from t2icli import registry
from t2icli.errors import UserError
from t2icli.evaluation.features import Features, Network, Pictures, extract
from t2icli.evaluation.protocol import Protocol
from t2icli.weights import Weights

METRICS = "t2icli.evaluation.metrics"
NETWORKS = "t2icli.evaluation.networks"


@dataclass(frozen=True)
class Machine:
    """Where networks run, and on how many images at once; neither changes a result beyond rounding."""

    device: torch.device
    batch_size: int = 32


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    entries: dict[str, dict[str, Any]]  # metric -> values, or the reason why there are none
    pixels: dict[str, str]  # label of a side -> sha256 of its pixels


def find_metrics(names: Iterable[str]) -> dict[str, ModuleType]:
    """The metrics that names mean, by the name that results use; a module's own name is as good as its ``NAME``."""
    modules = [registry.load(METRICS, name) for name in registry.available(METRICS)]
    called = {alias: module for module in modules for alias in (module.__name__.rpartition(".")[2], module.NAME)}
    found = {}
    for name in names:
        wanted = name.strip().lower()
        module = called.get(wanted) or called.get(wanted.replace("-", "_"))
        if module is None:
            raise UserError(f"metrics: there is no {name!r}; {registry.nearest(wanted, sorted(called))}")
        found[module.NAME] = module
    return found


def evaluate_images(
    generated: Sequence[Pictures],
    real: Pictures | None,
    metrics: Mapping[str, ModuleType],
    protocol: Protocol,
    weights: Weights,
    machine: Machine,
) -> Outcome:
    """Score one or several generated sides against one real side.

    A metric that cannot be computed says why and the others go on; images are only looked at by networks that
    some metric still needs, so that nothing long is done in vain.
    """
    entries: dict[str, dict[str, Any]] = {}
    networks: dict[str, Network] = {}
    for name, metric in metrics.items():
        try:
            check_needs(metric, generated, real)
            if metric.NETWORK not in networks:
                networks[metric.NETWORK] = registry.load(NETWORKS, metric.NETWORK).load(weights, machine.device)
        except UserError as fault:
            entries[name] = not_computed(fault)
    able = {name: metric for name, metric in metrics.items() if name not in entries}
    truth, sides = look(generated, real, able, networks, machine)
    for name, metric in able.items():
        try:
            values = metric.compute(sides, truth, protocol)
        except UserError as fault:
            entries[name] = not_computed(fault)
        else:
            entries[name] = summary(metric, values, generated, networks[metric.NETWORK])
    labelled = dict(zip([side.label for side in generated], sides, strict=False)) | ({"real": truth} if truth else {})
    return Outcome({name: entries[name] for name in metrics}, {k: v.sha256 for k, v in labelled.items()})


def check_needs(metric: ModuleType, generated: Sequence[Pictures], real: Pictures | None) -> None:
    """Whether the sides a metric compares are there."""
    if metric.NEEDS_REAL and real is None:
        raise UserError(f"{metric.NAME} compares with real images: give them with --against")
    if metric.NEEDS_CAPTIONS and any(side.captions is None for side in generated):
        raise UserError(f"{metric.NAME} compares images with their captions, and those of a folder are not known")


def look(
    generated: Sequence[Pictures],
    real: Pictures | None,
    metrics: Mapping[str, ModuleType],
    networks: Mapping[str, Network],
    machine: Machine,
) -> tuple[Features | None, list[Features]]:
    """Features of the real side, where a metric wants them, and of every generated side."""
    if not metrics:
        return None, []

    def needed(chosen: Iterable[ModuleType]) -> dict[str, Network]:
        return {metric.NETWORK: networks[metric.NETWORK] for metric in chosen}

    for_real = needed(metric for metric in metrics.values() if metric.NEEDS_REAL)
    truth = extract(real, for_real, machine.batch_size, machine.device) if real is not None and for_real else None
    for_generated = needed(metrics.values())
    return truth, [extract(side, for_generated, machine.batch_size, machine.device) for side in generated]


def summary(
    metric: ModuleType, values: Sequence[Mapping[str, float]], generated: Sequence[Pictures], network: Network
) -> dict[str, Any]:
    """A metric's entry in a result: mean and standard deviation (divisor n - 1) over the noise seeds, and each one."""
    keys = list(values[0])
    several = len(values) > 1
    return {
        "computed": True,
        "value": statistics.fmean(row[metric.NAME] for row in values),
        "std_over_seeds": statistics.stdev(row[metric.NAME] for row in values) if several else None,
        "better": metric.BETTER,
        "mean": {key: statistics.fmean(row[key] for row in values) for key in keys},
        "std": {key: statistics.stdev(row[key] for row in values) if several else None for key in keys},
        "per_seed": [{"seed": side.seed, **row} for side, row in zip(generated, values, strict=True)],
        **network.facts,
    }


def not_computed(fault: UserError) -> dict[str, Any]:
    """A metric's entry where there is no value; the exit code is the program's if nothing else was computed."""
    return {"computed": False, "reason": str(fault), "exit_code": fault.exit_code}
