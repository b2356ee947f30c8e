"""R-precision: the share of pictures that rank their own caption first among captions of other pictures.

By CLIP, which trained no generator here, and by the matchers of ``t2i pretrain-encoders``, which did: a generator
learns to please the matcher that trained it, so its figure is no independent measure.
"""

from collections.abc import Sequence
from functools import partial

import torch

from t2icli.errors import UserError
from t2icli.evaluation.features import Captions, Features, Pictures
from t2icli.evaluation.measures import ranking
from t2icli.evaluation.metric import REAL, Metric, Score

NEGATIVES = 99  # captions of other pictures that the field compares each picture with
BEYOND_FIRST = (2, 3, 5)  # ranks counted as well
FOLDS = 10  # over which the spread is taken
FOLD_SEED = 2020  # shuffles hits into folds


def compute(
    generated: Sequence[Features], real: Features | None, *, name: str, network: str, layer: str, caption_layer: str
) -> list[Score]:
    """R@1 under the metric's name, further ranks, the spread over 10 folds, the same for real pictures, and chance."""
    truth: dict[str, float] = {}
    if real is not None and can_be_ranked(real, network):
        found = shares(candidate_scores(real, name, network, layer, caption_layer), name)
        truth = {key + REAL: value for key, value in found.items()}
    scores = []
    for side in generated:
        candidates = candidate_scores(side, name, network, layer, caption_layer)
        values = shares(candidates, name) | truth | {"chance": ranking.chance(1, candidates.shape[1])}
        details = {"candidates": candidates.shape[1], "ties": "expected"}
        if "cut" in side.texts[network]:
            details["captions_cut"] = int(side.of_captions(network, "cut").sum())
        scores.append(Score(values, details))
    return scores


def can_be_ranked(side: Features, network: str) -> bool:
    """Whether the network saw this side's pictures and captions, and others to compare with are known."""
    seen = network in side.layers and network in side.texts
    return seen and side.captions is not None and side.captions.negatives is not None


def candidate_scores(side: Features, name: str, network: str, layer: str, caption_layer: str) -> torch.Tensor:
    """Cosines of each picture with its own caption, column 0, and with those of other pictures, (N, 1 + K)."""
    assert side.captions is not None
    check_negatives(side.captions, name)
    texts, negatives = side.captions.texts, side.captions.negatives
    assert negatives is not None
    # Equal words are equal candidates; read in different batches their embeddings would differ in the last digits.
    first = {text: row for row, text in reversed(list(enumerate(texts)))}
    embeddings = side.of_captions(network, caption_layer)[torch.tensor([first[text] for text in texts])]
    return ranking.cosine_scores(side.of(network, layer), embeddings, negatives)


def check_negatives(captions: Captions, name: str) -> None:
    """Whether wrong captions are known for each picture."""
    if captions.negatives is None:
        raise UserError(
            f"{name}: needs {NEGATIVES} captions of other pictures for each picture, and there are only "
            f"{len(captions.texts):,} captions"
        )


def shares(scores: torch.Tensor, name: str) -> dict[str, float]:
    """Shares of pictures whose own caption is among the best 1, 2, 3 and 5, and the first one's spread over folds."""
    first = ranking.hits(scores, 1)
    values = {name: float(first.mean())}
    values |= {f"{name}@{k}": float(ranking.hits(scores, k).mean()) for k in BEYOND_FIRST}
    return values | {f"{name}_std_over_folds": ranking.folds(first, FOLDS, FOLD_SEED)[1]}


def metric(name: str, network: str, layer: str, caption_layer: str) -> Metric:
    """R-precision by one network."""
    own = partial(compute, name=name, network=network, layer=layer, caption_layer=caption_layer)

    def check(pictures: Pictures) -> None:
        assert pictures.captions is not None
        check_negatives(pictures.captions, name)

    return Metric(name, network, "higher", own, needs_captions=True, reads_negatives=True, fewest=FOLDS, check=check)


METRICS = (
    metric("rp-clip", "clip_vit_b_32", "embedding", "embedding"),
    metric("rp-damsm", "damsm_matcher", "whole", "sentence"),
    metric("rp-vlm", "vlm_matcher", "whole", "sentence"),
)
