"""Share of pictures of scenes that show what their captions say, by the bundled recogniser.

Beside each share stands the same for real drawings: the recogniser itself is right only so often.
"""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.protocol import Protocol
from t2icli.evaluation.scenes_recogniser import Recognised, shares_right

NAME = "scenes-right"
NETWORK = "scenes_recogniser"
NEEDS_REAL = True
NEEDS_CAPTIONS = True
BETTER = "higher"


def compute(generated: Sequence[Features], real: Features | None, protocol: Protocol) -> list[dict[str, float]]:
    """The share with everything right under the metric's name, and those of place, objects and colours."""
    assert real is not None
    truth = {f"{name} (real)": value for name, value in shares(real).items()} if real.captions is not None else {}
    return [shares(side) | truth for side in generated]


def shares(side: Features) -> dict[str, float]:
    """Shares right of one side, the headline first."""
    assert side.captions is not None
    seen = Recognised(*(side.of(NETWORK, layer) for layer in Recognised._fields))
    right = shares_right(seen, side.captions)
    return {NAME: right.pop("all", 0.0)} | right
