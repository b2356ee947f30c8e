"""Fréchet distance on features of the bundled recogniser of scenes; of no meaning for other pictures, and no FID."""

from collections.abc import Sequence

from t2icli.evaluation import frechet
from t2icli.evaluation.features import Features
from t2icli.evaluation.protocol import Protocol

NAME = "fd-scenes"
NETWORK = "scenes_recogniser"
NEEDS_REAL = True
NEEDS_CAPTIONS = False
BETTER = "lower"


def compute(generated: Sequence[Features], real: Features | None, protocol: Protocol) -> list[dict[str, float]]:
    """The distance; a tiny negative value is rounding and is kept."""
    assert real is not None
    truth = frechet.gaussian(real.of(NETWORK, "features"))
    return [{NAME: frechet.distance(truth, frechet.gaussian(side.of(NETWORK, "features")))} for side in generated]
