"""Convolution and dense layer whose weight is divided by its largest singular value.

Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018, in the form of the
XMC-GAN code (google-research/xmcgan_image_generation, 2021): one power iteration at every forward, stored
only in training; the start vector is N(0, 0.01^2) and not normalised. torch's parametrisation differs in
its epsilon, its start and its fifteen warm-up iterations.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-10


def spectral_normalise(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A weight ``(out, ...)`` divided by its spectral norm, and the next ``u`` ``(1, out)``.

    The singular vectors are constants; the gradient flows through the weight in the norm as well.
    """
    with torch.autocast(weight.device.type, enabled=False):
        matrix = weight.flatten(1)  # (out, in)
        with torch.no_grad():
            v = unit(u @ matrix)
            new_u = unit(v @ matrix.T)
        sigma = (v @ matrix.T @ new_u.T).squeeze()
        return weight / (sigma + EPSILON), new_u


def unit(x: Tensor) -> Tensor:
    """A row vector of length one."""
    return x * torch.rsqrt(x.square().sum() + EPSILON)


def start(length: int) -> Tensor:
    """The start vector; without numbers where shapes alone are built, for which torch would load its compiler."""
    vector = torch.empty(1, length)
    return vector if vector.is_meta else vector.normal_() * 0.01


class SpectralConv2d(nn.Conv2d):
    """``nn.Conv2d`` with a spectrally normalised weight."""

    u: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        self.register_buffer("u", start(out_channels))

    def forward(self, input: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H', W')``."""
        weight, u = spectral_normalise(self.weight, self.u)
        if self.training:
            self.u = u
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class SpectralLinear(nn.Linear):
    """``nn.Linear`` with a spectrally normalised weight."""

    u: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("u", start(out_features))

    def forward(self, input: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        weight, u = spectral_normalise(self.weight, self.u)
        if self.training:
            self.u = u
        return F.linear(input, weight, self.bias)
