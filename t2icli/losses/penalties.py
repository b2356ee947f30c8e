"""Penalties on the gradient of a discriminator; they need double backward and float32."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["joint", "sum"]
TINY = 1e-24  # least square of a norm: at zero a power below one of it has no finite derivative


def matching_aware(score: Tensor, inputs: Sequence[Tensor], power: float, norm: Norm) -> Tensor:
    """Mean of the gradient's norm to a power: Tao et al., "DF-GAN", CVPR 2022, matching-aware gradient penalty.

    ``score`` (B,) of real images with their own captions; ``inputs`` the images and the sentences it was made from,
    which require gradients. ``joint`` is the length of both gradients together, as in the released code; ``sum`` adds
    the two lengths, as the paper prints it.
    """
    gradients = torch.autograd.grad(score.sum(), inputs, create_graph=True)
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])  # (inputs, B)
    if norm == "sum":
        return squares.clamp_min(TINY).sqrt().sum(0).pow(power).mean()
    return squares.sum(0).clamp_min(TINY).pow(power / 2).mean()  # no root of its own: squares to half the power
