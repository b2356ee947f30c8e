"""What becomes of several noise seeds, and which pictures a metric is given."""

import statistics

import numpy as np
import pytest
import torch

from t2icli.data.scenes import understand
from t2icli.evaluation.evaluate import find_metrics, summary
from t2icli.evaluation.features import Captions, Features, Pictures
from t2icli.evaluation.metric import Score
from t2icli.evaluation.scenes_recogniser import CATEGORY_NAMES, COLOUR_NAMES, PLACE_NAMES


def test_mean_and_deviation_of_every_key():
    rows = [{"x": 1.0, "y": 10.0}, {"x": 2.0, "y": 30.0}, {"x": 6.0, "y": 20.0}]
    metric = find_metrics(["fid"])["fid-tf"]
    found = summary(metric, {}, [Score(row, {"number": place}) for place, row in enumerate(rows)], [0, 1, 2])
    assert (found["value"], found["mean"]) == (3.0, {"x": 3.0, "y": 20.0})
    assert found["std_over_seeds"] == found["std"]["x"] == pytest.approx(7**0.5)  # divisor n - 1
    assert found["std"]["y"] == pytest.approx(statistics.stdev([10, 30, 20])) == pytest.approx(10)
    assert found["per_seed"] == [{"seed": seed, **row} for seed, row in enumerate(rows)]
    assert found["details"] == [{"number": 0}, {"number": 1}, {"number": 2}]
    one = summary(metric, {}, [Score(rows[0])], [None])
    assert (one["value"], one["std_over_seeds"], one["std"]) == (1.0, None, {"x": None, "y": None})


def gaussian_side(seed, count=30, width=3):
    rows = np.random.default_rng(seed).normal(seed, 1 + seed, (count, width))
    return rows, Features(count, "", {"scenes_recogniser": {"features": torch.from_numpy(rows)}})


def naive_distance(first, second):
    """The definition, with the root of the product's eigenvalues."""
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
    return ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * root


def test_fd_scenes_of_each_seed():
    (real, truth), (first, one), (second, other) = (gaussian_side(seed) for seed in range(3))
    found = find_metrics(["fd-scenes"])["fd-scenes"].compute([one, other], truth)
    expected = [naive_distance(first, real), naive_distance(second, real)]
    assert [score.values["fd-scenes"] for score in found] == pytest.approx(expected, rel=1e-9)


def test_kid_takes_as_many_as_the_smaller_side_has():
    metric = find_metrics(["kid"])["kid"]
    generator = torch.Generator().manual_seed(0)
    many, few = (torch.randn(count, 4, generator=generator) for count in (9, 6))

    def side(values):
        return Features(len(values), "", {"inception_tf": {"2048": values}})

    for generated, real in ((many, few), (few, many)):
        (score,) = metric.compute([side(generated)], side(real))
        assert score.details == {"subset_size": 6, "subsets": 100}


def drawing(*captions):
    """What a recogniser without faults would see, in the layers' order."""
    place, category = torch.zeros(len(captions), len(PLACE_NAMES)), torch.zeros(len(captions), len(CATEGORY_NAMES))
    colour = torch.zeros(len(captions), len(CATEGORY_NAMES), len(COLOUR_NAMES))
    for row, caption in enumerate(captions):
        content = understand(caption)
        if content.place is not None:
            place[row, PLACE_NAMES.index(content.place)] = 1
        for name, tint in content.objects:
            category[row, CATEGORY_NAMES.index(name)] = 1
            if tint is not None:
                colour[row, CATEGORY_NAMES.index(name), COLOUR_NAMES.index(tint)] = 1
    return {"place": place, "category": category, "colour": colour, "features": torch.zeros(len(captions), 2)}


def test_scenes_right_counts_what_is_wholly_right():
    said = ["a red bus on a street", "a blue bus on a beach"]
    shown = drawing("a red bus on a street", "a red bus on a beach")
    real = drawing("a red bus on a street", "a blue bus on a street")

    def side(layers):
        return Features(2, "", {"scenes_recogniser": layers}, pictures=Pictures(None, "x", Captions(said)))

    (score,) = find_metrics(["scenes-right"])["scenes-right"].compute([side(shown)], side(real))
    assert next(iter(score.values)) == "scenes-right"
    assert score.values == {
        "scenes-right": 0.5,
        "place": 1.0,
        "objects": 1.0,
        "colours": 0.5,
        "scenes-right (real)": 0.5,
        "place (real)": 0.5,
        "objects (real)": 1.0,
        "colours (real)": 1.0,
    }
