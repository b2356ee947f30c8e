"""Scores a run, or a folder of images made by anything, under a named protocol: what ``t2i evaluate`` does."""

from dataclasses import replace
from typing import Any

from t2icli.console import quiet
from t2icli.distributed import World, session
from t2icli.errors import DataError, EnvironmentFault, UserError
from t2icli.evaluation.caching import cache_folder
from t2icli.evaluation.evaluate import evaluate_images, find_metrics
from t2icli.evaluation.looking import Machine
from t2icli.scoring.document import document
from t2icli.scoring.folders import folder_task
from t2icli.scoring.keeping import keep, refuse_page
from t2icli.scoring.request import Request, check_numbers, kind_of
from t2icli.scoring.runs import run_task
from t2icli.training.finding import named
from t2icli.weights import Weights


def score(request: Request) -> dict[str, Any] | None:
    """The result, also written where ``keeping`` says; metrics that could not be computed are in it too.

    Under torchrun all processes look at pictures; ``None`` in those other than the first.
    """
    check_numbers(request)
    refuse_page(request.out)
    request = replace(request, target=named(request.target))
    weights = Weights(request.weights)
    kind = kind_of(request.target)
    with session() as world:
        if not world.first:
            quiet()
        return score_in(world, request, kind, weights)


def score_in(world: World, request: Request, kind: str, weights: Weights) -> dict[str, Any] | None:
    """The same as one of several processes."""
    task = run_task(request, world.device) if kind == "run" else folder_task(request)
    wanted = find_metrics(request.metrics or task.protocol.metrics)
    cache = cache_folder() if request.cache else None
    machine = Machine(world, request.batch_size, request.precision, cache)
    outcome = evaluate_images(task.sides, list(wanted.values()), weights, machine)
    if outcome is None:
        return None
    result = document(task, outcome, machine)
    keep(result, task, request.out)
    return result


def failure(result: dict[str, Any]) -> UserError | None:
    """The mistake to end with, if nothing that was asked for could be computed."""
    entries = list(result["metrics"].values())
    if any(entry["computed"] for entry in entries):
        return None
    kinds = {kind.exit_code: kind for kind in (UserError, DataError, EnvironmentFault)}
    worst = max(entries, key=lambda entry: entry["exit_code"])
    return kinds[worst["exit_code"]](f"nothing could be computed: {worst['reason']}")
