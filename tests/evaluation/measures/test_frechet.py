"""Vectors T1 to T4 and T6 of the specification, and the properties of a distance."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from t2icli.errors import UserError
from t2icli.evaluation.features import Features
from t2icli.evaluation.measures.frechet import Gaussian, distance, gaussian
from t2icli.evaluation.metrics.fid import METRICS

IDENTITY = torch.eye(4, dtype=torch.float64)
ZERO = torch.zeros(4, dtype=torch.float64)


def random_features(count, dim, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64) / math.sqrt(dim)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) @ mixing + shift


def test_t1_scaled_covariance():
    assert distance(Gaussian(ZERO, IDENTITY), Gaussian(ZERO, 4 * IDENTITY)) == pytest.approx(4.0, abs=1e-12)


def test_t2_shifted_mean():
    shifted = Gaussian(torch.tensor([3.0, 4, 0, 0], dtype=torch.float64), 4 * IDENTITY)
    assert distance(Gaussian(ZERO, IDENTITY), shifted) == pytest.approx(29.0, abs=1e-12)


def test_t3_covariances_that_do_not_commute():
    first = torch.tensor([[2.0, 1], [1, 2]], dtype=torch.float64)
    second = torch.diag(torch.tensor([1.0, 3], dtype=torch.float64))
    value = distance(Gaussian(ZERO[:2], first), Gaussian(ZERO[:2], second))
    assert value == pytest.approx(8 - 2 * math.sqrt(14), abs=1e-12)
    assert value == pytest.approx(0.5166852265, abs=1e-9)


def test_t4_divisor_is_one_less_than_the_count():
    corners = torch.tensor([[0.0, 0], [2, 0], [0, 2], [2, 2]])
    assert distance(gaussian(corners), gaussian(corners + torch.tensor([1.0, 0]))) == pytest.approx(1.0, abs=1e-12)
    assert distance(gaussian(corners), gaussian(2 * corners)) == pytest.approx(4.6666667, abs=1e-6)


def test_t6_fewer_images_than_features():
    features = gaussian(random_features(20, 64, seed=0).float())
    assert abs(distance(features, features)) < 1e-3


def test_equals_torch_fidelity():
    first, second = random_features(300, 24, seed=1), random_features(200, 24, seed=2, shift=0.3)
    theirs = fid_statistics_to_metric(fid_features_to_statistics(first), fid_features_to_statistics(second), False)
    assert distance(gaussian(first), gaussian(second)) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


def test_symmetric_and_invariant():
    first, second = random_features(50, 6, seed=3), random_features(40, 6, seed=4, shift=1.0)
    value = distance(gaussian(first), gaussian(second))
    assert distance(gaussian(second), gaussian(first)) == pytest.approx(value, rel=1e-10)
    turn = torch.from_numpy(np.linalg.qr(random_features(6, 6, seed=5).numpy())[0])
    assert distance(gaussian(first @ turn + 7), gaussian(second @ turn + 7)) == pytest.approx(value, rel=1e-10)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert distance(gaussian(first[order]), gaussian(second)) == pytest.approx(value, rel=1e-10)


def test_one_image_is_not_enough():
    with pytest.raises(UserError, match="at least 2 images on each side, and has 1"):
        gaussian(torch.zeros(1, 4))


FAMILIES = {
    "fid-tf": "inception_tf",
    "fid-clean": "inception_clean",
    "fid-torchvision": "inception_torchvision",
    "fid-keras": "inception_keras",
}


def test_families_of_fid():
    assert {metric.name: metric.network for metric in METRICS} == FAMILIES
    real, first, second = (random_features(30, 8, seed).float() for seed in (7, 8, 9))
    for metric in METRICS:
        assert metric.better == "lower" and metric.needs_real
        sides = [Features(30, "", {metric.network: {"2048": features}}) for features in (first, second)]
        scores = metric.compute(sides, Features(30, "", {metric.network: {"2048": real}}))
        for score, features in zip(scores, (first, second), strict=True):
            theirs = [fid_features_to_statistics(side) for side in (features.double(), real.double())]
            expected = fid_statistics_to_metric(*theirs, False)["frechet_inception_distance"]
            assert list(score.values) == [metric.name]
            assert score.values[metric.name] == pytest.approx(expected, rel=1e-8)
