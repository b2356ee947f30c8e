"""Share of pictures of scenes that show what their captions say, by the bundled recogniser.

Beside each share stands the same for real drawings: the recogniser itself is right only so often.
"""

from collections.abc import Sequence

from t2icli.data.scenes import understand
from t2icli.errors import UserError
from t2icli.evaluation.features import Features, Pictures
from t2icli.evaluation.metric import REAL, Metric, Score
from t2icli.evaluation.scenes_recogniser import Recognised, shares_right

NETWORK = "scenes_recogniser"


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """The share with everything right, and those of place, objects and colours."""
    known = real is not None and real.captions is not None and tells(real.captions.texts)
    truth = {name + REAL: value for name, value in shares(real).items()} if known and real is not None else {}
    return [Score(shares(side) | truth) for side in generated]


def shares(side: Features) -> dict[str, float]:
    """Shares right of one side, the headline first."""
    assert side.captions is not None
    seen = Recognised(*(side.of(NETWORK, layer) for layer in Recognised._fields))
    right = shares_right(seen, side.captions.texts)
    return {"scenes-right": right.pop("all")} | right


def check(pictures: Pictures) -> None:
    """Whether some caption says anything that the recogniser could see."""
    assert pictures.captions is not None
    if not tells(pictures.captions.texts):
        raise UserError(
            f"scenes-right: none of the {len(pictures.captions.texts):,} captions names a place or an object of scenes "
            "(e.g. 'a red bus on a street'); scenes-right judges pictures of scenes alone"
        )


def tells(captions: Sequence[str]) -> bool:
    """Whether some caption names a place or an object of scenes."""
    contents = (understand(caption) for caption in captions)
    return any(content.place is not None or content.objects for content in contents)


METRICS = (Metric("scenes-right", NETWORK, "higher", compute, needs_captions=True, check=check, only="scenes"),)
