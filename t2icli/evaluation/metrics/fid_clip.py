"""Fréchet distance on un-normalised image embeddings of CLIP ViT-B/32, as clean-fid's ``clip_vit_b_32`` has it."""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import frechet
from t2icli.evaluation.metric import Metric, Score

NETWORK = "clip_vit_b_32"


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """The distance; a tiny negative value is rounding and is kept."""
    assert real is not None
    truth = frechet.gaussian(real.of(NETWORK, "embedding"))
    return [
        Score({"fid-clip": frechet.distance(truth, frechet.gaussian(side.of(NETWORK, "embedding")))})
        for side in generated
    ]


METRICS = (Metric("fid-clip", NETWORK, "lower", compute, needs_real=True, fewest=2),)
