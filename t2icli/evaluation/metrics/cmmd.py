"""CMMD (Jayasumana et al. 2024): a kernel distance on normalised image embeddings of CLIP ViT-L/14 at 336 pixels."""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import kernels
from t2icli.evaluation.metric import Metric, Score

NETWORK = "clip_vit_l_14_336"


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """Times 1,000: the biased form, which the published code computes, and the unbiased one beside it."""
    assert real is not None
    scores = []
    for side in generated:
        means = kernels.cmmd(side.of(NETWORK, "embedding"), real.of(NETWORK, "embedding"))
        values = {"cmmd": means.biased, "cmmd_unbiased": means.unbiased}
        scores.append(
            Score({name: kernels.CMMD_SCALE * value for name, value in values.items()}, {"estimator": "biased"})
        )
    return scores


METRICS = (Metric("cmmd", NETWORK, "lower", compute, needs_real=True, fewest=2, signed=True),)
