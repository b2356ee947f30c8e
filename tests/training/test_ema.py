"""The average by its closed form."""

import torch
from torch import nn

from t2icli.training.ema import Ema


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()


def move(trained: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """New weights and new statistics, as a step leaves them."""
    trained.load_state_dict(network(seed).state_dict())
    trained(torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return {name: value.clone() for name, value in trained.state_dict().items()}


def test_weights_are_averaged_from_the_first_update_on() -> None:
    trained = network(0)
    expected = {name: value.detach().clone() for name, value in trained.named_parameters()}
    average = Ema(trained, 0.9)
    for seed in (1, 2, 3):
        now = move(trained, seed)
        average.update(trained)
        expected = {name: 0.9 * value + 0.1 * now[name] for name, value in expected.items()}
        for name, value in average.network.named_parameters():
            torch.testing.assert_close(value, expected[name], atol=1e-15, rtol=0)


def test_buffers_are_copied_and_not_averaged() -> None:
    trained = network(0)
    average = Ema(trained, 0.9)
    for seed in (1, 2):
        now = move(trained, seed)
        average.update(trained)
        buffers = dict(average.network.named_buffers())
        assert len(buffers) == 3 and buffers["1.running_mean"].abs().sum() > 0
        assert all(torch.equal(value, now[name]) for name, value in buffers.items())


def test_without_memory_it_is_the_trained_network() -> None:
    trained = network(0)
    average = Ema(trained, 0.0)
    now = move(trained, 1)
    average.update(trained)
    assert all(torch.equal(value, now[name]) for name, value in average.network.state_dict().items())


def test_it_is_a_copy_that_neither_learns_nor_counts() -> None:
    trained = network(0)
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    average = Ema(trained, 0.9)
    assert trained.training and not average.network.training
    assert all(parameter.requires_grad for parameter in trained.parameters())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    move(trained, 1)
    kept = average.network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in before.items())
    average.update(trained)
    assert not any(value.requires_grad for value in average.network.state_dict(keep_vars=True).values())
