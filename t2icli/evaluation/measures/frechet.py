"""The Fréchet distance between two Gaussians fitted to features; float64 throughout.

Heusel et al. 2017 (arXiv 1706.08500), eq. 6. The name FID belongs to it only on Inception features.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from t2icli.errors import UserError


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance (divisor N - 1)."""

    mean: Tensor  # (F,)
    covariance: Tensor  # (F, F)

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance; kept, since one real side meets several generated ones."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def gaussian(features: Tensor) -> Gaussian:
    """Fit features (N, F)."""
    if len(features) < 2:
        raise UserError(f"a Fréchet distance needs at least 2 images on each side, and has {len(features)}")
    features = features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    return Gaussian(mean, centred.T @ centred / (len(features) - 1))


def distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|² + tr C1 + tr C2 - 2 tr (C1 C2)^½; rounding may leave a tiny negative value, which is kept.

    With R = C1^½ the last trace is the sum of square roots of the eigenvalues of the symmetric R C2 R, so that
    nothing complex and no regularisation comes in (the field's `sqrtm` of C1 C2 needs both).
    """
    between = torch.linalg.eigvalsh(first.root @ second.covariance @ first.root)
    trace = first.covariance.trace() + second.covariance.trace() - 2 * between.clamp(min=0).sqrt().sum()
    return float((first.mean - second.mean).square().sum() + trace)
