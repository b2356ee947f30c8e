"""The types that flow through training; the only place where their shapes are explained.

B images, T word positions, D numbers per word vector, S pixels a side, Z numbers of noise.
"""

from dataclasses import dataclass, field, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """Captions as a frozen text encoder gives them."""

    words: Tensor  # (B, T, D) one vector a token (BERT's [CLS] and [SEP] included); zero where the mask is False
    sentence: Tensor  # (B, D)
    mask: Tensor  # (B, T) bool, True where a token is
    tokens: Tensor  # (B, T) ids in the vocabulary of the encoder, 0 where the mask is False

    def to(self, device: torch.device) -> Self:
        """The same captions on a device."""
        return type(self)(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


@dataclass(frozen=True)
class Pairs:
    """Real images, each with one of its captions."""

    image: Tensor  # (B, 3, S, S) float in [-1, 1]
    captions: tuple[str, ...]  # B texts
    classes: Tensor  # (B,) int64, -1 where the data set has none; images of one class are no negatives of each other


@dataclass(frozen=True)
class Loaded:
    """What the loader gives for one update; pictures are bytes until they lie on the device that trains."""

    image: Tensor  # (B, 3, S, S) uint8, channels last in memory
    captions: tuple[str, ...]  # as in ``Pairs``, and so are classes
    classes: Tensor
    noise: Tensor  # (B, Z) standard normal
    stored: Text | None  # BERT's vectors of the captions; None: a matcher will read them

    def pairs(self, device: torch.device) -> Pairs:
        """The pictures with their captions, on a device."""
        image = self.image.to(device, non_blocking=True).float().div_(127.5).sub_(1)
        return Pairs(image, self.captions, self.classes.to(device, non_blocking=True))


@dataclass(frozen=True)
class Batch:
    """Real images with their captions, and the noise for the images to be generated from them."""

    image: Tensor  # (B, 3, S, S) float in [-1, 1]
    text: Text
    noise: Tensor  # (B, Z) standard normal
    captions: tuple[str, ...]  # B texts that terms may read with encoders of their own
    classes: Tensor  # (B,) as in ``Pairs``


@dataclass(frozen=True)
class Fake:
    """What a generator yields."""

    images: tuple[Tensor, ...]  # coarse to fine, each (B, 3, s, s) in [-1, 1]
    extras: dict[str, Tensor] = field(default_factory=dict)  # e.g. "mu", "logvar"

    def detach(self) -> "Fake":
        """The same values without their history."""
        return Fake(tuple(i.detach() for i in self.images), {k: v.detach() for k, v in self.extras.items()})
