"""AttnDCGAN: AttnGAN's stages with one image at their end and one discriminator of it.

Xu et al., "AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative Adversarial Networks", CVPR
2018, whose ablation this is, in the form of the released code (taoxugit/AttnGAN, 2018): the discriminator judges an
image beside its sentence only. The matching loss is the term ``damsm``; the mask of padded words is AttnGAN's, with the
same choice. Sizes and the names of released tensors are in ``_staged.py``.
"""

from collections.abc import Sequence
from typing import cast

from torch import nn

from t2icli.batch import Batch, Fake
from t2icli.losses.adversarial import answered
from t2icli.nn.stage_discriminators import ConditionalDiscriminator
from t2icli.nn.stages import AttentionalStage
from t2icli.released import Imported, Released
from t2icli.systems._base import Losses
from t2icli.systems._staged import GENERATOR_NAMES, StagedConfig, StagedSystem, divergence, import_staged

Config = StagedConfig


class AttnDCGAN(StagedSystem):
    """The system."""

    judge = ConditionalDiscriminator

    def images(self, config: StagedConfig) -> int:
        """One, at full size."""
        return 1

    def make_stage(self, config: StagedConfig, word_dim: int) -> nn.Module:
        """AttnGAN's."""
        return AttentionalStage(config.generator_channels, word_dim, config.residual_blocks, config.padded_words)

    def d_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Real pairs against generated images, and against real images of the sentence that follows."""
        judge, sentence = self.only_judge(), batch.text.sentence
        real, generated = judge(batch.image), judge(fake.images[-1].detach())
        fake_fits = answered(judge.fits(generated, sentence), False)
        wrong_fits = answered(judge.fits(real[:-1], sentence[1:]), False)
        fits = answered(judge.fits(real, sentence), True)
        return {"adversarial": fits + (fake_fits + wrong_fits) / 2}

    def g_losses(self, batch: Batch, fake: Fake) -> Losses:
        """The image should pass beside its sentence; conditions should stay near normal."""
        judge = self.only_judge()
        passes = answered(judge.fits(judge(fake.images[-1]), batch.text.sentence), True)
        losses = {"adversarial": self.config.adversarial * passes}
        if self.config.kl_weight:
            losses["kl"] = self.config.kl_weight * divergence(fake.extras["mu"], fake.extras["logvar"])
        return losses

    def only_judge(self) -> ConditionalDiscriminator:
        """The discriminator."""
        return cast(ConditionalDiscriminator, self.discriminator[0])


build = AttnDCGAN


def import_released(files: Sequence[Released]) -> Imported:
    """``netG*.pth`` (or ``bird_AttnDCGAN2.pth``) and, if given, its discriminator."""
    return import_staged("attndcgan", "a generator of AttnDCGAN", AttnDCGAN, files, GENERATOR_NAMES)
