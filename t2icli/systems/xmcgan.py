"""XMC-GAN: one stage, attentional self-modulation, contrastive losses between image, sentence and words.

Zhang, Koh, Baldridge, Lee, Yang, "Cross-Modal Contrastive Learning for Text-to-Image Generation", CVPR 2021.
Follows the released code (google-research/xmcgan_image_generation, 2021) where it differs from the paper:
the noise alone enters the first layer; the words are attended once, at 16x16; contexts are made of words of
length one; modulation is by 1 + gamma; contrastive losses run in both directions.

Deviations: modulation maps and shortcuts are convolved before they are upsampled, which gives the same
numbers for two thirds of the arithmetic (nearest upsampling commutes with 1x1 convolutions). The code knows
128 and 256 pixels; 32 and 64 leave out the widest levels of 128 and keep the attention at 16x16.
"""

from collections.abc import Callable
from itertools import pairwise as pairs
from typing import Literal, NamedTuple

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.batch import Batch, Fake, Text
from t2icli.losses.adversarial import hinge_discriminator, hinge_generator
from t2icli.losses.contrastive import pairwise, unit_length, word_region
from t2icli.nn.batch_norm import BatchNorm
from t2icli.nn.initialisation import glorot_normal
from t2icli.nn.spectral_norm import SpectralConv2d, SpectralLinear
from t2icli.recipe import Section, Width, weight
from t2icli.setting import Setting
from t2icli.systems._base import Losses, System

ATTENTION_SIZE = 16  # pixels a side where words are attended, at every image size

# Channels after each level, in units of the width; the generator's first number is its 4x4 input.
GENERATOR_LEVELS = {
    32: (4, 4, 2, 1),
    64: (8, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
DISCRIMINATOR_LEVELS = {  # the last one keeps its size
    32: (1, 2, 4, 4),
    64: (1, 2, 4, 8, 8),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}


class Contrastive(Section):
    """Weights of the contrastive losses inside the system; the one in a frozen network is a term."""

    sentence: float = weight("sentence against image: real images for D, generated ones for G")
    word: float = weight("words against image regions: real images for D, generated ones for G")
    image: float = weight("generated against real image in the discriminator's features, for G")
    temperature: PositiveFloat = Field(0.1, description="of the sentence and image losses")
    head_layers: int = Field(
        0,
        ge=0,
        le=1 << 6,
        description="dense layers between the discriminator's features and what is compared; the paper's ablation",
    )
    symmetric: bool = Field(
        True,
        description="both directions, as in the code; off: images choose among captions, and real among generated ones",
    )


class Config(Section):
    """The [model] table."""

    generator_channels: Width = Field(96, description="width of the finest level of the generator")
    discriminator_channels: Width = Field(96, description="width of the finest level of the discriminator")
    noise_dim: Width = 128
    sentence_dim: Width = Field(128, description="length of the projected sentence vector")
    modulation: Literal["attentional", "sentence"] = Field(
        "attentional", description="by word context from 16x16 on, or by sentence and noise at every level"
    )
    first_layer: Literal["noise", "noise_and_sentence"] = Field(
        "noise", description="what the 4x4 input is made from: the code's choice, or the paper's"
    )
    attention_sharpness: PositiveFloat = Field(15.0, description="rho_0: scale of the cosine before the softmax")
    contrastive: Contrastive = Contrastive()


class XMCGAN(System):
    """The system: both networks and their losses. Images are in [0, 1] inside, as in the code."""

    update = "simultaneous"

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        self.weights = config.contrastive
        self.negatives = setting.negatives
        self.noise_dim = config.noise_dim
        self.generator = Generator(config, setting)
        self.discriminator = Discriminator(config, setting)
        glorot_normal(self)

    def generate(self, text: Text, noise: Tensor) -> Fake:
        """One image a caption."""
        return Fake((self.generator(text, noise) * 2 - 1,))

    def d_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Hinge, and the contrastive losses of real images."""
        return self.real_losses(batch.text, self.judge(batch, fake))

    def g_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Hinge, and the contrastive losses of generated images."""
        return self.fake_losses(batch.text, self.judge(batch, fake))

    def joint_losses(self, batch: Batch, fake: Fake) -> tuple[Losses, Losses]:
        """Both from one pass, so both gradients are taken at the same weights."""
        judged = self.judge(batch, fake)
        return self.real_losses(batch.text, judged), self.fake_losses(batch.text, judged)

    def judge(self, batch: Batch, fake: Fake) -> "Judgement":
        """Real and generated images go through the discriminator together: one power iteration a step."""
        images = torch.cat([batch.image, fake.images[-1]])
        return self.discriminator((images + 1) / 2, batch.text.sentence)

    def real_losses(self, text: Text, judged: "Judgement") -> Losses:
        """The discriminator's side; it never trains on generated images through a contrastive loss."""
        real, fake = judged.logits.chunk(2)
        features, regions = judged.features.chunk(2)[0], judged.regions.chunk(2)[0]
        return {"adversarial": hinge_discriminator(real, fake)} | self.text_losses(text, features, regions, judged)

    def fake_losses(self, text: Text, judged: "Judgement") -> Losses:
        """The generator's side."""
        real_features, features = judged.features.chunk(2)
        losses = {"adversarial": hinge_generator(judged.logits.chunk(2)[1])}
        losses |= self.text_losses(text, features, judged.regions.chunk(2)[1], judged)
        if self.weights.image:
            losses["image"] = self.weights.image * self.contrast(real_features, features)
        return losses

    def text_losses(self, text: Text, features: Tensor, regions: Tensor, judged: "Judgement") -> Losses:
        """Images of one side against their captions."""
        losses = {}
        if self.weights.sentence:
            losses["sentence"] = self.weights.sentence * self.contrast(features, judged.sentence)
        if self.weights.word:
            matched = word_region(
                regions, text.words, text.mask, negatives=self.negatives, symmetric=self.weights.symmetric
            )
            losses["word"] = self.weights.word * matched
        return losses

    def contrast(self, a: Tensor, b: Tensor) -> Tensor:
        """Pairwise contrastive loss with this recipe's settings."""
        return pairwise(a, b, self.weights.temperature, self.negatives, self.weights.symmetric)


build = XMCGAN


# ---------------------------------------------------------------------------- generator


def word_attention(regions: Tensor, words: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """What each region sees of the caption: regions (B, R, D), words (B, T, D), mask (B, T) -> (B, R, D).

    Attention is by cosine, over words; the context is made of words of length one (the paper's raw words).
    """
    words = unit_length(words)
    cosine = unit_length(regions) @ words.transpose(1, 2)
    attention = (sharpness * cosine).masked_fill(~mask[:, None], -1e9).softmax(-1)
    return attention @ words


class SelfModulation(nn.Module):
    """Batch norm, then scale and shift by a vector: ``(B, C, H, W)`` and ``(B, D)`` to ``(B, C, H, W)``."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.gamma = nn.Linear(condition_dim, channels)
        self.beta = nn.Linear(condition_dim, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The same scale and shift at every place."""
        gamma, beta = self.gamma(condition)[:, :, None, None], self.beta(condition)[:, :, None, None]
        return torch.addcmul(beta, self.norm(x), 1 + gamma)


class AttentionalModulation(nn.Module):
    """Batch norm, then scale and shift by a map at 16x16: ``(B, D, 16, 16)`` conditions ``(B, C, H, W)``.

    The 1x1 convolutions run at 16x16 and their results are upsampled: the same numbers, far cheaper.
    """

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.gamma = nn.Conv2d(condition_dim, channels, 1)
        self.beta = nn.Conv2d(condition_dim, channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """A scale and shift for every place."""
        size = x.shape[2:]
        gamma = F.interpolate(1 + self.gamma(condition), size, mode="nearest")
        beta = F.interpolate(self.beta(condition), size, mode="nearest")
        return torch.addcmul(beta, self.norm(x), gamma)


class UpBlock(nn.Module):
    """Residual block that doubles the size; ``modulation`` makes a modulation for a number of channels."""

    def __init__(self, in_channels: int, out_channels: int, modulation: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.modulation0 = modulation(in_channels)
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation1 = modulation(out_channels)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, 2H, 2W)``."""
        main = self.conv0(double(F.relu(self.modulation0(x, condition))))
        main = self.conv1(F.relu(self.modulation1(main, condition)))
        return main + double(self.shortcut(x))


def double(x: Tensor) -> Tensor:
    """Nearest upsampling by two."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Generator(nn.Module):
    """Noise and a caption to an image ``(B, 3, S, S)`` in [0, 1]."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        widths = [level * config.generator_channels for level in GENERATOR_LEVELS[setting.image_size]]
        vector_dim = config.sentence_dim + config.noise_dim
        joined = config.noise_dim + (config.sentence_dim if config.first_layer == "noise_and_sentence" else 0)
        self.sharpness = config.attention_sharpness
        self.attentional = config.modulation == "attentional"
        self.joined = config.first_layer == "noise_and_sentence"
        self.sentence = nn.Linear(setting.word_dim, config.sentence_dim)
        self.first = nn.Linear(joined, 4 * 4 * widths[0])

        def by_vector(channels: int) -> nn.Module:
            return SelfModulation(channels, vector_dim)

        def by_map(channels: int) -> nn.Module:
            return AttentionalModulation(channels, setting.word_dim + vector_dim)

        fine = by_map if self.attentional else by_vector
        self.coarse_blocks = nn.ModuleList(UpBlock(i, o, by_vector) for i, o in pairs(widths[:3]))
        self.fine_blocks = nn.ModuleList(UpBlock(i, o, fine) for i, o in pairs(widths[2:]))
        self.query = nn.Conv2d(widths[2], setting.word_dim, 1) if self.attentional else None
        self.last_modulation = fine(widths[-1])
        self.to_image = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, text: Text, noise: Tensor) -> Tensor:
        """Coarse blocks up to 16x16 know the sentence, the finer ones the words as well."""
        sentence = self.sentence(text.sentence)
        vector = torch.cat([sentence, noise], 1)
        x = self.first(torch.cat([noise, sentence], 1) if self.joined else noise)
        x = x.view(len(x), 4, 4, -1).permute(0, 3, 1, 2)  # (B, C, 4, 4), from the reference's H, W, C order
        for block in self.coarse_blocks:
            x = block(x, vector)
        condition = vector if self.query is None else self.word_map(self.query(x), text, vector)
        for block in self.fine_blocks:
            x = block(x, condition)
        x = self.to_image(F.relu(self.last_modulation(x, condition)))
        return (torch.tanh(x.float()) + 1) / 2

    def word_map(self, query: Tensor, text: Text, vector: Tensor) -> Tensor:
        """At each of 16x16 places the words seen there, the sentence and the noise: ``(B, D, 16, 16)``."""
        regions = query.flatten(2).transpose(1, 2)  # row major: region = y * 16 + x
        context = word_attention(regions, text.words.to(regions.dtype), text.mask, self.sharpness)
        context = context.transpose(1, 2).unflatten(2, query.shape[2:])
        everywhere = vector[:, :, None, None].expand(-1, -1, *query.shape[2:])
        return torch.cat([context.to(everywhere.dtype), everywhere], 1)


# ---------------------------------------------------------------------------- discriminator


class Judgement(NamedTuple):
    """What the discriminator says of 2B images (real, then generated) with B captions."""

    logits: Tensor  # (2B,)
    features: Tensor  # (2B, C) pooled, behind the contrastive head if there is one
    regions: Tensor  # (2B, 256, D) one vector a place at 16x16, comparable with word vectors
    sentence: Tensor  # (B, C) the captions among the features


class FirstBlock(nn.Module):
    """Image to features at half the size; nothing is activated before the first convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = SpectralConv2d(3, channels, 3, padding=1)
        self.conv1 = SpectralConv2d(channels, channels, 3, padding=1)
        self.shortcut = SpectralConv2d(3, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, C, H/2, W/2)``."""
        return F.avg_pool2d(self.conv1(F.relu(self.conv0(x))), 2) + self.shortcut(F.avg_pool2d(x, 2))


class DownBlock(nn.Module):
    """Residual block that halves the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = SpectralConv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = SpectralConv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = SpectralConv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H/2, W/2)``. Pooling before the 1x1 shortcut gives the same sum."""
        main = self.conv1(F.relu(self.conv0(F.relu(x))))
        return F.avg_pool2d(main, 2) + self.shortcut(F.avg_pool2d(x, 2))


class SameBlock(nn.Module):
    """Residual block that keeps size and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = SpectralConv2d(channels, channels, 3, padding=1)
        self.conv1 = SpectralConv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        return x + self.conv1(F.relu(self.conv0(F.relu(x))))


def head(width: int, layers: int) -> nn.Sequential:
    """A perceptron that keeps the width, rectified between its layers; of no layers, nothing.

    The paper's ablation of deeper contrastive heads gives no more than their number of layers; that the logit stays
    before them, and that words and sentences pass through none, is our reading.
    """
    dense = [SpectralLinear(width, width) for _ in range(layers)]
    return nn.Sequential(*[part for layer in dense for part in (nn.ReLU(), layer)][1:])


class Discriminator(nn.Module):
    """Images in [0, 1] with captions to logits, and to features that contrastive losses compare."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        widths = [level * config.discriminator_channels for level in DISCRIMINATOR_LEVELS[setting.image_size]]
        down = [DownBlock(i, o) for i, o in pairs(widths[:-1])]
        self.blocks = nn.ModuleList([FirstBlock(widths[0]), *down, SameBlock(widths[-1])])
        halvings = (setting.image_size // ATTENTION_SIZE).bit_length() - 1
        self.region_block = halvings - 1
        self.to_regions = SpectralConv2d(widths[halvings - 1], setting.word_dim, 1)
        self.sentence = SpectralLinear(setting.word_dim, widths[-1])
        self.logit = SpectralLinear(widths[-1], 1)
        self.image_head = head(widths[-1], config.contrastive.head_layers)
        self.region_head = head(setting.word_dim, config.contrastive.head_layers)

    def forward(self, images: Tensor, sentence: Tensor) -> Judgement:
        """Images (2B, 3, S, S), the first B of them real; sentence (B, D) serves both halves."""
        x = images
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == self.region_block:
                regions = self.region_head(self.to_regions(x).flatten(2).transpose(1, 2))
        features = F.relu(x).sum((2, 3))
        projected = self.sentence(sentence)
        match = (features * projected.repeat(len(images) // len(sentence), 1)).sum(1)
        return Judgement(self.logit(features).squeeze(1) + match, self.image_head(features), regions, projected)
