"""How often the right caption, or the right image, is among the nearest."""

import torch
from torch import Tensor

GROUP = 100  # candidates
RANKS = (1, 5, 10)


def retrieval(images: Tensor, captions: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10 among groups of 100, both ways, in percent; ``(N, D)`` vectors compared by cosine.

    The last group may be smaller only if it is the only one. Of equal candidates the right one counts as last.
    """
    size = min(GROUP, len(images))
    usable = len(images) // size * size
    a, b = (
        torch.nn.functional.normalize(x[:usable].float(), dim=1).view(-1, size, x.shape[1]) for x in (images, captions)
    )
    scores = a @ b.transpose(1, 2)  # (groups, images, captions)
    measures: dict[str, float] = {}
    for name, table in (("text", scores), ("image", scores.transpose(1, 2))):
        own = table.diagonal(dim1=1, dim2=2)[:, :, None]
        rank = (table >= own).sum(2)  # the right one is counted itself: 1 is best
        measures |= {f"r{k}_{name}": 100 * float((rank <= k).double().mean()) for k in RANKS}
    return measures


def area_under_curve(positive: Tensor, negative: Tensor) -> float:
    """Chance that a positive's score is above a negative's; equal scores count half (the ROC curve's area)."""
    difference = positive.double()[:, None] - negative.double()[None]
    return float((difference > 0).double().mean() + 0.5 * (difference == 0).double().mean())
