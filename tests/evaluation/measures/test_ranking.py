"""Vectors T14 and T15 of the specification, and ties by drawing orders at random."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from t2icli.errors import DataError, UserError
from t2icli.evaluation.features import Captions, Features, Pictures
from t2icli.evaluation.images import MemoryImages
from t2icli.evaluation.measures import ranking
from t2icli.evaluation.measures.ranking import chance, cosine_scores, folds, hits
from t2icli.evaluation.metrics import r_precision


@pytest.fixture
def t14():
    scores = torch.full((4, 100), 0.1, dtype=torch.float64)
    scores[:, 0] = torch.tensor([0.9, 0.5, 0.1, 0.2])
    scores[1, 7], scores[3, 5] = 0.6, 0.2
    scores[3, 0] = scores[3, 5]
    scores[2, 0] = scores[2, 1]
    return scores


def test_t14(t14):
    assert hits(t14, 1, "first").tolist() == [1, 0, 1, 1]
    assert hits(t14, 1, "strict").tolist() == [1, 0, 0, 0]
    assert hits(t14, 1).tolist() == [1, 0, 0.01, 0.5]
    assert hits(t14, 1, "first").mean() == 0.75
    assert hits(t14, 1, "strict").mean() == 0.25
    assert float(hits(t14, 1).mean()) == pytest.approx(0.3775, abs=1e-15)


def test_ties_by_trying_every_order():
    """The expected value is the share of orders of equals in which the true one is among the first k."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 3, (40, 6), generator=generator).double()
    for k in (1, 2, 3, 5, 6):
        for row, ours in zip(scores.tolist(), hits(scores, k).tolist(), strict=True):
            orders = [
                sorted(order, key=lambda place: -row[place]).index(0) < k  # sorting keeps the order of equals
                for order in permutations(range(6))
            ]
            assert ours == pytest.approx(sum(orders) / len(orders), abs=1e-12)
            assert hits(torch.tensor([row]), k, "strict") <= ours <= hits(torch.tensor([row]), k, "first")


def test_scores_that_are_no_numbers_are_no_hits():
    scores = torch.tensor([[float("nan"), 0.1], [0.2, float("inf")]])
    with pytest.raises(DataError, match="R-precision: 2 of the scores are not finite"):
        hits(scores, 1)


def test_t15():
    every = torch.ones(30_000, dtype=torch.float64)
    every[2_999::3_000] = 0
    assert folds(every) == pytest.approx((0.9996667, 0), abs=1e-7)
    assert folds(every, legacy=True) == pytest.approx((1, 0), abs=1e-12)


def test_folds_are_all_hits_once():
    some = (torch.rand(50, generator=torch.Generator().manual_seed(0)) > 0.4).double()
    by_hand = [sum(some.tolist()[5 * fold : 5 * fold + 5]) / 5 for fold in range(10)]
    mean = sum(by_hand) / 10
    assert folds(some) == pytest.approx((mean, math.sqrt(sum((x - mean) ** 2 for x in by_hand) / 10)), abs=1e-12)
    assert folds(some, seed=1)[0] == pytest.approx(float(some.mean()), abs=1e-12)
    assert folds(some, seed=1)[1] != pytest.approx(folds(some)[1], abs=1e-6)
    assert folds(some, seed=1) == folds(some, seed=1)
    # No equal folds: 23 hits are 3 folds of 7 and 8, none left out.
    assert folds(torch.ones(23), count=3) == (1, 0)
    one = torch.zeros(23)
    one[22] = 1
    assert folds(one, count=3)[0] == pytest.approx(1 / 8 / 3)


def test_too_few_for_folds():
    with pytest.raises(UserError, match="over 10 folds needs 10 images, has 9"):
        folds(torch.ones(9))
    with pytest.raises(UserError, match="over 10 folds needs 20 images, has 19"):
        folds(torch.ones(19), legacy=True)


def test_chance_is_what_blind_scores_give():
    assert chance(1, 100) == 0.01
    assert chance(7, 5) == 1
    scores = torch.rand(20_000, 10, generator=torch.Generator().manual_seed(0))
    for k in (1, 3):
        assert float(hits(scores, k).mean()) == pytest.approx(chance(k, 10), abs=0.01)


def test_cosines_by_hand(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images, captions = (torch.randn(9, 5, generator=generator) for _ in range(2))
    negatives = np.stack([np.random.RandomState(row).choice(9, 4, replace=False) for row in range(9)]).astype(np.int32)
    monkeypatch.setattr(ranking, "AT_ONCE", 60)
    scores = cosine_scores(images, captions, negatives)
    assert scores.shape == (9, 5)
    for row in range(9):
        for column, caption in enumerate([row, *negatives[row].tolist()]):
            a, b = images[row].tolist(), captions[caption].tolist()
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            assert float(scores[row, column]) == pytest.approx(dot / math.hypot(*a) / math.hypot(*b), rel=1e-6)


@pytest.mark.parametrize("dim", [7, 256, 515])
def test_equal_embeddings_tie_exactly(dim):
    """Whatever their place in a block."""
    images = torch.randn(130, dim, generator=torch.Generator().manual_seed(1))
    captions = torch.randn(1, dim, generator=torch.Generator().manual_seed(2)).repeat(130, 1)
    negatives = np.stack([np.delete(np.arange(130), row)[:99] for row in range(130)]).astype(np.int32)
    assert hits(cosine_scores(images, captions, negatives), 1).tolist() == [0.01] * 130


def with_captions(images, embeddings, texts, negatives, network, layers, cut=None):
    pixels = MemoryImages(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    said = {layers[1]: embeddings} | ({"cut": cut} if cut is not None else {})
    known = Pictures(pixels, "seed 0", Captions(texts, negatives))
    return Features(len(texts), "", {network: {layers[0]: images}}, {network: said}, known)


def negatives_of(count, each):
    return np.array([[(row + step) % count for step in range(1, each + 1)] for row in range(count)], dtype=np.int32)


@pytest.mark.parametrize("metric", r_precision.METRICS, ids=lambda metric: metric.name)
def test_metric(metric):
    layers = ("embedding", "embedding") if metric.name == "rp-clip" else ("whole", "sentence")
    assert metric.needs_captions
    assert metric.better == "higher"
    count, each = 40, 9
    embeddings = torch.eye(count)
    images = torch.eye(count) + 0.0
    images[5:15] = torch.eye(count)[6:16]  # ten pictures look like what the next caption says
    texts = [f"caption {row}" for row in range(count)]
    side = with_captions(images, embeddings, texts, negatives_of(count, each), metric.network, layers)
    real = with_captions(torch.eye(count), embeddings, texts, negatives_of(count, each), metric.network, layers)
    (score,) = metric.compute([side], real)
    name = metric.name
    assert next(iter(score.values)) == name
    assert score.values[name] == 0.75
    # The ten have one better candidate and nine of equal score 0, their own among them.
    assert score.values[f"{name}@2"] == pytest.approx(0.75 + 0.25 * 1 / 9)
    assert score.values[f"{name}@5"] == pytest.approx(0.75 + 0.25 * 4 / 9)
    assert score.values[f"{name}_std_over_folds"] > 0
    assert score.values[f"{name} (real)"] == score.values[f"{name}@3 (real)"] == 1
    assert score.values[f"{name}_std_over_folds (real)"] == 0
    assert score.values["chance"] == 0.1
    assert score.details == {"candidates": 10, "ties": "expected"}


def test_real_pictures_without_captions_are_left_out():
    metric = r_precision.METRICS[0]
    eye, texts = torch.eye(12), [str(row) for row in range(12)]
    layers = ("embedding", "embedding")
    side = with_captions(
        eye, eye, texts, negatives_of(12, 9), metric.network, layers, torch.tensor([1.0, 1] + [0] * 10)
    )
    for real in (None, Features(12, "", {metric.network: {"embedding": eye}}), Features(12, "", {})):
        (score,) = metric.compute([side], real)
        assert not [key for key in score.values if "real" in key]
        assert score.details["captions_cut"] == 2


def test_equal_words_are_equal_candidates():
    """Read in another batch the same caption has another embedding in the last digits, which is no difference."""
    metric = r_precision.METRICS[0]
    eye = torch.eye(12)
    slightly = eye.clone()
    slightly[1] = eye[0] * (1 + 1e-6) + 1e-7
    texts = ["a bus", "a bus", *(str(row) for row in range(10))]
    images = eye.clone()
    images[0], images[1] = eye[5], eye[0]  # the first finds another caption, the second its own and the first's
    side = with_captions(images, slightly, texts, negatives_of(12, 11), metric.network, ("embedding", "embedding"))
    (score,) = metric.compute([side], None)
    assert score.values["rp-clip"] == pytest.approx((0 + 0.5 + 10) / 12, abs=1e-12)


def test_without_negatives():
    eye = torch.eye(3)
    for metric in r_precision.METRICS:
        layers = ("embedding", "embedding") if metric.name == "rp-clip" else ("whole", "sentence")
        side = with_captions(eye, eye, ["a", "b", "c"], None, metric.network, layers)
        expected = f"{metric.name}: needs 99 captions of other pictures for each picture, and there are only 3 captions"
        with pytest.raises(UserError, match=expected):
            metric.compute([side], None)


def test_spread_over_folds_is_that_of_ten_shuffled_parts():
    """Against plain loops over a permutation of RandomState(2020), divisor 10."""
    metric = r_precision.METRICS[0]
    count = 40
    images = torch.eye(count)
    images[5:15] = torch.eye(count)[6:16]
    texts = [f"caption {row}" for row in range(count)]
    layers = ("embedding", "embedding")
    side = with_captions(images, torch.eye(count), texts, negatives_of(count, 9), metric.network, layers)
    (score,) = metric.compute([side], None)
    hit = [float(not 5 <= row < 15) for row in np.random.RandomState(2020).permutation(count)]
    parts = [sum(hit[4 * fold : 4 * fold + 4]) / 4 for fold in range(10)]
    mean = sum(parts) / 10
    expected = (sum((part - mean) ** 2 for part in parts) / 10) ** 0.5
    assert score.values["rp-clip_std_over_folds"] == pytest.approx(expected, abs=1e-12)
