"""How weights start."""

import math

from torch import nn

TRUNCATED_STD = 0.87962566103423978  # standard deviation of a unit normal cut at two


def glorot_normal(module: nn.Module) -> None:
    """Fill every convolution and dense layer as JAX's ``glorot_normal`` does, biases with zero.

    The normal is cut at two standard deviations and widened so that its deviation is
    sqrt(2 / (fan_in + fan_out)) again; the fans of a convolution include its kernel's area.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            receptive = layer.weight[0, 0].numel() if layer.weight.dim() > 2 else 1
            fans = (layer.weight.shape[0] + layer.weight.shape[1]) * receptive
            std = math.sqrt(2.0 / fans) / TRUNCATED_STD
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
