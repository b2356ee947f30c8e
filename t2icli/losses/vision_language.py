"""Losses of VLMGAN's matcher and of the generators that it guides.

Cheng, Wen, Gu, "Vision-Language Matching for Text-to-Image Synthesis via Generative Adversarial Networks", IEEE Trans.
Multimedia 2022 (arXiv 2208.09596). The three scores are the paper's; the form of most losses around them is our own
reconstruction, because no code was released (docs/decisions.md). Everything is computed in float32.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from t2icli.losses.contrastive import unit_length
from t2icli.losses.matching import cosine, same_class

ELEMENTS_AT_ONCE = 2**26  # of the largest tensor, a quarter of a gigabyte


def local_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """How well every image matches every caption word by word: ``(N, M)``.

    ``regions`` (N, R, D), ``words`` (M, T, D), ``mask`` (M, T) True at words. By cosine throughout, attention over
    regions only, and divided by gamma2: between log(T) / gamma2 - 1 and log(T) / gamma2 + 1 for T words.
    """
    regions, words = regions.float(), words.float()
    per_caption = len(regions) * words.shape[1] * max(regions.shape[1], regions.shape[2])
    step = max(1, ELEMENTS_AT_ONCE // per_caption)
    parts = [
        local_scores_of(regions, words[i : i + step], mask[i : i + step], gamma1, gamma2)
        for i in range(0, len(words), step)
    ]
    return torch.cat(parts, 1)


def local_scores_of(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """The same for as many captions as fit into memory together."""
    captions, length, _ = words.shape
    flat = words.flatten(0, 1)  # (M T, D): one matrix product an image
    likeness = unit_length(flat) @ unit_length(regions).transpose(1, 2)
    seen = (gamma1 * likeness).softmax(2) @ regions  # (N, M T, D)
    match = (gamma2 * cosine(seen, flat[None])).view(len(regions), captions, length)
    return match.masked_fill(~mask[None], -math.inf).logsumexp(2) / gamma2


def visual_scores(real: Tensor, generated: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """How well every real image matches every generated one region by region: ``(N, M)``.

    Regions ``(N, R, D)`` and ``(M, R, D)``; those of the generated image play the words, and their mean is taken.
    """
    everywhere = torch.ones(generated.shape[:2], dtype=torch.bool, device=generated.device)
    return local_scores(real, generated, everywhere, gamma1, gamma2) - math.log(generated.shape[1]) / gamma2


def direct(scores: Tensor) -> Tensor:
    """One minus the score of each pair that belongs together: nearest to the paper's words, without negatives."""
    return 1 - scores.diagonal().mean()


def matched(logits: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B,)`` with the answer that the pairs match."""
    return F.softplus(-logits.float()).mean()


def matched_and_not(own: Tensor, wrong_text: Tensor, wrong_image: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B,)`` of true pairs, and of each side with a wrong partner, at half weight."""
    wrong = F.softplus(wrong_text.float()).mean() + F.softplus(wrong_image.float()).mean()
    return matched(own) + wrong / 2


def same_answer(real: Tensor, generated: Tensor) -> Tensor:
    """Huber distance of the logits that a generated image and the real one get for the same text."""
    return F.huber_loss(generated.float(), real.detach().float())


def draw_negatives(scores: Tensor, classes: Tensor, sharpness: float) -> Tensor:
    """For each row of scores ``(N, N)`` another column, likelier the higher its score; never one of the same class.

    Where every other column is of the same class, any other one is drawn.
    """
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    barred = own | same_class(classes)
    barred = torch.where(barred.all(1, keepdim=True), own, barred)
    chances = (sharpness * scores.float()).masked_fill(barred, -math.inf).softmax(1)
    return torch.multinomial(chances, 1).squeeze(1)
