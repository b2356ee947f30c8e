"""Inception Score (Salimans et al. 2016, arXiv 1606.03498) in the variants of the field.

Each row is another figure: network, logits, splits, order and temperature decide it.

* ``is``: torch-fidelity's; 1008 outputs without bias, 10 splits, shuffled by numpy's RandomState(2020).
* ``is-improved-gan``: the authors' code as AttnGAN and DM-GAN use it on COCO; in the order of the files.
* ``is-star``: TISE's (Dinh et al. 2022), the same with calibrated logits.
* ``is-studiogan`` and ``is-keras`` (the open XMC-GAN code): outputs with bias, one split, so no spread over splits.
* ``is-birds`` and, calibrated, ``is-birds-star``: 50 kinds of birds (CUB). StackGAN's code shuffles without a seed and
  leaves out what does not fill a last batch of 64; here the seed is 2020, and every image counts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from t2icli.errors import UserError
from t2icli.evaluation.features import Features
from t2icli.evaluation.metric import Metric, Score


@dataclass(frozen=True)
class Variant:
    """What a variant does with logits."""

    layer: str  # of the network
    splits: int = 10
    shuffle_seed: int | None = None  # None: the order of the files
    temperature: float = 1.0  # that logits are divided by
    drop_first: bool = False  # the output that is no class


def compute(
    generated: Sequence[Features], real: Features | None, *, name: str, network: str, variant: Variant
) -> list[Score]:
    """Mean and, where there are several, standard deviation over the splits (divisor: their number)."""
    found = []
    for side in generated:
        logits = side.of(network, variant.layer)[:, int(variant.drop_first) :]
        scores = inception_scores(logits, variant.splits, variant.shuffle_seed, variant.temperature)
        values = {name: scores.mean().item()}
        if variant.splits > 1:
            values[f"{name}_std_over_splits"] = scores.std(correction=0).item()
        found.append(Score(values, asdict(variant)))
    return found


def inception_scores(logits: Tensor, splits: int, shuffle_seed: int | None, temperature: float = 1.0) -> Tensor:
    """exp of the mean KL(p(y|x) || p(y)) of each split, (splits,) float64; p(y) is the split's own mean.

    Logits (N, classes) are shuffled with the seed, or left in their order, and divided by the temperature.
    """
    count = len(logits)
    if count < splits:
        raise UserError(f"the Inception Score over {splits} splits needs at least {splits} images, and has {count}")
    if shuffle_seed is not None:
        logits = logits[torch.from_numpy(np.random.RandomState(shuffle_seed).permutation(count))]
    log_p = (logits.double() / temperature).log_softmax(dim=1)
    scores = []
    for split in range(splits):
        part = log_p[split * count // splits : (split + 1) * count // splits]
        log_marginal = part.logsumexp(dim=0) - np.log(len(part))
        scores.append((part.exp() * (part - log_marginal)).sum(dim=1).mean().exp())
    return torch.stack(scores)


def row(name: str, network: str, variant: Variant) -> Metric:
    """The Inception Score of one variant."""
    own = partial(compute, name=name, network=network, variant=variant)
    return Metric(name, network, "higher", own, fewest=variant.splits)


COCO_TEMPERATURE, BIRDS_TEMPERATURE = 0.9091363549232483, 0.5980541706085205  # of TISE, fitted on validation sets

METRICS = (
    row("is", "inception_tf", Variant("logits_unbiased", shuffle_seed=2020)),
    row("is-improved-gan", "inception_improved_gan", Variant("logits_unbiased")),
    row("is-star", "inception_improved_gan", Variant("logits_unbiased", temperature=COCO_TEMPERATURE)),
    row("is-studiogan", "inception_tf", Variant("logits", splits=1)),
    row("is-keras", "inception_keras", Variant("logits", splits=1)),
    row("is-birds", "inception_birds", Variant("logits", shuffle_seed=2020, drop_first=True)),
    row(
        "is-birds-star",
        "inception_birds",
        Variant("logits", shuffle_seed=2020, temperature=BIRDS_TEMPERATURE, drop_first=True),
    ),
)
