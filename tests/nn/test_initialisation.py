import math

import pytest
import torch
from torch import nn

from t2icli.nn.batch_norm import AffineBatchNorm
from t2icli.nn.initialisation import TRUNCATED_STD, glorot_normal, orthogonal
from t2icli.nn.spectral_norm import SpectralConv2d, SpectralLinear

LAYERS = {  # and the sum of fans
    "linear": (lambda: nn.Linear(200, 300), 500),
    "conv 3x3": (lambda: nn.Conv2d(40, 80, 3), 120 * 9),
    "conv 1x1": (lambda: nn.Conv2d(200, 300, 1), 500),
    "spectral linear": (lambda: SpectralLinear(200, 300), 500),
    "spectral conv": (lambda: SpectralConv2d(40, 80, 3), 120 * 9),
}


@pytest.mark.parametrize("name", LAYERS)
def test_deviation_cut_and_zero_bias(name: str) -> None:
    torch.manual_seed(0)
    make, fans = LAYERS[name]
    layer = make()
    glorot_normal(layer)
    deviation = math.sqrt(2 / fans)
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.02 * deviation)
    cut = 2 * deviation / TRUNCATED_STD
    assert 0.98 * cut < layer.weight.abs().max().item() <= cut * (1 + 1e-6)
    assert not layer.bias.any()


def test_constant_is_the_deviation_of_a_cut_normal() -> None:
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    inside = math.erf(math.sqrt(2))
    assert math.sqrt(1 - 2 * 2 * density / inside) == pytest.approx(TRUNCATED_STD, abs=1e-9)


def test_reaches_every_layer_and_nothing_else() -> None:
    torch.manual_seed(0)
    spectral = SpectralLinear(4, 4)
    scale = nn.BatchNorm2d(3)
    u = spectral.u.clone()
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1, bias=False)), scale, spectral)
    before = network[0][0].weight.clone()
    glorot_normal(network)
    assert not torch.equal(network[0][0].weight, before)
    assert torch.equal(spectral.u, u) and torch.equal(scale.weight, torch.ones(3))


def test_orthogonal_convolutions_and_norms_near_one() -> None:
    torch.manual_seed(0)
    tall, wide, norm = nn.Linear(8, 20), nn.Conv2d(6, 4, 3), AffineBatchNorm(4000)
    drawn = wide.bias.clone()
    orthogonal(nn.Sequential(tall, nn.Sequential(wide, norm)))
    torch.testing.assert_close(tall.weight.T @ tall.weight, torch.eye(8), atol=1e-5, rtol=0)
    flat = wide.weight.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(4), atol=1e-5, rtol=0)
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.002)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not tall.bias.any() and not norm.bias.any()
    assert torch.equal(wide.bias, drawn)
