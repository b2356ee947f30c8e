"""Fréchet Inception Distance on TensorFlow's 2015 network (Heusel et al. 2017), the headline figure of the field."""

from collections.abc import Sequence

from t2icli.evaluation import frechet
from t2icli.evaluation.features import Features
from t2icli.evaluation.protocol import Protocol

NAME = "fid-tf"
NETWORK = "inception_tf"
NEEDS_REAL = True
NEEDS_CAPTIONS = False
BETTER = "lower"


def compute(generated: Sequence[Features], real: Features | None, protocol: Protocol) -> list[dict[str, float]]:
    """The distance; a tiny negative value is rounding and is kept."""
    assert real is not None
    truth = frechet.gaussian(real.of(NETWORK, "2048"))
    return [{NAME: frechet.distance(truth, frechet.gaussian(side.of(NETWORK, "2048")))} for side in generated]
