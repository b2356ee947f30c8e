"""The DAMSM loss of AttnGAN: a frozen matcher must recognise the caption of each generated image.

Xu et al., "AttnGAN", CVPR 2018, eq. 13: lambda times the word and sentence losses, both ways, on the finest images.
"""

from pathlib import Path

import torch
from pydantic import Field, PositiveFloat

from t2icli.batch import Batch, Fake
from t2icli.encoders._files import load_matcher
from t2icli.losses.matching import sentence_losses, word_losses
from t2icli.recipe import weight
from t2icli.setting import Setting
from t2icli.terms._base import Losses, Term, TermConfig
from t2icli.weights import Weights


class Config(TermConfig):
    """The [terms.damsm] table."""

    matcher: Path = Field(description="run or file of a DAMSM (a VLM serves as well)")
    word: float = weight("of words against regions")
    sentence: float = weight("of sentences against whole images")
    gammas: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None, description="gamma1, gamma2 and gamma3 of the losses; default: those that the matcher learned with"
    )


class DAMSMTerm(Term):
    """Both matching losses through one frozen matcher, which reads the captions itself.

    The negatives of an image are the captions of its own process's batch.
    """

    def __init__(self, config: Config, setting: Setting, weights: Weights) -> None:
        super().__init__()
        self.config = config
        self.matcher, found = load_matcher(config.matcher)
        self.gammas = config.gammas or self.matcher.gammas
        self.used = (found,)

    def train(self, mode: bool = True) -> "DAMSMTerm":
        """The matcher stays in evaluation mode."""
        return super().train(False)

    def forward(self, batch: Batch, fake: Fake) -> Losses:
        """Losses of the finest images, in float32; images of one class are no negatives of each other."""
        c, image = self.config, fake.images[-1]
        losses: Losses = {}
        if not (c.word or c.sentence):
            return losses
        with torch.autocast(image.device.type, enabled=False):
            with torch.no_grad():
                text = self.matcher.text.read(batch.captions)
            regions, whole = self.matcher.read_images(image.float())
            if c.word:
                w0, w1 = word_losses(regions, text.words, text.mask, self.gammas, batch.classes)
                losses["word"] = c.weight * c.word * (w0 + w1)
            if c.sentence:
                s0, s1 = sentence_losses(whole, text.sentence, self.gammas[2], batch.classes)
                losses["sentence"] = c.weight * c.sentence * (s0 + s1)
        return losses


build = DAMSMTerm
