"""Vectors T10 and T12 of the specification, torch-fidelity's own KID, and naive loops."""

import math

import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from t2icli.errors import UserError
from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import kernels
from t2icli.evaluation.metrics import cmmd as cmmd_metric
from t2icli.evaluation.metrics import kid as kid_metric


def normal(count, dim, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) + shift


def naive_gaussian(first, second, sigma):
    """Mean over all pairs, one by one."""
    total = 0.0
    for a in first.tolist():
        for b in second.tolist():
            total += math.exp(-sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / (2 * sigma**2))
    return total / (len(first) * len(second))


def test_t10_whole_sets():
    first = torch.tensor([[0.0, 0], [1, 1], [2, 0]])
    second = torch.tensor([[1.0, 0], [0, 1], [3, 1]])
    assert kernels.polynomial_mmd2(first, second) == pytest.approx(-14.3888889, abs=1e-7)
    assert kernels.polynomial_mmd2(first, first) == pytest.approx(-5.7777778, abs=1e-7)


def test_polynomial_kernel_of_unequal_sets_by_a_naive_loop():
    first, second = normal(4, 3, 0), normal(6, 3, 1, 0.5)

    def mean(a_rows, b_rows, same):
        pairs = [(i, j) for i in range(len(a_rows)) for j in range(len(b_rows)) if not (same and i == j)]
        values = [
            (sum(x * y for x, y in zip(a_rows[i].tolist(), b_rows[j].tolist(), strict=True)) / 3 + 1) ** 3
            for i, j in pairs
        ]
        return sum(values) / len(pairs)

    naive = mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)
    assert kernels.polynomial_mmd2(first, second) == pytest.approx(naive, rel=1e-12)


@pytest.mark.parametrize("seed", [2020, 7])
def test_kid_equals_torch_fidelity(seed):
    generated, real = normal(70, 12, 0, 0.2), normal(50, 12, 1)
    theirs = kid_features_to_metric(generated, real, kid_subsets=9, kid_subset_size=20, rng_seed=seed, verbose=False)
    ours = kernels.kid(generated, real, subsets=9, subset_size=20, seed=seed)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)
    assert ours.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-10)
    assert ours.std > 0


def test_kid_of_a_set_with_itself_is_below_zero():
    """The estimate is unbiased: what two samples of one distribution average to is 0, and one sample alone is less."""
    features = normal(40, 5, 0)
    assert kernels.kid(features, features, subsets=3, subset_size=40).mean < 0


def test_kid_says_how_many_images_there_are():
    with pytest.raises(UserError, match="subsets of 1,000 images from each side, and there are 1,200 generated and 30"):
        kernels.kid(torch.zeros(1200, 2), torch.zeros(30, 2))
    with pytest.raises(UserError, match="KID needs at least 2 images a side, and has 1 and 5"):
        kernels.polynomial_mmd2(torch.zeros(1, 2), torch.zeros(5, 2))


def test_t12_cmmd():
    first, second = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    assert 1000 * kernels.cmmd(first, second).biased == pytest.approx(19.9003325, abs=1e-6)
    both = kernels.cmmd(torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [-1, 0]]))
    assert 1000 * both.biased == pytest.approx(4.9750831, abs=1e-6)
    with pytest.raises(UserError, match="unbiased kernel distance needs at least 2 images a side"):
        _ = kernels.cmmd(first, second).unbiased


def test_cmmd_by_a_naive_loop_in_blocks_of_any_size(monkeypatch):
    first, second = normal(7, 5, 0), 3 * normal(5, 5, 1, 0.4)
    a, b = (side / side.norm(dim=1, keepdim=True) for side in (first, second))
    # A narrow kernel, so that no entry is near 1 and a slip shows.
    within = [naive_gaussian(a, a, 0.5), naive_gaussian(b, b, 0.5)]
    between = naive_gaussian(a, b, 0.5)
    dropped = [(within[0] * 49 - 7) / 42, (within[1] * 25 - 5) / 20]
    for block in (1, 11, 1 << 22):
        monkeypatch.setattr(kernels, "BLOCK", block)
        means = kernels.cmmd(first, second, sigma=0.5)
        assert means.biased == pytest.approx(sum(within) - 2 * between, rel=1e-12)
        assert means.unbiased == pytest.approx(sum(dropped) - 2 * between, rel=1e-12)
        assert kernels.cmmd(first, first, sigma=0.5).biased == pytest.approx(0, abs=1e-15)


def test_cmmd_needs_images():
    with pytest.raises(UserError, match="images on both sides, and has 0 generated, 2 real ones"):
        kernels.cmmd(torch.zeros(0, 3), torch.ones(2, 3))


def features(network, layer, tensor):
    return Features(len(tensor), "", {network: {layer: tensor}})


def test_metric_kid():
    generated, real = normal(1010, 4, 0, 0.5).float(), normal(1000, 4, 1).float()
    (metric,) = kid_metric.METRICS
    assert (metric.name, metric.better, metric.needs_real) == ("kid", "lower", True)
    (score,) = metric.compute([features("inception_tf", "2048", generated)], features("inception_tf", "2048", real))
    theirs = kid_features_to_metric(generated.double(), real.double(), verbose=False)
    assert score.values["kid"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert score.values["kid_std_over_subsets"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)
    assert next(iter(score.values)) == "kid"


def test_metric_cmmd_says_which_form():
    generated, real = normal(9, 6, 0).float(), normal(8, 6, 1, 1.0).float()
    (metric,) = cmmd_metric.METRICS
    network = "clip_vit_l_14_336"
    (score,) = metric.compute([features(network, "embedding", generated)], features(network, "embedding", real))
    a, b = (side.double() / side.double().norm(dim=1, keepdim=True) for side in (generated, real))
    biased = naive_gaussian(a, a, 10) + naive_gaussian(b, b, 10) - 2 * naive_gaussian(a, b, 10)
    assert list(score.values) == ["cmmd", "cmmd_unbiased"]
    assert score.values["cmmd"] == pytest.approx(1000 * biased, rel=1e-9)
    assert score.values["cmmd_unbiased"] < score.values["cmmd"]
    assert score.details == {"estimator": "biased"}
