"""MIND, torch-fidelity's sliced Wasserstein distance, on the features of TensorFlow's 2015 network."""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import projections
from t2icli.evaluation.metric import Metric, Score

NETWORK = "inception_tf"


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """The distance over 1,000 directions; details say how many images a side were compared."""
    assert real is not None
    truth = real.of(NETWORK, "2048")
    return [
        Score(
            {"mind": projections.mind(side.of(NETWORK, "2048"), truth)},
            {"images_a_side": min(side.count, real.count)},
        )
        for side in generated
    ]


METRICS = (Metric("mind", NETWORK, "lower", compute, needs_real=True),)
