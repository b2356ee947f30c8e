"""What every encoder that ``t2i pretrain-encoders`` trains offers to its loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.optim import Optimizer

from t2icli.batch import Pairs
from t2icli.encoders._words import WordEncoder
from t2icli.recipe import Clock, Decay, Section
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Found

Losses = dict[str, Tensor]  # name -> scalar, already weighted; their sum is what is minimised


class EpochDecay(Section):
    """Adam whose rate shrinks a little every epoch: AttnGAN's schedule for matchers."""

    images: Clock = Field(
        1_771_000, description="length of the phase in real images shown; by default CUB's 200 epochs, AttnGAN's pick"
    )
    rate: PositiveFloat = Field(2e-3, description="first learning rate")
    decay: PositiveFloat = Field(0.98, le=1, description="factor of the rate after every epoch")
    floor: PositiveFloat = Field(2e-4, description="the rate no longer shrinks once it is this small")
    betas: tuple[Decay, Decay] = (0.5, 0.999)
    clip: float = Field(0.25, ge=0, description="largest norm of the text encoder's gradient; 0: not clipped")
    restart: bool = Field(True, description="a new Adam every epoch, its averages forgotten, as the code has it")

    def rate_at(self, images: int, epoch: int) -> float:
        """The rate after so many images, with ``epoch`` images in an epoch."""
        rate = self.rate
        for _ in range(images // epoch):
            if rate <= self.floor:
                break
            rate *= self.decay
        return rate


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which some of the parameters learn from one set of losses."""

    name: str
    images: int  # length in real images shown
    parameters: Sequence[nn.Parameter]  # those that learn
    losses: Callable[[Pairs], Losses]
    optimizer: Callable[[Sequence[nn.Parameter]], Optimizer]
    rate: Callable[[int, int], float]  # (images shown in this phase, images in an epoch) -> learning rate
    clipped: Sequence[nn.Parameter] = ()  # whose gradient's norm is limited
    clip: float = 0.0  # to this
    restart: bool = False  # make the optimizer anew every epoch
    chosen_by: str | None = (
        None  # a measure of ``validate``: the weights with its highest value are kept, else the last
    )


class Encoder(nn.Module, ABC):
    """Networks that are trained on real images and captions, and frozen when a generator is trained.

    A file of the folder exports ``Config`` (the recipe's [model] table), and ``build(config, vocabulary, weights)``:
    ``weights`` gives pretrained backbones when training begins, and is None when the tensors come from a file.
    A subclass sets ``config`` and ``vocabulary`` and writes the two methods. It never calls backward
    or steps an optimizer.
    """

    validation_images: ClassVar[int] = 1000  # held-out images that ``validate`` is given, fewer where there are fewer
    config: Section
    vocabulary: Vocabulary
    used: tuple[Found, ...] = ()  # pretrained weights that it began with, for the run's card

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """How it is trained, one phase after the other."""

    @abstractmethod
    def validate(self, held_out: Iterable[Pairs]) -> Mapping[str, float]:
        """How well it does on held-out pairs (batches in a fixed order), in evaluation mode."""


class Matcher(Encoder):
    """An encoder that puts captions and images into one space, and so can be used by terms, readers and metrics."""

    text: WordEncoder
    gammas: tuple[float, float, float]  # sharpness of a word's look at regions, of pooling words, and of scores

    @abstractmethod
    def read_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, S, S)`` in [-1, 1] to regions ``(B, R, D)`` and whole ``(B, D)``."""
