"""Vectors T7 to T9 of the specification."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from t2icli.errors import UserError
from t2icli.evaluation.features import Features
from t2icli.evaluation.metrics.inception_score import METRICS, inception_scores

A, B = [0.9, 0.1], [0.1, 0.9]


def scores(probabilities, splits=1):
    return inception_scores(torch.tensor(probabilities, dtype=torch.float64).log(), splits, shuffle_seed=None)


def test_t7_splits():
    assert scores([A, B]).item() == pytest.approx(1.4449348112, abs=1e-9)
    assert scores([A, B, A, A]).item() == pytest.approx(1.3308014153, abs=1e-9)
    halves = scores([A, B, A, A], splits=2)
    assert halves.mean().item() == pytest.approx(1.2224674056, abs=1e-9)
    assert halves.std(correction=0).item() == pytest.approx(0.2224674056, abs=1e-9)
    assert halves.std(correction=1).item() == pytest.approx(0.3146164222, abs=1e-9)


def test_t8_extremes():
    certain = 100 * torch.eye(8).repeat(4, 1)
    assert inception_scores(certain, 1, None).item() == pytest.approx(8.0, abs=1e-9)
    assert inception_scores(torch.ones(5, 8), 1, None).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, 1.5419372906), (0.9091363549232483, 1.6475960215), (0.5980541706085205, 2.2477882315)],
)
def test_t9_temperature(temperature, expected):
    score = inception_scores(2 * torch.eye(3, dtype=torch.float64), 1, None, temperature).item()
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


ROWS = {metric.name: metric for metric in METRICS}
LAYERS = {
    "is": ("inception_tf", "logits_unbiased", 1008),
    "is-improved-gan": ("inception_improved_gan", "logits_unbiased", 1008),
    "is-star": ("inception_improved_gan", "logits_unbiased", 1008),
    "is-studiogan": ("inception_tf", "logits", 1008),
    "is-keras": ("inception_keras", "logits", 1000),
    "is-birds": ("inception_birds", "logits", 51),
    "is-birds-star": ("inception_birds", "logits", 51),
}


def side(name, logits):
    network, layer, _ = LAYERS[name]
    return Features(len(logits), "", {network: {layer: logits}})


def noise(name, count=43):
    return 3 * torch.randn(count, LAYERS[name][2], generator=torch.Generator().manual_seed(1))


def naive(logits, splits):
    """Scores of the splits by the definition, in float64."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    found = []
    for part in (p[i * len(p) // splits : (i + 1) * len(p) // splits] for i in range(splits)):
        found.append(np.exp(np.mean([np.sum(row * np.log(row / part.mean(0))) for row in part])))
    return np.array(found)


def test_all_variants_are_there():
    assert set(ROWS) == set(LAYERS)
    for name, (network, _, _) in LAYERS.items():
        row = ROWS[name]
        assert (row.network, row.better, row.needs_real, row.needs_captions) == (network, "higher", False, False)


@pytest.mark.parametrize(
    ("name", "splits", "shuffled", "temperature", "first"),
    [
        ("is", 10, True, 1.0, 0),
        ("is-improved-gan", 10, False, 1.0, 0),
        ("is-star", 10, False, 0.9091363549232483, 0),
        ("is-studiogan", 1, False, 1.0, 0),
        ("is-keras", 1, False, 1.0, 0),
        ("is-birds", 10, True, 1.0, 1),
        ("is-birds-star", 10, True, 0.5980541706085205, 1),
    ],
)
def test_variants_equal_the_definition(name, splits, shuffled, temperature, first):
    logits = noise(name)
    order = np.random.RandomState(2020).permutation(len(logits)) if shuffled else np.arange(len(logits))
    expected = naive(logits.double().numpy()[order, first:] / temperature, splits)
    (score,) = ROWS[name].compute([side(name, logits)], None)
    assert next(iter(score.values)) == name
    assert score.values[name] == pytest.approx(expected.mean(), rel=1e-10)
    if splits > 1:
        assert score.values[f"{name}_std_over_splits"] == pytest.approx(expected.std(), rel=1e-8)
    else:
        assert list(score.values) == [name]
    assert score.details["splits"] == splits and score.details["temperature"] == temperature


def test_is_equals_torch_fidelity():
    logits = noise("is")
    (score,) = ROWS["is"].compute([side("is", logits)], None)
    theirs = isc_features_to_metric(logits)
    assert score.values["is"] == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert score.values["is_std_over_splits"] == pytest.approx(theirs["inception_score_std"], rel=1e-9)


def test_each_side_has_its_own_score():
    first, second = noise("is"), noise("is").flip(0)
    found = ROWS["is"].compute([side("is", first), side("is", second)], None)
    assert found[0].values != found[1].values
    assert found[1] == ROWS["is"].compute([side("is", second)], None)[0]
