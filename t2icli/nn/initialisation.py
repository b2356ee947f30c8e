"""How weights start."""

import math

from torch import nn

from t2icli.nn.batch_norm import AffineBatchNorm

TRUNCATED_STD = 0.87962566103423978  # standard deviation of a unit normal cut at two


def glorot_normal(module: nn.Module) -> None:
    """Fill every convolution and dense layer as JAX's ``glorot_normal`` does, biases with zero.

    The normal is cut at two standard deviations and widened so that its deviation is
    sqrt(2 / (fan_in + fan_out)) again; the fans of a convolution include its kernel's area.
    """
    if is_outline(module):
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            receptive = layer.weight[0, 0].numel() if layer.weight.dim() > 2 else 1
            fans = (layer.weight.shape[0] + layer.weight.shape[1]) * receptive
            std = math.sqrt(2.0 / fans) / TRUNCATED_STD
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def orthogonal(module: nn.Module) -> None:
    """Fill weights as the AttnGAN code does: orthogonal convolutions and dense layers, norms near one.

    Biases of dense layers and norms are zero; those of convolutions stay as torch draws them.
    """
    if is_outline(module):
        return
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if isinstance(layer, AffineBatchNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def is_outline(module: nn.Module) -> bool:
    """Whether a network has shapes only; to fill those, torch would load its compiler, which takes seconds."""
    return any(parameter.is_meta for parameter in module.parameters())
