"""Losses of matchers: does each caption find its own image among those of the batch, and each image its caption?

Xu et al., "AttnGAN", CVPR 2018, eqs. 7 to 12, in the form of the released code (taoxugit/AttnGAN, 2018): the
logarithm of the sum over words is not divided by gamma2, and both directions are returned, each a mean over the batch.
Everything is computed in float32 whatever the precision of the networks.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COSINE_EPSILON = 1e-8  # least product of lengths in a cosine
ELEMENTS_AT_ONCE = 2**26  # of the largest tensor, a quarter of a gigabyte


def both_ways(scores: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy of image-caption scores ``(N, N)`` along captions and along images.

    Pairs of images of one class (``classes`` (N,), -1: none) that are not each other's own are left out.
    """
    own = torch.arange(len(scores), device=scores.device)
    if classes is not None:
        scores = scores.masked_fill(same_class(classes), -math.inf)
    return F.cross_entropy(scores, own), F.cross_entropy(scores.T, own)


def same_class(classes: Tensor) -> Tensor:
    """Which pairs ``(N, N)`` are of one class and not the same image; class -1 is of no class."""
    same = (classes[:, None] == classes[None]) & (classes >= 0)[:, None]
    return same & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of vectors on the last axis."""
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(COSINE_EPSILON)


def sentence_scores(whole: Tensor, sentence: Tensor) -> Tensor:
    """Cosine of every image vector ``(N, D)`` with every sentence vector ``(M, D)``: ``(N, M)``."""
    with torch.autocast(whole.device.type, enabled=False):
        whole, sentence = whole.float(), sentence.float()
        lengths = whole.norm(dim=1)[:, None] * sentence.norm(dim=1)[None]
        return whole @ sentence.T / lengths.clamp_min(COSINE_EPSILON)


def word_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """How well every image matches every caption word by word: ``(N, M)``.

    ``regions`` (N, R, D), ``words`` (M, T, D), ``mask`` (M, T) True at words. Each region is shared out among the
    words, then each word looks at the regions (gamma1 sharpens) and is compared with what it sees.
    """
    regions, words = regions.float(), words.float()
    per_caption = len(regions) * words.shape[1] * max(regions.shape[1], regions.shape[2])
    step = max(1, ELEMENTS_AT_ONCE // per_caption)
    with torch.autocast(regions.device.type, enabled=False):
        parts = [
            word_scores_of(regions, words[i : i + step], mask[i : i + step], gamma1, gamma2)
            for i in range(0, len(words), step)
        ]
    return torch.cat(parts, 1)


def word_scores_of(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """The same for as many captions as fit into memory together."""
    (images, places, _), (captions, length, _) = regions.shape, words.shape
    flat = words.flatten(0, 1)  # (M T, D): one matrix product an image
    likeness = (flat @ regions.transpose(1, 2)).view(images, captions, length, places)
    shared = likeness.masked_fill(~mask[None, :, :, None], -math.inf).softmax(2)
    attention = (gamma1 * shared).softmax(3).view(images, captions * length, places)
    seen = attention @ regions  # (N, M T, D)
    match = (gamma2 * cosine(seen, flat[None])).view(images, captions, length)
    return match.masked_fill(~mask[None], -math.inf).logsumexp(2)


def word_losses(
    regions: Tensor,
    words: Tensor,
    mask: Tensor,
    gammas: tuple[float, float, float],
    classes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Images against words: to find the caption of an image, and the image of a caption."""
    return both_ways(gammas[2] * word_scores(regions, words, mask, gammas[0], gammas[1]), classes)


def sentence_losses(
    whole: Tensor, sentence: Tensor, gamma3: float, classes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Image vectors against sentence vectors, likewise."""
    return both_ways(gamma3 * sentence_scores(whole, sentence), classes)
