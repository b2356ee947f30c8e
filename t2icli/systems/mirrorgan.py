"""MirrorGAN: AttnGAN's stages with a look at the sentence as well, and images that can be described again.

Qiao, Zhang, Xu, Tao, "MirrorGAN: Learning Text-to-image Generation by Redescription", CVPR 2019, in the form of the
released code (qiaott/MirrorGAN, 2019): sentence attention is a softmax over channels behind an extra 1x1 convolution.
The sentence's encoder (STEM) is the matcher of the recipe; the loss of redescription (STREAM) is the term ``stream``.
The mask of padded words is AttnGAN's, with the same choice. Discriminators and losses are in ``_staged.py``.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from t2icli.nn.stages import ResidualBlock, WordAttention, beside, up_block
from t2icli.released import Imported, Released
from t2icli.systems._staged import GENERATOR_NAMES, StagedConfig, StagedSystem, import_staged

Config = StagedConfig


class SentenceAttention(nn.Module):
    """The sentence as each place weighs it: ``(B, C, H, W)`` and a condition ``(B, D)`` to ``(B, C, H, W)``."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(condition_dim, channels)
        self.weigh = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The softmax is over channels, which is what the code's softmax without a dimension means."""
        sentence = self.project(condition)[:, :, None, None]
        return sentence * self.weigh(x * sentence).softmax(1)


class Stage(nn.Module):
    """Features beside what they see of words and sentence, brought together, refined and doubled in size."""

    def __init__(self, config: StagedConfig, word_dim: int) -> None:
        super().__init__()
        width = config.generator_channels
        self.attention = WordAttention(width, word_dim, config.padded_words)
        self.sentence = SentenceAttention(width, config.condition_dim)
        self.join = nn.Conv2d(3 * width, 2 * width, 1, bias=False)
        self.residual = nn.Sequential(*(ResidualBlock(2 * width) for _ in range(config.residual_blocks)))
        self.up = up_block(2 * width, width)

    def forward(self, x: Tensor, condition: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)`` to ``(B, C, 2H, 2W)``, and the attention to words."""
        context, attention = self.attention(x, words, mask)
        joined = self.join(beside(x, context, self.sentence(x, condition)))
        return self.up(self.residual(joined)), attention


class MirrorGAN(StagedSystem):
    """The system."""

    def make_stage(self, config: StagedConfig, word_dim: int) -> nn.Module:
        """One that looks at words and sentence again."""
        return Stage(config, word_dim)


build = MirrorGAN

NAMES = (
    *GENERATOR_NAMES,
    (r"\.att\.linear\.", ".sentence.project."),
    (r"\.att\.conv_sentence_vis\.", ".sentence.weigh."),
    (r"^(later\.\d)\.conv\.", r"\1.join."),
)


def import_released(files: Sequence[Released]) -> Imported:
    """``netG*.pth`` and, if given, the discriminators; the authors released none, but their code writes these."""
    return import_staged("mirrorgan", "a generator of MirrorGAN", MirrorGAN, files, NAMES)
