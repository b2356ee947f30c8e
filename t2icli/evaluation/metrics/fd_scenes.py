"""Fréchet distance on features of the bundled recogniser of scenes; of no meaning for other pictures, and no FID."""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import frechet
from t2icli.evaluation.metric import Metric, Score

NETWORK = "scenes_recogniser"


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """The distance; a tiny negative value is rounding and is kept."""
    assert real is not None
    truth = frechet.gaussian(real.of(NETWORK, "features"))
    distances = [frechet.distance(truth, frechet.gaussian(side.of(NETWORK, "features"))) for side in generated]
    return [Score({"fd-scenes": distance}) for distance in distances]


METRICS = (Metric("fd-scenes", NETWORK, "lower", compute, needs_real=True, fewest=2, only="scenes"),)
