"""What every auxiliary loss of the generator offers to the training loop."""

from torch import Tensor, nn

from t2icli.batch import Batch, Fake
from t2icli.recipe import Section, weight
from t2icli.weights import Found


class TermConfig(Section):
    """What the table of every term has."""

    weight: float = weight("of the loss; a term of weight zero is not built")

    def pretrained(self) -> tuple[str, ...]:
        """Names of the published weights that the term needs."""
        return ()


class Term(nn.Module):
    """A loss through a frozen network, usable with every system that yields images.

    A term file exports ``Config`` and ``build(config, setting, weights)``. The weight of the recipe is applied
    inside; the real side of a comparison carries no gradient.
    """

    used: tuple[Found, ...] = ()  # pretrained weights, for the run's card

    def forward(self, batch: Batch, fake: Fake) -> Tensor:
        """The weighted loss, a scalar."""
        raise NotImplementedError
