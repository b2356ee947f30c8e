"""The discriminators of the AttnGAN family: one for each size of image, with two answers.

Xu et al., "AttnGAN", CVPR 2018, in the form of the released code (taoxugit/AttnGAN, 2018).
"""

import torch
from torch import Tensor, nn

from t2icli.nn.batch_norm import AffineBatchNorm

SLOPE = 0.2  # of every leaky rectifier
WIDEST = 8  # the last features are no wider than so many times the first


def halving(inputs: int, outputs: int) -> nn.Sequential:
    """``(B, inputs, H, W)`` to ``(B, outputs, H/2, W/2)``."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), AffineBatchNorm(outputs), nn.LeakyReLU(SLOPE))


def keeping(inputs: int, outputs: int) -> nn.Sequential:
    """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, AffineBatchNorm(outputs), nn.LeakyReLU(SLOPE))


class ConditionalDiscriminator(nn.Module):
    """Is an image real and of its sentence, in one answer?

    An image is halved to 4x4 while its channels double; beyond eight times the first width they are then brought back.
    """

    def __init__(self, size: int, channels: int, sentence_dim: int) -> None:
        super().__init__()
        halvings = size.bit_length() - 3
        first = nn.Sequential(nn.Conv2d(3, channels, 4, 2, 1, bias=False), nn.LeakyReLU(SLOPE))
        down = [halving(channels << level, channels << (level + 1)) for level in range(halvings - 1)]
        levels = range(halvings - 1, WIDEST.bit_length() - 1, -1)
        back = [keeping(channels << level, channels << (level - 1)) for level in levels]
        self.trunk = nn.Sequential(first, *down, *back)
        width = channels * min(2 ** (halvings - 1), WIDEST)
        self.joint = keeping(width + sentence_dim, width)
        self.conditional = nn.Conv2d(width, 1, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, s, s)`` to features ``(B, C, 4, 4)``, which every answer is made of."""
        return self.trunk(images)

    def fits(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Logits ``(B,)``: is it real and of this sentence ``(B, D)``?"""
        everywhere = sentence[:, :, None, None].expand(-1, -1, *features.shape[2:]).to(features.dtype)
        return self.conditional(self.joint(torch.cat([features, everywhere], 1))).flatten()


class StageDiscriminator(ConditionalDiscriminator):
    """The same with a second answer: is the image real, whatever its sentence?"""

    def __init__(self, size: int, channels: int, sentence_dim: int) -> None:
        super().__init__(size, channels, sentence_dim)
        self.unconditional = nn.Conv2d(self.conditional.in_channels, 1, 4, stride=4)

    def real(self, features: Tensor) -> Tensor:
        """Logits ``(B,)``: is the image real?"""
        return self.unconditional(features).flatten()
