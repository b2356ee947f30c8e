"""AttnGAN: images in three stages, each later one drawn with a look at every word.

Xu et al., "AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative Adversarial Networks", CVPR
2018, in the form of the released code (taoxugit/AttnGAN, 2018). Its matching loss is the term ``damsm``. Deviation:
padded words are masked by each caption's own length; the code's mask is misaligned as soon as a batch holds more than
one caption (``padded_words = "as_released"`` repeats that). Discriminators and losses are in ``_staged.py``.
"""

from collections.abc import Sequence

from torch import nn

from t2icli.nn.stages import AttentionalStage
from t2icli.released import Imported, Released
from t2icli.systems._staged import GENERATOR_NAMES, StagedConfig, StagedSystem, import_staged

Config = StagedConfig


class AttnGAN(StagedSystem):
    """The system."""

    def make_stage(self, config: StagedConfig, word_dim: int) -> nn.Module:
        """One that looks at words again."""
        return AttentionalStage(config.generator_channels, word_dim, config.residual_blocks, config.padded_words)


build = AttnGAN


def import_released(files: Sequence[Released]) -> Imported:
    """``netG*.pth`` (or ``bird_AttnGAN2.pth``) and, if given, ``netD0.pth``, ``netD1.pth``, ``netD2.pth``."""
    return import_staged("attngan", "a generator of AttnGAN", AttnGAN, files, GENERATOR_NAMES)
