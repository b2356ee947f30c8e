"""SOA's rule for candidates and its way to boxes, against the vectors T18 and T20 and loops in float64."""

import math

import pytest
import torch

from t2icli.evaluation.detectors.candidates import decode, iou_with_pixels, present, strongest, suppress
from t2icli.evaluation.detectors.darknet_config import Yolo


def candidate(box, objectness, **classes):
    probabilities = torch.zeros(80)
    for name, probability in classes.items():
        probabilities[int(name[1:])] = probability
    return torch.cat([torch.tensor([*box, objectness]), probabilities])


def test_t18_objectness_decides_and_the_class_has_no_threshold():
    box = [0.0, 0, 9, 9]
    sure_of_class, sure_of_object = candidate(box, 0.49, c7=0.99), candidate(box, 0.51, c3=0.05, c4=0.04)
    found = present(torch.stack([sure_of_class, sure_of_object])[:, None])
    assert found[0].sum() == 0
    assert found[1].nonzero().flatten().tolist() == [3]
    assert present(candidate(box, 0.5, c1=0.01)[None, None])[0, 1] == 1  # 0.5 itself counts


def test_t20_iou_counts_pixels():
    first, second = torch.tensor([0.0, 0, 9, 9]), torch.tensor([[5.0, 0, 14, 9], [50, 50, 60, 60]])
    assert iou_with_pixels(first, second).tolist() == pytest.approx([1 / 3, 0])


def test_decoding_against_loops():
    torch.manual_seed(0)
    head = Yolo(((10.0, 14.0), (23.0, 27.0)), 3, 1.2)
    raw = torch.randn(2, 2 * 8, 3, 5)
    found = decode(raw, head, 80, 48)
    assert found.shape == (2, 30, 8)
    logistic = torch.sigmoid
    for image in range(2):
        for anchor, (width, height) in enumerate(head.anchors):
            for row in range(3):
                for column in range(5):
                    t = raw[image, 8 * anchor : 8 * anchor + 8, row, column]
                    x = (logistic(t[0]) * 1.2 - 0.1 + column) * 16
                    y = (logistic(t[1]) * 1.2 - 0.1 + row) * 16
                    w, h = width * math.exp(t[2]), height * math.exp(t[3])
                    want = [x - w / 2, y - h / 2, x + w / 2, y + h / 2, *logistic(t[4:])]
                    torch.testing.assert_close(
                        found[image, anchor * 15 + row * 5 + column], torch.tensor(want), rtol=1e-5, atol=1e-4
                    )


def naive_suppression(candidates, overlap):
    """As 6.3 of the specification says it, one box at a time."""
    rows = [[float(value) for value in row] for row in candidates]
    boxes = [(row[:4], row[4], row[5:].index(max(row[5:])), row[4] * max(row[5:])) for row in rows]
    boxes.sort(key=lambda b: -b[3])
    found = []
    while boxes:
        first = boxes[0]
        group = [b for b in boxes if b is first or (b[2] == first[2] and naive_iou(b[0], first[0]) > overlap)]
        total = sum(b[1] for b in group)
        mean = [sum(b[1] * b[0][side] for b in group) / total for side in range(4)]
        found.append([first[2], *mean, first[3]])
        boxes = [b for b in boxes if not any(b is member for member in group)]
    return found


def naive_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


def crowd(count, classes, seed):
    """Boxes that overlap often, of few classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * 60
    halves = torch.rand(count, 2, generator=generator) * 20 + 8
    rest = torch.rand(count, 1 + classes, generator=generator)
    return torch.cat([centres - halves, centres + halves, rest], 1)


@pytest.mark.parametrize("seed", range(4))
def test_suppression_against_loops(seed):
    candidates = crowd(60, 3, seed)
    want = torch.tensor(naive_suppression(candidates, 0.4))
    assert 5 < len(want) < 50  # some are merged, some are not
    torch.testing.assert_close(suppress(candidates), want, rtol=1e-4, atol=1e-3)
    assert (suppress(candidates)[1:, 5] <= suppress(candidates)[:-1, 5]).all()


def test_survivors_are_means_weighted_by_objectness():
    boxes = [candidate([0.0, 0, 9, 9], 0.9, c2=0.8), candidate([1.0, 0, 10, 9], 0.6, c2=0.9, c5=0.1)]
    [row] = suppress(torch.stack(boxes))
    assert row.tolist() == pytest.approx([2, 0.4, 0, 9.4, 9, 0.72])
    boxes[1] = candidate([1.0, 0, 10, 9], 0.6, c5=0.9)  # another class is left alone
    assert [row[0] for row in suppress(torch.stack(boxes)).tolist()] == [2, 5]


def test_an_overflowing_box_ends_the_search_all_the_same():
    assert len(suppress(torch.stack([candidate([-math.inf, 0, math.inf, 9], 0.9, c2=0.8)]))) == 1


def test_suppression_changes_no_presence():
    candidates = torch.stack([crowd(200, 80, seed) for seed in range(3)])
    boxes = strongest(candidates, 80, 80)
    from_boxes = torch.zeros(3, 80)
    for image, rows in enumerate(boxes):
        for label in rows[rows[:, 0] >= 0, 0].long():
            from_boxes[image, label] = 1
    assert torch.equal(from_boxes, present(candidates))
    assert 0 < from_boxes.mean() < 1


def test_the_best_100_in_shares_of_the_sides():
    many = torch.stack([candidate([30.0 * i, 0, 30 * i + 9, 9], 0.5 + i / 1000, c1=1.0) for i in range(130)])
    few = torch.zeros_like(many)
    few[3] = candidate([8.0, 16, 24, 48], 0.75, c79=0.5)
    boxes = strongest(torch.stack([many, few]), 32, 64)
    assert boxes.shape == (2, 100, 6)
    assert boxes[0, :, 5].tolist() == pytest.approx([0.5 + i / 1000 for i in range(129, 29, -1)])
    assert boxes[1, 0].tolist() == [79, 0.25, 0.25, 0.75, 0.75, 0.375]
    assert (boxes[1, 1:, 0] == -1).all()
