"""Fréchet Inception Distance (Heusel et al. 2017, arXiv 1706.08500) in the four families of the field.

They differ in network, weights and resize, and their figures by more than most claimed improvements: never compare
two of them. ``fid-tf`` is the headline.
"""

from collections.abc import Sequence
from functools import partial

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import frechet
from t2icli.evaluation.metric import Metric, Score


def compute(generated: Sequence[Features], real: Features | None, *, name: str, network: str) -> list[Score]:
    """The distance of the 2048 pooled features; a tiny negative value is rounding and is kept."""
    assert real is not None
    truth = real.gaussian(network, "2048")
    return [Score({name: frechet.distance(truth, side.gaussian(network, "2048"))}) for side in generated]


def family(name: str, network: str) -> Metric:
    """FID by one network."""
    own = partial(compute, name=name, network=network)
    return Metric(name, network, "lower", own, needs_real=True, fewest=2, statistics=2048)


METRICS = (
    family("fid-tf", "inception_tf"),
    family("fid-clean", "inception_clean"),
    family("fid-torchvision", "inception_torchvision"),
    family("fid-keras", "inception_keras"),
)
