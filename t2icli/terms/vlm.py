"""The losses of VLMGAN*: a frozen VLM compares each generated image with its caption and with the real image.

Cheng, Wen, Gu, IEEE Trans. Multimedia 2022 (arXiv 2208.09596): a text-visual part (VLM) and a visual-visual part (VVM),
each at three levels. The levels are the paper's; the form of the losses and all weights are our own reconstruction.
Of the two readings of the general visual-visual loss, the one that needs no image-image training of the matching block
is here: real and generated image should get the same answer for the same text.
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
from t2icli.losses.matching import both_ways, sentence_scores
from t2icli.losses.vision_language import direct, matched, same_answer, visual_scores
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
        """The parts whose weights are not zero; the real side carries no gradient."""
        c = self.config
        with torch.no_grad():
            text = self.matcher.text.read(batch.captions)
        seen = self.matcher.read_images(fake.images[-1])
        losses: Losses = {}
        if c.text_visual:
            losses |= {name: c.text_visual * loss for name, loss in self.beside_text(seen, text, batch.classes).items()}
        if c.visual_visual:
            with torch.no_grad():
                real = self.matcher.read_images(batch.image)
            found = self.beside_images(seen, real, text, batch.classes)
            losses |= {f"visual_{name}": c.visual_visual * loss for name, loss in found.items()}
        return {name: c.weight * loss for name, loss in losses.items()}

    def beside_text(self, seen: tuple[Tensor, Tensor], text: Text, classes: Tensor) -> Losses:
        """Text-visual: each generated image should match its caption."""
        c, m, (regions, whole) = self.config, self.matcher, seen
        losses = {}
        if c.local:
            w0, w1 = both_ways(m.config.gamma3_local * m.local(regions, text), classes)
            losses["local"] = c.local * (w0 + w1)
        if c.overall:
            s0, s1 = both_ways(m.config.gamma3_global * sentence_scores(whole, text.sentence), classes)
            losses["global"] = c.overall * (s0 + s1)
        if c.general:
            losses["general"] = c.general * matched(m.matching(text, regions, whole))
        return losses

    def beside_images(
        self, seen: tuple[Tensor, Tensor], real: tuple[Tensor, Tensor], text: Text, classes: Tensor
    ) -> Losses:
        """Visual-visual: each generated image should match the real image of its caption."""
        c, m = self.config, self.matcher
        losses = {}
        if c.local:
            scores = visual_scores(real[0], seen[0], m.config.gamma1, m.config.gamma2)
            losses["local"] = c.local * self.compared(scores, m.config.gamma3_local, classes)
        if c.overall:
            scores = sentence_scores(real[1], seen[1])
            losses["global"] = c.overall * self.compared(scores, m.config.gamma3_global, classes)
        if c.general:
            with torch.no_grad():
                wanted = m.matching(text, *real)
            losses["general"] = c.general * same_answer(wanted, m.matching(text, *seen))
        return losses

    def compared(self, scores: Tensor, gamma3: float, classes: Tensor) -> Tensor:
        """Scores of real against generated images as a loss."""
        if self.config.visual == "direct":
            return direct(scores)
        one, other = both_ways(gamma3 * scores, classes)
        return one + other


build = VLMTerm
