"""Kernel Inception Distance (Bińkowski et al. 2018) on TensorFlow's 2015 network, as torch-fidelity computes it."""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import kernels
from t2icli.evaluation.metric import Metric, Score

NETWORK = "inception_tf"


SUBSET = 1000  # images; where a side has fewer, all of them, which leaves nothing to spread


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """Mean and spread over 100 subsets of 1,000; unbiased, so it may be a little below zero."""
    assert real is not None
    scores = []
    for side in generated:
        size = min(SUBSET, side.count, real.count)
        found = kernels.kid(side.of(NETWORK, "2048"), real.of(NETWORK, "2048"), subset_size=size)
        values = {"kid": found.mean, "kid_std_over_subsets": found.std}
        scores.append(Score(values, {"subset_size": size, "subsets": 100}))
    return scores


METRICS = (Metric("kid", NETWORK, "lower", compute, needs_real=True, fewest=2, signed=True),)
