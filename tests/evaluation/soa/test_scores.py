"""SOA's figures against the vectors of its definition and against plain loops on random data."""

import math

import numpy as np
import pytest
import torch

from t2icli.evaluation.soa import scores

# Labels a, b, c, d with 4, 2, 6, 8 images and 2, 2, 0, 6 hits.
SIZES, HITS = (4, 2, 6, 8), (2, 2, 0, 6)


def example(nothing_found_in_misses: bool) -> tuple[list[list[int]], torch.Tensor]:
    wanted, found = [], []
    for label, (size, hits) in enumerate(zip(SIZES, HITS, strict=True)):
        for number in range(size):
            wanted.append([label])
            row = [False] * 4
            if number < hits:
                row[label] = True
            elif not nothing_found_in_misses:
                row[(label + 1) % 4] = True
            found.append(row)
    return wanted, torch.tensor(found)


@pytest.mark.parametrize("nothing_found_in_misses", [False, True])
def test_vectors(nothing_found_in_misses: bool) -> None:
    """T16, and T17: an image without any detection is a miss like another."""
    result = scores.accuracies(*example(nothing_found_in_misses))
    assert result.images.tolist() == [4, 2, 6, 8] and result.found.tolist() == [2, 2, 0, 6]
    assert result.shares.tolist() == [0.5, 1.0, 0.0, 0.75]
    assert scores.class_mean(result) == 0.5625
    assert scores.image_mean(result) == 0.5
    assert scores.half_means(result) == (0.375, 0.75)
    assert scores.bottom_half(result).tolist() == [True, True, False, False]


def test_equal_sizes_are_cut_in_the_order_of_labels() -> None:
    result = scores.accuracies([[3], [2], [1], [0]], torch.eye(4)[[3, 2, 0, 0]])
    assert scores.bottom_half(result).tolist() == [True, True, False, False]
    assert scores.half_means(result) == (1.0, 0.5)


def test_labels_without_images_are_left_out() -> None:
    result = scores.accuracies([[1], [1, 2], []], torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 1]]))
    assert math.isnan(result.shares[0]) and result.have_images.tolist() == [False, True, True]
    assert scores.class_mean(result) == 0.75
    assert scores.image_mean(result) == pytest.approx(2 / 3)


def test_labels_and_images_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 images have labels and 2 were looked at"):
        scores.accuracies([[1]], torch.zeros(2, 80))


def test_box_vector() -> None:
    """T19: two quarters of the image that share a quarter of theirs."""
    detected = torch.tensor([[[0, 0.25, 0.25, 0.75, 0.75, 0.9], [-1, 0, 0, 0, 0, 0]]])
    ious = scores.overlaps([[0]], [[(0, 0.0, 0.0, 0.5, 0.5)]], detected)
    assert ious[0] == pytest.approx(1 / 7, abs=1e-12) and ious[1:].eq(0).all()


def naive_pixels(x: float, y: float, width: float, height: float) -> list[int]:
    x1, y1 = math.floor(256 * x), math.floor(256 * y)
    x2, y2 = x1 + math.floor(256 * width), y1 + math.floor(256 * height)
    x1, y1, x2, y2 = (max(value, 0) for value in (x1, y1, x2, y2))
    return [x1, y1, x2 if x2 > x1 else x1 + 1, y2 if y2 > y1 else y1 + 1]


def naive_iou(a: list[int], b: list[int]) -> float:
    """By counting pixels."""
    first, second = np.zeros((400, 400), dtype=bool), np.zeros((400, 400), dtype=bool)
    first[a[1] : a[3], a[0] : a[2]] = True
    second[b[1] : b[3], b[0] : b[2]] = True
    return float((first & second).sum() / (first | second).sum())


def made_up(seed: int) -> tuple[list[list[int]], list[list[tuple[float, ...]]], torch.Tensor, torch.Tensor]:
    """40 images, 6 labels (the last never asked for), boxes on a grid of 1/64 that partly lie outside or are empty."""
    random = np.random.default_rng(seed)
    wanted = [sorted(random.choice(5, random.integers(0, 4), replace=False).tolist()) for _ in range(40)]
    present = torch.from_numpy(random.random((40, 6)) < 0.4)
    given = [
        [
            (int(random.integers(6)), *(random.integers(-8, 40, 2) / 64), *(random.integers(0, 50, 2) / 64))
            for _ in "abcd"
        ]
        for _ in range(40)
    ]
    detected = torch.full((40, 7, 6), -1.0)
    for row in range(40):
        for place in range(random.integers(0, 8)):
            low = random.integers(-8, 40, 2) / 64
            high = low + random.integers(0, 50, 2) / 64
            detected[row, place] = torch.tensor([random.integers(6), *low, *high, random.random()])
    return wanted, given, detected, present


@pytest.mark.parametrize("seed", range(4))
def test_against_plain_loops(seed: int) -> None:
    wanted, given, detected, present = made_up(seed)
    result = scores.accuracies(wanted, present)
    shares, sizes, hits, ious = {}, {}, 0, {}
    for label in range(6):
        rows = [row for row in range(40) if label in wanted[row]]
        if rows:
            found = sum(bool(present[row, label]) for row in rows)
            shares[label], sizes[label], hits = found / len(rows), len(rows), hits + found
        best = []
        for row in rows:
            pairs = []
            for told in given[row]:
                for x1, y1, x2, y2 in [box[1:5].tolist() for box in detected[row] if box[0] == label]:
                    if told[0] == label:
                        pairs.append(naive_iou(naive_pixels(*told[1:]), naive_pixels(x1, y1, x2 - x1, y2 - y1)))
            if pairs:
                best.append(max(pairs))
        ious[label] = sum(best) / len(best) if best else 0.0
    assert sum(value > 0 for value in ious.values()) >= 3
    assert set(shares) == {0, 1, 2, 3, 4}
    assert scores.class_mean(result) == pytest.approx(sum(shares.values()) / 5, abs=1e-14)
    assert scores.image_mean(result) == pytest.approx(hits / sum(sizes.values()), abs=1e-14)
    order = sorted(range(6), key=lambda label: sizes.get(label, 0))
    bottom = [shares[label] for label in order[:3] if label in shares]
    top = [shares[label] for label in order[3:]]
    assert scores.half_means(result) == pytest.approx((sum(top) / 3, sum(bottom) / len(bottom)), abs=1e-14)
    measured = scores.overlaps(wanted, given, detected, kinds=6)
    assert measured.tolist() == pytest.approx([ious[label] for label in range(6)], abs=1e-14)
    assert scores.class_overlap(measured, result) == pytest.approx(sum(ious[k] for k in shares) / 5, abs=1e-14)
    weighted = sum(ious[k] * sizes[k] for k in shares) / sum(sizes.values())
    assert scores.image_overlap(measured, result) == pytest.approx(weighted, abs=1e-14)


def test_boxes_become_whole_pixels() -> None:
    boxes = np.array([[0.1, 0.2, 0.3, 0.4], [-0.1, -0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.001]])
    assert scores.whole_pixels(boxes).tolist() == [[25, 51, 101, 153], [0, 0, 25, 1], [128, 128, 129, 129]]


def test_images_without_a_pair_are_left_out_of_the_mean_and_a_label_without_any_gets_0() -> None:
    box, none = [3.0, 0.0, 0.0, 0.5, 0.5, 0.9], [-1.0, 0, 0, 0, 0, 0]
    detected = torch.tensor([[box], [none], [none]])
    given = [[(3, 0, 0, 0.5, 1.0)], [(3, 0, 0, 0.5, 0.5)], [(4, 0, 0, 1, 1)]]
    ious = scores.overlaps([[3], [3], [4]], given, detected)
    assert ious[3] == 0.5 and ious[4] == 0
    result = scores.accuracies([[3], [3], [4]], torch.zeros(3, 80))
    assert scores.class_overlap(ious, result) == 0.25
    assert scores.image_overlap(ious, result) == pytest.approx(1 / 3)


def test_a_label_that_is_named_twice_counts_once() -> None:
    """A caption list may hold a label twice, and a caption name an object by two words."""
    once, twice = [[0], [0, 1], [1]], [[0, 0], [0, 1, 1, 0], [1]]
    present = torch.tensor([[1, 0], [0, 1], [0, 0]])
    first, second = (scores.accuracies(labels, present) for labels in (once, twice))
    assert (second.images.tolist(), second.found.tolist()) == ([2, 2], [1, 1])
    assert (first.images.tolist(), first.found.tolist()) == ([2, 2], [1, 1])
    box = [0.0, 0.0, 0.0, 0.5, 0.5, 0.9]
    detected = torch.tensor([[box], [[0.0, 0.0, 0.0, 0.5, 1.0, 0.9]], [[-1.0] * 6]])
    given = [[(0, 0, 0, 0.5, 0.5)], [(0, 0, 0, 0.5, 0.5)], []]
    assert scores.overlaps(twice, given, detected, 2)[0] == pytest.approx((1 + 0.5) / 2, abs=1e-12)
