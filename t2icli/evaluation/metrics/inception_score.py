"""Inception Score (Salimans et al. 2016, arXiv 1606.03498) as torch-fidelity computes it.

The 1008 outputs of the 2015 TensorFlow network without the bias, as the code of the score's authors has it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from t2icli.errors import UserError
from t2icli.evaluation.features import Features
from t2icli.evaluation.protocol import Protocol

NAME = "is"
NETWORK = "inception_tf"
NEEDS_REAL = False
NEEDS_CAPTIONS = False
BETTER = "higher"


def compute(generated: Sequence[Features], real: Features | None, protocol: Protocol) -> list[dict[str, float]]:
    """Mean and standard deviation over the splits."""
    results = []
    for side in generated:
        scores = inception_scores(
            side.of(NETWORK, "logits_unbiased"), protocol.inception_score.splits, protocol.inception_score.shuffle_seed
        )
        results.append({NAME: scores.mean().item(), "is_std_over_splits": scores.std(correction=0).item()})
    return results


def inception_scores(logits: Tensor, splits: int, shuffle_seed: int | None) -> Tensor:
    """exp of the mean KL(p(y|x) || p(y)) of each split, (splits,) float64; p(y) is the split's own mean."""
    count = len(logits)
    if count < splits:
        raise UserError(f"the Inception Score over {splits} splits needs at least {splits} images, and has {count}")
    if shuffle_seed is not None:
        logits = logits[torch.from_numpy(np.random.RandomState(shuffle_seed).permutation(count))]
    log_p = logits.double().log_softmax(dim=1)
    scores = []
    for split in range(splits):
        part = log_p[split * count // splits : (split + 1) * count // splits]
        log_marginal = part.logsumexp(dim=0) - np.log(len(part))
        scores.append((part.exp() * (part - log_marginal)).sum(dim=1).mean().exp())
    return torch.stack(scores)
