"""What every auxiliary loss of the generator offers to the training loop."""

from abc import ABC, abstractmethod

from pydantic import Field
from torch import Tensor, nn

from t2icli.batch import Batch, Fake
from t2icli.recipe import Section, weight
from t2icli.weights import Found

Losses = dict[str, Tensor]  # name -> scalar, already weighted


class TermConfig(Section):
    """What the table of every term has."""

    weight: float = weight("of the loss; a term of weight zero is not built")
    warm_up: int = Field(0, ge=0, le=1 << 53, description="real images over which the weight rises evenly from zero")

    def pretrained(self) -> tuple[str, ...]:
        """Names of the published weights that the term needs."""
        return ()


class Term(nn.Module, ABC):
    """A loss through a frozen network, usable with every system that yields images.

    A term file exports ``Config`` and ``build(config, setting, weights)``. The weight of the recipe is applied
    inside; the real side of a comparison carries no gradient.
    """

    warm_up: int = 0  # real images over which the weight rises from zero; the loop sees to it
    used: tuple[Found, ...] = ()  # pretrained weights, for the run's card and to know the run by

    @abstractmethod
    def forward(self, batch: Batch, fake: Fake) -> Losses:
        """The weighted losses by name."""
