"""What every system offers to the training loop."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn

from t2icli.batch import Batch, Fake, Text

Losses = dict[str, Tensor]  # name -> scalar, already weighted; their sum is what is minimised


class System(nn.Module, ABC):
    """A generator, its discriminator (an ``nn.ModuleList`` when there are several) and their losses.

    A subclass sets the three attributes and writes the three methods. It never calls backward, steps an
    optimizer or knows about processes. Frozen networks belong to terms, not here.
    """

    update: ClassVar[Literal["alternating", "simultaneous"]] = "alternating"
    generator: nn.Module
    discriminator: nn.Module
    noise_dim: int

    @abstractmethod
    def generate(self, text: Text, noise: Tensor) -> Fake:
        """Images for captions; noise ``(B, noise_dim)``."""

    @abstractmethod
    def d_losses(self, batch: Batch, fake: Fake) -> Losses:
        """What the discriminator minimises."""

    @abstractmethod
    def g_losses(self, batch: Batch, fake: Fake) -> Losses:
        """What the generator minimises, without the recipe's terms."""

    def drawing_noise(self, noise: Tensor) -> Tensor:
        """What ``generate`` is given when pictures are drawn for people and scores, from standard normal noise."""
        return noise

    def joint_losses(self, batch: Batch, fake: Fake) -> tuple[Losses, Losses]:
        """Both from one pass of the discriminator, for ``update = "simultaneous"``; nothing is detached."""
        return self.d_losses(batch, fake), self.g_losses(batch, fake)
