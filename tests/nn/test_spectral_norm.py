import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from t2icli.nn.spectral_norm import EPSILON, SpectralConv2d, SpectralLinear, spectral_normalise

GOLDEN = json.loads((Path(__file__).parents[1] / "reference" / "xmcgan.json").read_text())["spectral_dense"]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def layers() -> list[tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    return [
        (SpectralLinear(6, 4), torch.randn(3, 6)),
        (SpectralConv2d(3, 5, 3, padding=1), torch.randn(2, 3, 7, 7)),
        (SpectralConv2d(3, 5, 1), torch.randn(2, 3, 7, 7)),
    ]


@pytest.fixture(params=range(3), ids=["linear", "conv 3x3", "conv 1x1"])
def layer_and_input(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    return layers()[request.param]


def test_dense_layer_of_the_official_code() -> None:
    layer = SpectralLinear(4, 3)
    layer.weight.data.copy_(normal(5, 4, 3).T)
    layer.bias.data.zero_()
    layer.u.copy_(normal(7, 1, 3))
    torch.testing.assert_close(layer(normal(6, 2, 4)), torch.tensor(GOLDEN["y"]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.u, torch.tensor(GOLDEN["new_u0"]), atol=1e-6, rtol=1e-6)
    for _ in range(200):
        layer(normal(6, 2, 4))
    expected = normal(6, 2, 4) @ normal(5, 4, 3) / GOLDEN["true_sigma"]
    torch.testing.assert_close(layer(normal(6, 2, 4)), expected, atol=1e-5, rtol=1e-5)


def test_norm_becomes_the_largest_singular_value(layer_and_input: tuple[nn.Module, Tensor]) -> None:
    layer, x = layer_and_input
    for _ in range(300):
        layer(x)
    normalised, _ = spectral_normalise(layer.weight, layer.u)
    top = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
    torch.testing.assert_close(normalised, layer.weight / top, atol=1e-5, rtol=1e-4)


def test_scale_of_the_weight_does_not_matter(layer_and_input: tuple[nn.Module, Tensor]) -> None:
    layer, x = layer_and_input
    layer(x)  # from here on u has length one
    layer.eval()
    before = layer(x)
    layer.weight.data.mul_(13.0)
    torch.testing.assert_close(layer(x), before, atol=1e-5, rtol=1e-5)


def test_only_training_stores_an_iteration(layer_and_input: tuple[nn.Module, Tensor]) -> None:
    layer, x = layer_and_input
    layer.eval()
    kept = layer.u.clone()
    first = layer(x)
    assert torch.equal(layer.u, kept) and torch.equal(layer(x), first)
    layer.train()
    layer(x)
    assert not torch.equal(layer.u, kept)
    assert layer.u.norm().item() == pytest.approx(1, abs=1e-5) and not layer.u.requires_grad


def test_start_vector_is_small_and_saved() -> None:
    torch.manual_seed(0)
    layer = SpectralLinear(2, 20_000)
    assert layer.u.shape == (1, 20_000) and "u" in layer.state_dict()
    assert layer.u.std().item() == pytest.approx(0.01, rel=0.03)


def test_gradient_flows_through_the_norm() -> None:
    torch.manual_seed(1)
    weight, u, probe = torch.randn(4, 3, 3, 3).double(), torch.randn(1, 4).double(), torch.randn(4, 3, 3, 3).double()
    ours, naive = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    normalised, new_u = spectral_normalise(ours, u)
    (normalised * probe).sum().backward()

    matrix = naive.reshape(4, 27)
    v = u[0] @ matrix.detach()
    v = v / (v.square().sum() + EPSILON).sqrt()
    next_u = matrix.detach() @ v
    next_u = next_u / (next_u.square().sum() + EPSILON).sqrt()
    sigma = next_u @ matrix @ v
    (naive / (sigma + EPSILON) * probe).sum().backward()
    torch.testing.assert_close(ours.grad, naive.grad)
    torch.testing.assert_close(new_u[0], next_u)


def test_norm_is_float32_under_autocast(layer_and_input: tuple[nn.Module, Tensor]) -> None:
    layer, x = layer_and_input
    expected = spectral_normalise(layer.weight, layer.u)
    with torch.autocast("cpu", torch.bfloat16):
        found = spectral_normalise(layer.weight, layer.u)
        assert layer(x).dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
