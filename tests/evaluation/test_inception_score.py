"""Vectors T7 to T9 of the specification."""

import math

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from t2icli.errors import UserError
from t2icli.evaluation.metrics.inception_score import inception_scores

A, B = [0.9, 0.1], [0.1, 0.9]


def scores(probabilities, splits=1):
    return inception_scores(torch.tensor(probabilities, dtype=torch.float64).log(), splits, shuffle_seed=None)


def test_t7_splits():
    assert scores([A, B]).item() == pytest.approx(1.4449348112, abs=1e-9)
    assert scores([A, B, A, A]).item() == pytest.approx(1.3308014153, abs=1e-9)
    halves = scores([A, B, A, A], splits=2)
    assert halves.mean().item() == pytest.approx(1.2224674056, abs=1e-9)
    assert halves.std(correction=0).item() == pytest.approx(0.2224674056, abs=1e-9)


def test_t8_extremes():
    certain = 100 * torch.eye(8).repeat(4, 1)
    assert inception_scores(certain, 1, None).item() == pytest.approx(8.0, abs=1e-9)
    assert inception_scores(torch.ones(5, 8), 1, None).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, 1.5419372906), (0.9091363549232483, 1.6475960215), (0.5980541706085205, 2.2477882315)],
)
def test_t9_temperature(temperature, expected):
    logits = 2 * torch.eye(3, dtype=torch.float64) / temperature
    score = inception_scores(logits, 1, None).item()
    right = math.exp(2 / temperature) / (math.exp(2 / temperature) + 2)
    wrong = (1 - right) / 2
    assert score == pytest.approx(3 * math.exp(right * math.log(right) + 2 * wrong * math.log(wrong)), rel=1e-12)
    assert score == pytest.approx(expected, abs=1e-7)  # the specification's digits were computed in float32


@pytest.mark.parametrize(("count", "splits"), [(30, 10), (37, 10), (11, 3)])
def test_equals_torch_fidelity(count, splits):
    logits = 3 * torch.randn(count, 12, generator=torch.Generator().manual_seed(count))
    ours = inception_scores(logits, splits, shuffle_seed=2020)
    theirs = isc_features_to_metric(logits, splits=splits)
    assert ours.mean().item() == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert ours.std(correction=0).item() == pytest.approx(theirs["inception_score_std"], rel=1e-9)


def test_order_matters_only_through_splits():
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = logits.flip(0)
    assert inception_scores(logits, 1, 7).item() == pytest.approx(inception_scores(turned, 1, 7).item(), rel=1e-12)
    assert not torch.allclose(inception_scores(logits, 4, 7), inception_scores(turned, 4, 7))


def test_fewer_images_than_splits():
    with pytest.raises(UserError, match="over 10 splits needs at least 10 images, and has 9"):
        inception_scores(torch.zeros(9, 3), 10, None)
