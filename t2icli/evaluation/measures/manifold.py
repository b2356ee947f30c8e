"""Precision, recall, density and coverage: how far two sets of features lie inside each other's neighbourhoods.

Improved precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991). Density and coverage: Naeem et al. 2020
(arXiv 2002.09797). Both draw a ball round each picture, as far as its k-th nearest neighbour on its own side.

Distances are squared and in float64, by blocks, so that no matrix of all pairs is ever held.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from t2icli.console import progress
from t2icli.errors import UserError

BLOCK = 1 << 22  # distances held at once, 32 MiB in float64
# Squared distances closer than this share of the squared lengths are equal. A scalar product of F numbers errs by less
# than F x 1.1e-16 of the lengths, 5e-13 for F = 4096, and features are known to 1e-7; without it a generator that
# copies real pictures, whose distances are exactly a radius, would be judged by how a block happens to be rounded.
EQUAL = 1e-11


@dataclass(frozen=True)
class Overlap:
    """Shares of pictures, but for the density, which may exceed 1."""

    precision: float  # generated pictures inside the ball of some real one
    recall: float  # real pictures inside the ball of some generated one
    density: float  # how many balls of real pictures a generated one lies in, in units of k
    coverage: float  # real pictures whose ball holds some generated one


@dataclass(frozen=True)
class Side:
    """Features (N, F) float64 with the squared length of each row, (N,)."""

    features: Tensor
    squares: Tensor

    @property
    def rows_at_once(self) -> int:
        """How many rows of distances to this side make a block."""
        return max(1, BLOCK // len(self.features))


def side(features: Tensor) -> Side:
    """A side whose distances will be asked for."""
    features = features.double()
    return Side(features, features.square().sum(dim=1))


def squared_distances(rows: Tensor, squares: Tensor, other: Side) -> tuple[Tensor, Tensor]:
    """Squared distances of rows (n, F) to all of ``other``, (n, M), and the difference that rounding may make."""
    lengths = squares[:, None] + other.squares
    return torch.addmm(lengths, rows, other.features.T, alpha=-2).clamp_(min=0), lengths.mul_(EQUAL)


def squared_radii(of: Side, k: int) -> Tensor:
    """Squared distance of each row to its k-th nearest other row, (N,)."""
    radii = []
    with progress("Nearest neighbours", len(of.features), "images") as advance:
        for rows, squares in zip(of.features.split(of.rows_at_once), of.squares.split(of.rows_at_once), strict=True):
            # A row's distance to itself is 0, the smallest there is, so its k-th other neighbour stands at k + 1.
            radii.append(squared_distances(rows, squares, of)[0].kthvalue(k + 1, dim=1).values)
            advance(len(rows))
    return torch.cat(radii)


def neighbour_radii(features: Tensor, k: int) -> Tensor:
    """Distance of each row of (N, F) to its k-th nearest other row, (N,) float64."""
    check(len(features), "", k)
    return squared_radii(side(features - features.double().mean(dim=0)), k).sqrt()


def overlap(generated: Tensor, real: Tensor, k: int, closed: bool) -> Overlap:
    """All four figures for features (M, F) and (N, F); ``closed`` balls hold their surface.

    Kynkäänniemi et al. use k = 3 and closed balls (``<=``), Naeem et al. k = 5 and open ones (``<``).
    """
    check(len(generated), "generated ", k)
    check(len(real), "real ", k)
    centre = real.double().mean(dim=0)  # short vectors make small rounding errors
    fake, truth = side(generated - centre), side(real - centre)
    fake_radii, real_radii = squared_radii(fake, k), squared_radii(truth, k)
    inside_real = inside_count = 0
    covered, recalled = (torch.zeros(len(real), dtype=torch.bool) for _ in range(2))
    at_once = truth.rows_at_once
    blocks = (tensor.split(at_once) for tensor in (fake.features, fake.squares, fake_radii))
    with progress("Pictures among each other's neighbours", len(generated), "images") as advance:
        for rows, squares, radii in zip(*blocks, strict=True):
            distances, equal = squared_distances(rows, squares, truth)
            distances += -equal if closed else equal
            in_balls = distances <= real_radii if closed else distances < real_radii
            inside_real += int(in_balls.any(dim=1).sum())
            inside_count += int(in_balls.sum())
            covered |= in_balls.any(dim=0)
            reached = distances <= radii[:, None] if closed else distances < radii[:, None]
            recalled |= reached.any(dim=0)
            advance(len(rows))
    return Overlap(
        precision=inside_real / len(generated),
        recall=float(recalled.double().mean()),
        density=inside_count / (k * len(generated)),
        coverage=float(covered.double().mean()),
    )


def check(count: int, whose: str, k: int) -> None:
    """Whether every image has k others."""
    if count <= k:
        raise UserError(f"{k} nearest neighbours need at least {k + 1} {whose}images, and there are {count}")
