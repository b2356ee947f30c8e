"""Losses of VLMGAN's matcher and of the generators that it guides.

Cheng, Wen, Gu, "Vision-Language Matching for Text-to-Image Synthesis via Generative Adversarial Networks", IEEE Trans.
Multimedia 2022 (arXiv 2208.09596). The three scores are the paper's; the form of most losses around them is our own
reconstruction, because no code was released. Everything is computed in float32 whatever the precision of the networks.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from t2icli.losses.contrastive import unit_length
from t2icli.losses.matching import cosine, same_class, sentence_scores

ELEMENTS_AT_ONCE = 2**26  # of the largest tensor, a quarter of a gigabyte

# ---------------------------------------------------------------------------- scores


def local_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """How well every image matches every caption word by word: ``(N, M)``.

    ``regions`` (N, R, D), ``words`` (M, T, D), ``mask`` (M, T) True at words. By cosine throughout, attention over
    regions only, and divided by gamma2: between log(T) / gamma2 - 1 and log(T) / gamma2 + 1 for T words.
    """
    elements = len(regions) * words.shape[0] * words.shape[1] * max(regions.shape[1], regions.shape[2])
    pieces = min(len(words), math.ceil(elements / ELEMENTS_AT_ONCE))
    if pieces == 1:
        return scores_with_every_caption(regions, words, mask, gamma1, gamma2)
    # What is too large for memory must not stay there until the backward pass either: it is computed once more.
    parts: list[Tensor] = [
        checkpoint(scores_with_every_caption, regions, *piece, gamma1, gamma2, use_reentrant=False)
        for piece in zip(words.tensor_split(pieces), mask.tensor_split(pieces), strict=True)
    ]
    return torch.cat(parts, 1)


def scores_with_every_caption(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """The same for as many captions as fit into memory together."""
    likeness = word_likeness(regions, words.flatten(0, 1), gamma1).view(len(regions), *mask.shape)
    return pooled(likeness, mask, gamma2)


def own_local_scores(regions: Tensor, words: Tensor, mask: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """How well each image matches the caption in its own row: ``(N,)``, the diagonal of ``local_scores``."""
    return pooled(word_likeness(regions, words, gamma1), mask, gamma2)


def word_likeness(regions: Tensor, words: Tensor, gamma1: float) -> Tensor:
    """Cosine of each word with what it sees of an image: ``(N, L)``.

    ``regions`` (N, R, D); ``words`` (L, D), the same for all images, or (N, L, D). Each word looks at the regions by
    cosine (gamma1 sharpens), and sees the regions as they are, not brought to length one.
    """
    with torch.autocast(regions.device.type, enabled=False):
        regions, words = regions.float(), words.float()
        attention = (gamma1 * (unit_length(words) @ unit_length(regions).transpose(1, 2))).softmax(-1)
        return cosine(attention @ regions, words)


def pooled(likeness: Tensor, mask: Tensor, gamma2: float) -> Tensor:
    """A soft maximum over the words ``(..., T)`` that count; a longer caption gets a bonus of log(T) / gamma2."""
    return (gamma2 * likeness).masked_fill(~mask, -math.inf).logsumexp(-1) / gamma2


def global_scores(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of ``a`` ``(N, D)`` with every row of ``b`` ``(M, D)``: ``(N, M)``.

    Images against sentences, or real images against generated ones.
    """
    with torch.autocast(a.device.type, enabled=False):
        return sentence_scores(a, b)


def visual_scores(real: Tensor, generated: Tensor, gamma1: float, gamma2: float) -> Tensor:
    """How well every real image matches every generated one region by region: ``(N, M)`` in [-1, 1].

    Regions ``(N, R, D)`` and ``(M, R, D)``; those of the generated image play the words, and their mean is taken
    under the logarithm [our form].
    """
    everywhere = torch.ones(generated.shape[:2], dtype=torch.bool, device=generated.device)
    return local_scores(real, generated, everywhere, gamma1, gamma2) - math.log(generated.shape[1]) / gamma2


# ---------------------------------------------------------------------------- losses, all of our own form


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
    """Huber distance of the logits ``(B,)`` that generated images and real ones get for the same texts."""
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
