"""VLMS: what a vision-language matcher says of pictures and their captions (VLMGAN, arXiv 2208.09596).

No formula of the paper's could be read. Our reading: the mean over pictures of the matcher's general score, a number
between 0 and 1; beside it the means of the global score and of the local one (less what a caption's length adds). Each
stands between what the same matcher says of real pictures and of shuffled captions. Figures of two matchers cannot be
compared, nor can any with the paper's table.
"""

from collections.abc import Sequence

import torch

from t2icli.evaluation.features import Features
from t2icli.evaluation.metric import REAL, Metric, Score
from t2icli.evaluation.networks.vlm_matcher import SHUFFLED

NETWORK = "vlm_matcher"
LEVELS = {"vlms": "general", "vlms-global": "global", "vlms-local": "local"}
SPLITS = 10  # for the standard error


def compute(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """All three levels, each with its two references."""
    known = real is not None and real.captions is not None
    truth = {name + REAL: value for name, value in means(real).items()} if known and real is not None else {}
    return [Score(means(side) | standard_error(side) | truth) for side in generated]


def means(side: Features) -> dict[str, float]:
    """Mean scores of a side, with its own captions and with shuffled ones."""
    own = {name: mean(side, level) for name, level in LEVELS.items()}
    return own | {f"{name} (shuffled captions)": mean(side, level + SHUFFLED) for name, level in LEVELS.items()}


def mean(side: Features, layer: str) -> float:
    """Of one layer over all pictures."""
    return float(side.of(NETWORK, layer).double().mean())


def standard_error(side: Features) -> dict[str, float]:
    """Of the general score's mean, from ten parts in a fixed random order; none where the parts would be too small."""
    scores = side.of(NETWORK, "general").double()
    if len(scores) < 2 * SPLITS:
        return {}
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))
    parts = torch.stack([part.mean() for part in scores[order].tensor_split(SPLITS)])
    return {"vlms_standard_error": float(parts.std() / SPLITS**0.5)}


METRICS = (Metric("vlms", NETWORK, "higher", compute, needs_captions=True, reads_negatives=True),)
