"""What a metric is. The folder is the registry: a module in ``metrics/`` exports ``METRICS``, a tuple of these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from t2icli.evaluation.features import Features, Pictures

REAL = " (real)"  # after a key: the same figure of the real images


@dataclass(frozen=True)
class Score:
    """What a metric says of one generated side."""

    values: Mapping[str, float]  # the first is the headline
    details: Mapping[str, Any] = field(default_factory=dict)  # for reports, e.g. a row a label; plain types only


def nothing_more(pictures: Pictures) -> None:
    """Most metrics ask for nothing beyond what a row can say."""


Compute = Callable[[Sequence[Features], Features | None], list[Score]]


@dataclass(frozen=True)
class Metric:
    """One figure, computed from what one network says of the pictures; variants are rows of one module."""

    name: str  # as results and ``--metrics`` call it
    network: str  # the module in ``networks/`` whose layers it reads
    better: Literal["lower", "higher"]
    compute: Compute  # generated sides (one a noise seed) and the real side -> a score for each generated side
    needs_real: bool = False  # whether it compares with real images
    needs_captions: bool = False  # whether it compares pictures with captions
    reads_negatives: bool = False  # whether it also looks at captions of other pictures
    fewest: int = 1  # images that each side it looks at must have
    check: Callable[[Pictures], object] = nothing_more  # ``UserError`` where generated pictures lack what it asks for
    statistics: int = 0  # features whose mean and covariance may stand for the real side; 0: it needs the images
    only: str = ""  # the data set whose pictures alone its network can judge; empty: any
    signed: bool = False  # whether it is an unbiased estimate, of which a value below zero is no rounding
    pictures: Literal["drawn", "objects"] = "drawn"  # those of the protocol's captions, or those of SOA's lists
    shows_network: bool = False  # whether results call it ``name[network]``, as SOA's do
    shown_as: str = ""  # the name in results, where rows differ in nothing but the network that they then show

    def title(self, facts: Mapping[str, Any]) -> str:
        """The name in a result, given what the network says of itself."""
        name = self.shown_as or self.name
        return f"{name}[{facts['network']}]" if self.shows_network else name
