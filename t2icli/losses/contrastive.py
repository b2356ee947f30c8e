"""Contrastive losses between images and captions.

Zhang et al., "Cross-Modal Contrastive Learning for Text-to-Image Generation", CVPR 2021, in the form of the
released code (google-research/xmcgan_image_generation, 2021): both directions are summed, not averaged.
Everything is computed in float32 whatever the precision of the networks.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from t2icli.losses.negatives import Negatives, candidates, own_places


def unit_length(x: Tensor) -> Tensor:
    """Vectors on the last axis divided by their length; a zero vector stays zero."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True).clamp_min(1e-12))


def pairwise(
    a: Tensor, b: Tensor, temperature: float = 0.1, negatives: Negatives = "local", symmetric: bool = True
) -> Tensor:
    """Each row of ``a`` ``(N, D)`` should be most like the same row of ``b``, and the other way round.

    With ``symmetric`` off only the rows of ``a`` choose among those of ``b``, as the paper writes its losses: images
    among captions, and real images among generated ones.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = unit_length(a.float()), unit_length(b.float())
        own = own_places(len(a), negatives, a.device)
        loss = F.cross_entropy(a @ candidates(b, negatives).T / temperature, own)
        if symmetric:
            loss = loss + F.cross_entropy(b @ candidates(a, negatives).T / temperature, own)
        return loss


def word_region(
    regions: Tensor,
    words: Tensor,
    mask: Tensor,
    region_sharpness: float = 5.0,
    word_sharpness: float = 5.0,
    scale: float = 50.0,
    negatives: Negatives = "local",
    symmetric: bool = True,
) -> Tensor:
    """Each image should match its own caption word by word, and each caption its own image.

    ``regions`` (N, R, D), ``words`` (N, T, D), ``mask`` (N, T) True at tokens. Needs N of two or more.
    """
    with torch.autocast(regions.device.type, enabled=False):
        regions, words = unit_length(regions.float()), unit_length(words.float())
        own = own_places(len(regions), negatives, regions.device)
        every_word, every_mask = candidates(words, negatives), candidates(mask.float(), negatives) > 0.5
        by_image = match_scores(regions, every_word, every_mask, region_sharpness, word_sharpness)
        loss = F.cross_entropy(scale * by_image, own)
        if not symmetric:
            return loss
        if len(every_word) == len(words):  # the same scores read the other way
            by_caption = by_image.T
        else:
            every_region = candidates(regions, negatives)
            by_caption = match_scores(every_region, words, mask, region_sharpness, word_sharpness).T
        return loss + F.cross_entropy(scale * by_caption, own)


def match_scores(
    regions: Tensor, words: Tensor, mask: Tensor, region_sharpness: float, word_sharpness: float
) -> Tensor:
    """How well image i matches caption j: ``(N, M)`` from regions (N, R, D) and words (M, T, D) of length one.

    Every word looks at the regions (softmax over regions); its similarity to what it sees is pooled over
    the caption by log-sum-exp. A longer caption gets a bonus of log(length), as in the released code.
    """
    flat = words.flatten(0, 1)  # (M*T, D): one matrix product an image, without copies in another order
    attention = (region_sharpness * (flat @ regions.transpose(1, 2))).softmax(-1)  # (N, M*T, R)
    seen = unit_length(attention @ regions)
    likeness = (seen * flat).sum(-1).view(len(regions), *mask.shape)
    pooled = (word_sharpness * likeness).masked_fill(~mask, -math.inf).logsumexp(-1)
    return pooled / word_sharpness
