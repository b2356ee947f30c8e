from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from two_processes import in_two_processes

from t2icli.nn.batch_norm import AffineBatchNorm, BatchNorm


def features(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 5, 4, 3, generator=generator) * torch.arange(1, 6)[:, None, None] + 2


def target(seed: int = 9) -> Tensor:
    return torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(seed))


def test_outputs_and_gradients_are_those_of_torch() -> None:
    ours, theirs = BatchNorm(5), nn.BatchNorm2d(5, affine=False)
    x, y = features().requires_grad_(), features().requires_grad_()
    ours(x).mul(target()).sum().backward()
    theirs(y).mul(target()).sum().backward()
    torch.testing.assert_close(ours(x), theirs(y))
    torch.testing.assert_close(x.grad, y.grad)


def test_running_variance_is_biased() -> None:
    norm = BatchNorm(5)
    mean, variance = torch.zeros(5), torch.ones(5)
    for seed in range(3):
        x = features(seed)
        norm(x)
        mean = 0.9 * mean + 0.1 * x.mean((0, 2, 3))
        variance = 0.9 * variance + 0.1 * x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


def test_evaluation_uses_and_keeps_the_running_average() -> None:
    norm = BatchNorm(5)
    norm(features())
    norm.eval()
    kept = norm.running_mean.clone(), norm.running_var.clone()
    x = features(1)
    expected = (x - kept[0][:, None, None]) / (kept[1] + 1e-5).sqrt()[:, None, None]
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x[:1]), expected[:1])  # images do not see each other
    assert torch.equal(norm.running_mean, kept[0]) and torch.equal(norm.running_var, kept[1])


def test_nothing_is_learned_and_statistics_are_saved() -> None:
    norm = BatchNorm(5)
    assert not list(norm.parameters())
    assert set(norm.state_dict()) == {"running_mean", "running_var"}


@pytest.mark.parametrize("training", [True, False])
def test_type_is_kept_and_statistics_stay_float32(training: bool) -> None:
    norm = BatchNorm(5).train(training)
    assert norm(features().bfloat16()).dtype == torch.bfloat16
    assert norm.running_var.dtype == torch.float32


def test_alone_synchronised_changes_nothing() -> None:
    plain, synchronised = BatchNorm(5), BatchNorm(5)
    synchronised.synchronised = True
    assert torch.equal(plain(features()), synchronised(features()))


def through_layers(x: Tensor, y: Tensor, synchronised: bool) -> dict[str, Tensor]:
    """A convolution before the norm, so that a weight's gradient can be compared too."""
    norm = BatchNorm(5)
    norm.synchronised = synchronised
    weight = torch.randn(5, 5, 1, 1, generator=torch.Generator().manual_seed(4)).requires_grad_()
    x.requires_grad_()
    out = norm(F.conv2d(x, weight))
    (out * y).sum().backward()
    return {
        "out": out.detach(),
        "input": x.grad,
        "weight": weight.grad,
        "mean": norm.running_mean,
        "variance": norm.running_var,
    }


def in_one_process(rank: int) -> dict[str, dict[str, Tensor]]:
    def run(synchronised: bool) -> dict[str, Tensor]:
        return through_layers(features().chunk(2)[rank].clone(), target().chunk(2)[rank], synchronised)

    low = BatchNorm(5)
    low.synchronised = True
    affine = through_affine(AffineBatchNorm(5), features().chunk(2)[rank].clone(), target().chunk(2)[rank])
    return {
        "together": run(True),
        "apart": run(False),
        "low": {"out": low(features().bfloat16())},
        "affine": affine,
    }


def through_affine(norm: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Forward in training and evaluation, backward, and what was learned from it."""
    norm.synchronised = True
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 6.0))
        norm.bias.copy_(torch.arange(5.0))
    x.requires_grad_()
    out = norm(x)
    (out * y).sum().backward()
    return {
        "out": out.detach(),
        "evaluation": norm.eval()(x).detach(),
        "input": x.grad,
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
        "mean": norm.running_mean,
        "variance": norm.running_var,
    }


def test_synchronised_is_one_big_batch(tmp_path: Path) -> None:
    first, second = in_two_processes(in_one_process, tmp_path)
    whole = through_layers(features(), target(), False)
    a, b = first["together"], second["together"]
    for name in ("out", "input"):
        torch.testing.assert_close(torch.cat([a[name], b[name]]), whole[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(a["weight"] + b["weight"], whole["weight"], atol=1e-4, rtol=1e-5)
    for name in ("mean", "variance"):
        torch.testing.assert_close(a[name], whole[name])
        assert torch.equal(a[name], b[name])
    torchs = through_affine(nn.BatchNorm2d(5), features(), target())  # all of the batch, by torch's own layer
    ours, theirs = first["affine"], second["affine"]
    for name in ("out", "evaluation", "input"):
        torch.testing.assert_close(torch.cat([ours[name], theirs[name]]), torchs[name], atol=1e-5, rtol=1e-5)
    for name in ("weight", "bias"):
        torch.testing.assert_close(ours[name] + theirs[name], torchs[name], atol=1e-4, rtol=1e-5)
    for name in ("mean", "variance"):  # the unbiased variance of all 72 numbers of a channel
        torch.testing.assert_close(ours[name], torchs[name])
        assert torch.equal(ours[name], theirs[name])
    for rank, found in enumerate((first, second)):
        alone = through_layers(features().chunk(2)[rank].clone(), target().chunk(2)[rank], False)
        for name in alone:  # not to the last bit: the processes may have other numbers of threads
            torch.testing.assert_close(found["apart"][name], alone[name])
        assert found["low"]["out"].dtype == torch.bfloat16
