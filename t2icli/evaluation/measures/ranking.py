"""R-precision: whether a picture finds its own caption among others; pure functions in float64."""

from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2icli.errors import DataError, UserError

Ties = Literal["expected", "first", "strict"]
AT_ONCE = 1 << 22  # numbers held at once


def cosine_scores(images: Tensor, captions: Tensor, negatives: NDArray[np.int32]) -> Tensor:
    """Cosines of images (N, D) with their own captions (N, D), column 0, and with the others' at ``negatives`` (N, K).

    Yields (N, 1 + K) float64. Equal embeddings score equally to the last bit: each cosine is a sum of its own, where
    a matrix product would round by place.
    """
    images, captions = (torch.nn.functional.normalize(side.double(), dim=1) for side in (images, captions))
    own = np.arange(len(images), dtype=np.int64)[:, None]
    rows = torch.from_numpy(np.concatenate([own, negatives.astype(np.int64)], axis=1))
    scores = []
    at_once = max(1, AT_ONCE // (rows.shape[1] * images.shape[1]))
    for some, candidates in zip(images.split(at_once), rows.split(at_once), strict=True):
        scores.append((captions[candidates] * some[:, None]).sum(dim=2))
    return torch.cat(scores)


def hits(scores: Tensor, k: int, ties: Ties = "expected") -> Tensor:
    """Whether the true candidate, column 0 of scores (N, 1 + K), is among the k best, (N,) float64.

    Where others score exactly the same, ``expected`` is the probability of it when equals are ordered at random,
    ``first`` puts the true one before its equals (an arg-max that takes the first), ``strict`` behind them.
    """
    if not bool(scores.isfinite().all()):
        raise DataError(f"R-precision: {int((~scores.isfinite()).sum()):,} of the scores are not finite")
    true = scores[:, :1]
    better = (scores > true).sum(dim=1)
    equals = (scores == true).sum(dim=1)  # itself included
    if ties == "first":
        return (better < k).double()
    if ties == "strict":
        return (better + equals <= k).double()
    return ((k - better).double() / equals).clamp(0, 1)


def folds(hits: Tensor, count: int = 10, seed: int | None = None, legacy: bool = False) -> tuple[float, float]:
    """Mean and standard deviation (divisor ``count``) of the shares of hits (N,) in equal folds.

    With a seed the hits are shuffled first. ``legacy`` repeats the slip of the AttnGAN code, which leaves the last
    hit of each fold out.
    """
    if len(hits) < (2 if legacy else 1) * count:
        raise UserError(f"R-precision over {count} folds needs {(2 if legacy else 1) * count} images, has {len(hits)}")
    if seed is not None:
        hits = hits[torch.from_numpy(np.random.RandomState(seed).permutation(len(hits)))]
    ends = [fold * len(hits) // count for fold in range(count + 1)]
    shares = [float(hits[start : stop - 1 if legacy else stop].double().mean()) for start, stop in pairwise(ends)]
    return float(np.mean(shares)), float(np.std(shares))


def chance(k: int, candidates: int) -> float:
    """The share of hits of a blind guess: k of all candidates, the true one among them."""
    return min(1.0, k / candidates)
