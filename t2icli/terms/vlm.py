"""The losses of VLMGAN*: a frozen VLM compares each generated image with its caption and with the real image.

Cheng, Wen, Gu, IEEE Trans. Multimedia 2022 (arXiv 2208.09596): a text-visual part (VLM) and a visual-visual part (VVM),
each at three levels. The levels are the paper's; the form of the losses and all weights are our own reconstruction.
Of the two readings of the general visual-visual loss, only the one that needs no image-image training of the matching
block is here: real and generated image should get the same answer for the same text.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from t2icli.batch import Batch, Fake, Text
from t2icli.encoders._files import load_matcher
from t2icli.encoders.vlm import VLM
from t2icli.errors import RecipeError
from t2icli.losses.matching import both_ways
from t2icli.losses.vision_language import direct, global_scores, matched, same_answer, visual_scores
from t2icli.recipe import weight
from t2icli.setting import Setting
from t2icli.terms._base import Losses, Term, TermConfig
from t2icli.weights import Weights


class Config(TermConfig):
    """The [terms.vlm] table."""

    matcher: Path = Field(description="run or file of a VLM")
    text_visual: float = weight("of generated images against their captions (lambda 2)")
    visual_visual: float = weight("of generated images against real ones (lambda 1)")
    local: float = weight("of the local level in both parts")
    overall: float = weight("of the global level in both parts")
    general: float = weight("of the general level in both parts")
    visual: Literal["contrastive", "direct"] = Field(
        "contrastive", description="local and global real images: against those of the batch, or one minus the score"
    )


Image = tuple[Tensor, Tensor]  # regions (B, R, D) and whole (B, D)


class VLMTerm(Term):
    """Six losses through one frozen matcher, which reads the captions itself; only the finest images are looked at."""

    def __init__(self, config: Config, setting: Setting, weights: Weights) -> None:
        super().__init__()
        self.config = config
        matcher, found = load_matcher(config.matcher)
        if not isinstance(matcher, VLM):
            raise RecipeError(f"terms.vlm.matcher: {config.matcher}: holds a {found.name}; a vlm is needed")
        self.matcher, self.used = matcher, (found,)

    def train(self, mode: bool = True) -> "VLMTerm":
        """The matcher stays in evaluation mode."""
        return super().train(False)

    def forward(self, batch: Batch, fake: Fake) -> Losses:
        """The parts whose weights are not zero, in float32; the real side carries no gradient."""
        c, image = self.config, fake.images[-1]
        losses: Losses = {}
        if not (c.text_visual or c.visual_visual):
            return losses
        with torch.autocast(image.device.type, enabled=False):
            with torch.no_grad():
                text = self.matcher.text.read(batch.captions)
            seen = self.matcher.read_images(image.float())
            answer = self.matcher.general_logits(text, *seen) if c.general else None
            if c.text_visual:
                found = self.beside_text(seen, answer, text, batch.classes)
                losses |= {name: c.weight * c.text_visual * loss for name, loss in found.items()}
            if c.visual_visual:
                with torch.no_grad():
                    real = self.matcher.read_images(batch.image)
                found = self.beside_images(seen, answer, real, text, batch.classes)
                losses |= {f"visual_{name}": c.weight * c.visual_visual * loss for name, loss in found.items()}
        return losses

    def beside_text(self, seen: Image, answer: Tensor | None, text: Text, classes: Tensor) -> Losses:
        """Text-visual: each generated image should match its caption; ``answer``: the logits of the general score."""
        c, (regions, whole) = self.config, seen
        losses = {}
        if c.local:
            losses["local"] = c.local * self.matcher.local_contrast(text, regions, classes)
        if c.overall:
            losses["global"] = c.overall * self.matcher.global_contrast(text, whole, classes)
        if answer is not None:
            losses["general"] = c.general * matched(answer)
        return losses

    def beside_images(self, seen: Image, answer: Tensor | None, real: Image, text: Text, classes: Tensor) -> Losses:
        """Visual-visual: each generated image should match the real image of its caption."""
        c, gammas = self.config, self.matcher.config
        losses = {}
        if c.local:
            scores = visual_scores(real[0], seen[0], gammas.gamma1, gammas.gamma2)
            losses["local"] = c.local * self.compared(scores, gammas.gamma3_local, classes)
        if c.overall:
            scores = global_scores(real[1], seen[1])
            losses["global"] = c.overall * self.compared(scores, gammas.gamma3_global, classes)
        if answer is not None:
            with torch.no_grad():
                wanted = self.matcher.general_logits(text, *real)
            losses["general"] = c.general * same_answer(wanted, answer)
        return losses

    def compared(self, scores: Tensor, gamma3: float, classes: Tensor) -> Tensor:
        """Scores of real against generated images as a loss."""
        if self.config.visual == "direct":
            return direct(scores)
        one, other = both_ways(gamma3 * scores, classes)
        return one + other


build = VLMTerm
