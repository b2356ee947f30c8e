"""MirrorGAN's loss: a frozen captioner should read the caption in the image that was generated from it.

Qiao et al., "MirrorGAN: Learning Text-to-image Generation by Redescription", CVPR 2019, section 3.4, in the form of
the released code (qiaott/MirrorGAN, 2019): cross-entropy averaged over all words of the batch, no token for the
beginning or the end. The code's recipe for birds weighs it by 10; the paper found 20 best.
"""

from pathlib import Path
from typing import cast

import torch
from pydantic import Field

from t2icli.batch import Batch, Fake
from t2icli.encoders._files import find_encoder, found_encoder, load_encoder
from t2icli.encoders.stream import STREAM
from t2icli.setting import Setting
from t2icli.terms._base import Losses, Term, TermConfig
from t2icli.weights import Weights


class Config(TermConfig):
    """The [terms.stream] table."""

    captioner: Path = Field(description="run or file of a captioner that t2i pretrain-encoders trained")


class Redescription(Term):
    """Each caption should be likely, word by word, given the image generated from it."""

    def __init__(self, config: Config, setting: Setting, weights: Weights) -> None:
        super().__init__()
        self.config = config
        captioner, header = load_encoder(config.captioner, "stream")
        self.captioner = cast(STREAM, captioner)
        self.used = (found_encoder(find_encoder(config.captioner), header),)

    def train(self, mode: bool = True) -> "Redescription":
        """Stay in evaluation mode, whatever the training loop asks of its modules."""
        return super().train(False)

    def forward(self, batch: Batch, fake: Fake) -> Losses:
        """Read the last stage's images, in float32."""
        images = fake.images[-1].float()
        with torch.autocast(images.device.type, enabled=False):
            loss = self.captioner.word_losses(images, batch.captions).mean()
        return {"caption": self.config.weight * loss}


build = Redescription
