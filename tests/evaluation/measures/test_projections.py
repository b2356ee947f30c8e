"""Vector T13 of the specification, closed forms, and transport costs found by trying every assignment."""

import itertools

import pytest
import torch

from t2icli.errors import UserError
from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import projections
from t2icli.evaluation.metrics import mind as mind_metric


def normal(count, dim, seed):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_t13_shift():
    features = normal(20, 4, 0)
    shifted = features + torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    assert projections.mind(features, shifted, projections=20_000) == pytest.approx(3, abs=0.06)
    assert projections.mind(features, features) == 0


def test_one_dimension_is_exact():
    """On a line every direction says the same, so the value is three times the cheapest assignment."""
    first, second = normal(6, 1, 1), 2 * normal(6, 1, 2) + 0.3
    costs = (
        sum((first[i] - second[j]) ** 2 for i, j in enumerate(order)) / 6 for order in itertools.permutations(range(6))
    )
    assert projections.mind(first, second, projections=60) == pytest.approx(3 * float(min(costs)), rel=1e-12)


def test_scaling_by_its_closed_form():
    """X against s X costs (s - 1)² x² along each direction, so 3 (s - 1)² the mean squared length in the limit."""
    features = normal(50, 5, 3)
    limit = 3 * 4 * float(features.square().sum(dim=1).mean())
    assert projections.mind(features, 3 * features, projections=20_000) == pytest.approx(limit, rel=0.02)


def test_order_and_blocks_change_nothing_and_the_seed_decides(monkeypatch):
    first, second = normal(30, 6, 4), normal(30, 6, 5)
    value = projections.mind(first, second)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert projections.mind(first[order], second) == pytest.approx(value, rel=1e-12)
    assert projections.mind(second, first) == pytest.approx(value, rel=1e-12)
    assert projections.mind(first, second, seed=1) != value
    monkeypatch.setattr(projections, "AT_ONCE", 7)
    assert projections.mind(first, second) == pytest.approx(value, rel=1e-12)


def test_larger_side_is_subsampled_without_replacement():
    many = torch.arange(40, dtype=torch.float64)[:, None]
    drawn = projections.subset(many, 15, seed=3)
    assert len(set(drawn.flatten().tolist())) == 15
    assert torch.equal(projections.subset(many, 15, seed=3), drawn)
    assert not torch.equal(projections.subset(many, 15, seed=4), drawn)
    few = normal(15, 1, 0)
    assert projections.mind(few, many, seed=3) == pytest.approx(projections.mind(few, drawn, seed=3), rel=1e-12)
    assert projections.mind(many, few, seed=3) == pytest.approx(projections.mind(drawn, few, seed=3), rel=1e-12)


def test_needs_images():
    with pytest.raises(UserError, match="images on both sides, and has 3 generated, 0 real ones"):
        projections.mind(torch.zeros(3, 2), torch.zeros(0, 2))


def test_metric():
    (metric,) = mind_metric.METRICS
    assert (metric.name, metric.network, metric.better, metric.needs_real) == ("mind", "inception_tf", "lower", True)
    many, few = normal(12, 3, 6).float(), normal(9, 3, 7).float()
    sides = [Features(len(side), "", {"inception_tf": {"2048": side}}) for side in (many, few)]
    (score,) = metric.compute(sides[:1], sides[1])
    assert score.values == {"mind": projections.mind(many, few)}
    assert score.details == {"images_a_side": 9}
