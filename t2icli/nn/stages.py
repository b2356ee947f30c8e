"""Generators that draw in stages, each twice as large as the one before: the AttnGAN family.

Xu et al., "AttnGAN", CVPR 2018, in the form of the released code (taoxugit/AttnGAN, 2018), which MirrorGAN's
code keeps.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from t2icli.nn.batch_norm import AffineBatchNorm

PaddedWords = Literal["masked", "as_released"]


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Keeps the size; no bias, because a batch norm follows or a tanh."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def up_block(inputs: int, outputs: int) -> nn.Sequential:
    """``(B, inputs, H, W)`` to ``(B, outputs, 2H, 2W)``; half the channels gate the other half."""
    widened = conv3x3(inputs, 2 * outputs), AffineBatchNorm(2 * outputs)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *widened, nn.GLU(1))


def beside(x: Tensor, *others: Tensor) -> Tensor:
    """Maps of one size as channels of one, in the type of ``x``."""
    return torch.cat([x, *(other.to(x.dtype) for other in others)], 1)


class ResidualBlock(nn.Module):
    """``(B, C, H, W)`` to the same; nothing is activated after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        gated = conv3x3(channels, 2 * channels), AffineBatchNorm(2 * channels), nn.GLU(1)
        self.block = nn.Sequential(*gated, conv3x3(channels, channels), AffineBatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The input and what the block adds."""
        return self.block(x) + x


class ConditioningAugmentation(nn.Module):
    """A sentence vector to a normal distribution, and a draw from it: Zhang et al., "StackGAN", ICCV 2017."""

    def __init__(self, sentence_dim: int, condition_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(sentence_dim, 4 * condition_dim)

    def forward(self, sentence: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sentences ``(B, D)`` and standard normal numbers ``(B, C)`` to condition, mean and logarithm of variance."""
        mean, log_variance = nn.functional.glu(self.project(sentence), 1).chunk(2, 1)
        return mean + torch.exp(0.5 * log_variance) * epsilon, mean, log_variance


class WordAttention(nn.Module):
    """What each place sees of the caption: the projected words are both keys and values.

    The released code masks padded words by the wrong rows as soon as a batch holds more than one caption: place q of
    caption b by the length of caption (b Q + q) mod B. ``as_released`` does so too, for networks that were trained
    that way; ``masked`` uses each caption's own length.
    """

    def __init__(self, channels: int, word_dim: int, padded_words: PaddedWords) -> None:
        super().__init__()
        self.padded_words = padded_words
        self.project = nn.Conv2d(word_dim, channels, 1, bias=False)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x ``(B, C, H, W)``, words ``(B, T, D)``, mask ``(B, T)`` to context like x and attention ``(B, T, H, W)``."""
        keys = self.project(words.transpose(1, 2)[..., None]).squeeze(3)  # (B, C, T)
        places = x.flatten(2).transpose(1, 2)  # (B, Q, C)
        logits = (places @ keys).masked_fill(~self.rows(mask, places.shape[1]), -torch.inf)
        attention = logits.softmax(2)
        context = keys @ attention.transpose(1, 2).to(keys.dtype)
        return context.view_as(x), attention.transpose(1, 2).unflatten(2, x.shape[2:])

    def rows(self, mask: Tensor, places: int) -> Tensor:
        """Which words each place may see, ``(B, Q, T)`` or ``(B, 1, T)``."""
        if self.padded_words == "masked":
            return mask[:, None]
        captions = len(mask)
        wrong = torch.arange(captions * places, device=mask.device) % captions
        return mask[wrong].view(captions, places, -1)


class AttentionalStage(nn.Module):
    """Features beside what they see of the words, refined by residual blocks and doubled in size."""

    def __init__(self, channels: int, word_dim: int, residual_blocks: int, padded_words: PaddedWords) -> None:
        super().__init__()
        self.attention = WordAttention(channels, word_dim, padded_words)
        self.residual = nn.Sequential(*(ResidualBlock(2 * channels) for _ in range(residual_blocks)))
        self.up = up_block(2 * channels, channels)

    def forward(self, x: Tensor, condition: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, H, W)`` to ``(B, C, 2H, 2W)``, and attention; the condition is not looked at again."""
        context, attention = self.attention(x, words, mask)
        return self.up(self.residual(beside(x, context))), attention


class FirstStage(nn.Module):
    """Condition and noise to features ``(B, channels, s, s)``, from 4x4 on with ``doublings`` up blocks."""

    def __init__(self, vector_dim: int, channels: int, doublings: int) -> None:
        super().__init__()
        widest = channels * 2**doublings
        self.project = nn.Linear(vector_dim, 2 * widest * 4 * 4, bias=False)
        self.norm = AffineBatchNorm(2 * widest * 4 * 4)
        self.up = nn.ModuleList(up_block(widest >> level, widest >> (level + 1)) for level in range(doublings))

    def forward(self, vector: Tensor) -> Tensor:
        """Vectors ``(B, D)``."""
        x = nn.functional.glu(self.norm(self.project(vector)), 1).unflatten(1, (-1, 4, 4))
        for block in self.up:
            x = block(x)
        return x


class StagedGenerator(nn.Module):
    """A first stage, later ones that ``make_stage`` makes, and an image from each of the last ``images`` of them.

    A later stage takes features, condition, words and mask, and gives features of twice the size and attention.
    """

    def __init__(
        self,
        make_stage: Callable[[], nn.Module],
        stages: int,
        images: int,
        doublings: int,
        channels: int,
        noise_dim: int,
        condition_dim: int,
        sentence_dim: int,
    ) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.augmentation = ConditioningAugmentation(sentence_dim, condition_dim)
        self.first = FirstStage(condition_dim + noise_dim, channels, doublings)
        self.later = nn.ModuleList(make_stage() for _ in range(stages - 1))
        self.to_images = nn.ModuleList(nn.Sequential(conv3x3(channels, 3), nn.Tanh()) for _ in range(images))
        self.silent = stages - images  # stages that draw none: the first ones

    def forward(
        self, noise: Tensor, sentence: Tensor, words: Tensor, mask: Tensor
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Images coarse to fine, and mu, logvar and the attention of each later stage.

        ``noise`` holds the noise of the picture and, behind it, that of the conditioning augmentation.
        """
        z, epsilon = noise[:, : self.noise_dim], noise[:, self.noise_dim :]
        condition, mu, logvar = self.augmentation(sentence, epsilon)
        extras = {"mu": mu, "logvar": logvar}
        x = self.first(torch.cat([condition, z], 1))
        images = self.drawn(0, x)
        for number, stage in enumerate(self.later, start=1):
            x, attention = stage(x, condition, words, mask)
            extras[f"attention{x.shape[-1]}"] = attention
            images += self.drawn(number, x)
        return images, extras

    def drawn(self, number: int, x: Tensor) -> list[Tensor]:
        """The image of a stage, or nothing."""
        return [] if number < self.silent else [self.to_images[number - self.silent](x)]
