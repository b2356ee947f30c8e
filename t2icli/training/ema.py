"""The averaged generator, which is the one that draws."""

import copy

import torch
from torch import nn


class Ema:
    """A copy of a network whose weights follow it slowly, from its first update on.

    Weights are averaged, buffers copied: XMC-GAN evaluates averaged weights with the trained network's own
    running statistics.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move one update towards the trained weights."""
        for averaged, trained in zip(self.network.parameters(), network.parameters(), strict=True):
            averaged.lerp_(trained, 1 - self.decay)
        for own, current in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(current)
