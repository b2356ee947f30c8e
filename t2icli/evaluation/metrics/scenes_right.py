"""Share of pictures of scenes that show what their captions say, by the bundled recogniser.

Beside each share stands the same for real drawings: the recogniser itself is right only so often.
"""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.metric import REAL, Metric, Score
from t2icli.evaluation.scenes_recogniser import Recognised, shares_right

NETWORK = "scenes_recogniser"


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """The share with everything right, and those of place, objects and colours."""
    known = real is not None and real.captions is not None
    truth = {name + REAL: value for name, value in shares(real).items()} if known and real is not None else {}
    return [Score(shares(side) | truth) for side in generated]


def shares(side: Features) -> dict[str, float]:
    """Shares right of one side, the headline first."""
    assert side.captions is not None
    seen = Recognised(*(side.of(NETWORK, layer) for layer in Recognised._fields))
    right = shares_right(seen, side.captions.texts)
    return {"scenes-right": right.pop("all", 0.0)} | right


METRICS = (Metric("scenes-right", NETWORK, "higher", compute, needs_captions=True),)
