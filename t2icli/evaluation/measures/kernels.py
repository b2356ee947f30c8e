"""Kernel distances between two sets of features: KID and CMMD, both a squared maximum mean discrepancy; float64.

KID: Bińkowski et al. 2018 (arXiv 1801.01401). CMMD: Jayasumana et al. 2024 (arXiv 2401.09603).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from t2icli.console import progress
from t2icli.errors import UserError

BLOCK = 1 << 22  # entries of a kernel matrix held at once, 32 MiB in float64
CMMD_SIGMA = 10.0  # width of the Gaussian kernel
CMMD_SCALE = 1000.0  # by which the field multiplies the distance to print it


@dataclass(frozen=True)
class Kid:
    """Kernel Inception Distance over random subsets; the mean of an unbiased estimate may be below zero."""

    mean: float
    std: float  # over the subsets, divisor their number


@dataclass(frozen=True)
class GaussianMeans:
    """Means of a Gaussian kernel over all pairs, each picture with itself included."""

    first: float  # within the first set
    second: float  # within the second set
    between: float
    counts: tuple[int, int]

    @property
    def biased(self) -> float:
        """The squared discrepancy with the diagonals kept in the means, never below zero but for rounding."""
        return self.first + self.second - 2 * self.between

    @property
    def unbiased(self) -> float:
        """The same without the diagonals, where the kernel is 1; may be below zero."""
        if min(self.counts) < 2:
            raise UserError(f"an unbiased kernel distance needs at least 2 images a side, and has {self.counts}")
        within = [
            (mean * count - 1) / (count - 1) for mean, count in zip((self.first, self.second), self.counts, strict=True)
        ]
        return sum(within) - 2 * self.between


def polynomial_mmd2(first: Tensor, second: Tensor) -> float:
    """Unbiased squared discrepancy of features (n, F) and (m, F) under the kernel (a·b / F + 1)³, that of KID."""
    if min(len(first), len(second)) < 2:
        raise UserError(f"KID needs at least 2 images a side, and has {len(first)} and {len(second)}")
    first, second = first.double(), second.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(features: Tensor) -> Tensor:
        matrix = kernel(features, features)
        return (matrix.sum() - matrix.trace()) / (len(features) * (len(features) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def kid(generated: Tensor, real: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 2020) -> Kid:
    """KID of features (N, F) and (M, F): mean and spread over random subsets drawn without replacement.

    The subsets are those of torch-fidelity for the same seed. Fewer images than ``subset_size`` are refused.
    """
    if min(len(generated), len(real)) < subset_size:
        raise UserError(
            f"KID draws subsets of {subset_size:,} images from each side, and there are {len(generated):,} generated "
            f"and {len(real):,} real ones"
        )
    random = np.random.RandomState(seed)

    def draw(features: Tensor) -> Tensor:
        return features[torch.from_numpy(random.choice(len(features), subset_size, replace=False))]

    values = []
    with progress("Kernel distances", subsets, "subsets") as advance:
        for _ in range(subsets):
            values.append(polynomial_mmd2(draw(generated), draw(real)))
            advance(1)
    return Kid(float(np.mean(values)), float(np.std(values)))


def gaussian_mean(first: Tensor, second: Tensor, sigma: float) -> float:
    """Mean of exp(-|a - b|² / (2 sigma²)) over all pairs of rows of (n, F) and (m, F), block by block."""
    squares = second.square().sum(dim=1)
    total = 0.0
    with progress("Kernel means", len(first), "images") as advance:
        for rows in first.split(max(1, BLOCK // len(second))):
            squared = torch.addmm(rows.square().sum(dim=1)[:, None] + squares, rows, second.T, alpha=-2)
            total += float(squared.clamp_(min=0).div_(-2 * sigma**2).exp_().sum())
            advance(len(rows))
    return total / (len(first) * len(second))


def cmmd(generated: Tensor, real: Tensor, sigma: float = CMMD_SIGMA) -> GaussianMeans:
    """What CMMD is made of, for embeddings (N, F) and (M, F), which are brought to length 1 here.

    The published code keeps the diagonals, so ``CMMD_SCALE * cmmd(...).biased`` is the figure others print.
    """
    if min(len(generated), len(real)) < 1:
        raise UserError(f"CMMD needs images on both sides, and has {len(generated)} generated, {len(real)} real ones")
    first, second = (torch.nn.functional.normalize(side.double(), dim=1) for side in (generated, real))
    return GaussianMeans(
        gaussian_mean(first, first, sigma),
        gaussian_mean(second, second, sigma),
        gaussian_mean(first, second, sigma),
        (len(first), len(second)),
    )
