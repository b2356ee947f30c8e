"""SOA as a metric: which labels it asks for, what it reports, and how it is called."""

import pytest
import torch

from t2icli.errors import UserError
from t2icli.evaluation.features import Captions, Features, Pictures
from t2icli.evaluation.metrics.soa import METRICS
from t2icli.evaluation.scenes_recogniser import CATEGORY_NAMES

ROWS = {metric.name: metric for metric in METRICS}


def side(present, captions=None, objects=None, boxes=None, detected=None, network="yolov3"):
    present = torch.as_tensor(present, dtype=torch.float32)
    texts = Captions(captions) if captions is not None else None
    pictures = Pictures(None, "seed 0", texts, 0, objects, boxes)
    layers = {"present": present} | ({"boxes": detected} if detected is not None else {})
    return Features(len(present), "0" * 64, {network: layers}, pictures=pictures)


def seen(*labels):
    return [[float(label in row) for label in range(80)] for row in labels]


def soa(*arguments):
    return ROWS["soa-yolov3"].compute(*arguments)


def test_labels_of_the_lists_and_not_of_the_captions():
    [score] = soa([side(seen([5], [], [16]), ["a dog by a bus on"] * 3, objects=[[5], [5], [16]])], None)
    assert score.values == {"soa-c": 0.75, "soa-i": pytest.approx(2 / 3)}
    assert score.details["lists"] == "lists"
    assert score.details["labels"] == [
        {"label": 5, "name": "bus", "images": 2, "found": 1, "accuracy": 0.5},
        {"label": 16, "name": "dog", "images": 1, "found": 1, "accuracy": 1.0},
    ]


def test_labels_of_the_captions_where_there_are_no_lists():
    drawn = side(seen([5], [], [5, 16]), ["a bus on a road", "a street", "a dog by a bus on a road"])
    real = side(seen([5], [], [16]), ["a bus on a road", "a street", "a dog by a bus on a road"])
    [score, other] = soa([drawn, side(seen([], [], [16]), drawn.captions.texts)], real)
    assert list(score.values) == ["soa-c", "soa-i", "soa-c (real)", "soa-i (real)"]
    assert list(score.values.values()) == [1.0, 1.0, 0.75, pytest.approx(2 / 3)]
    assert list(other.values.values()) == [0.5, pytest.approx(1 / 3), 0.75, pytest.approx(2 / 3)]
    assert score.details["lists"] == "rules over the drawn captions"
    assert [row["accuracy"] for row in score.details["labels (real)"]] == [0.5, 1.0]


def test_a_real_side_without_captions_has_no_scores():
    [score] = soa([side(seen([5]), ["a bus on"])], side(seen([5])))
    assert score.values == {"soa-c": 1.0, "soa-i": 1.0}


def test_halves_where_every_label_has_images():
    objects = [[label] for label in range(80) for _ in range(1 + (label >= 40))]
    found = [[label] if label < 40 or number % 2 else [] for number, [label] in enumerate(objects)]
    [score] = soa([side(seen(*found), ["x"] * 120, objects)], None)
    assert score.values == {"soa-c": 0.75, "soa-i": pytest.approx(2 / 3), "soa-c-top40": 0.5, "soa-c-bot40": 1.0}


def test_overlaps_where_boxes_are_known():
    detected = torch.tensor([[[5, 0.25, 0.25, 0.75, 0.75, 0.9]], [[-1, 0, 0, 0, 0, 0]]])
    boxes = [[(5, 0, 0, 0.5, 0.5)], [(16, 0, 0, 1, 1)]]
    [score] = soa([side(seen([5], []), ["x"] * 2, [[5], [16]], boxes, detected)], None)
    assert list(score.values) == ["soa-c", "soa-i", "soa-c-iou", "soa-i-iou"]
    assert score.values["soa-c-iou"] == score.values["soa-i-iou"] == pytest.approx(1 / 14)


@pytest.mark.parametrize("name", ["soa", "soa-yolov3", "soa-darknet", "soa-detr", "soa-yolos"])
def test_each_detector_is_read_and_shown(name):
    metric = ROWS[name]
    features = side(seen([5], []), ["a bus on a road"] * 2, network=metric.network)
    assert metric.compute([features], None)[0].values["soa-c"] == 0.5
    assert metric.title({"network": "detector@0.5"}) == "soa[detector@0.5]"
    assert metric.pictures == "objects" and metric.needs_captions and not metric.needs_real


def test_captions_that_name_nothing():
    with pytest.raises(UserError, match="soa: none of the 2 captions names one of the 80 objects"):
        soa([side(seen([5], []), ["a road", "two dogs."])], None)


def scenes(logits, captions):
    layers = {"scenes_recogniser": {"category": torch.tensor(logits)}}
    return Features(len(captions), "0" * 64, layers, pictures=Pictures(None, "seed 0", Captions(captions)))


def test_scenes_by_their_own_recogniser():
    metric = ROWS["soa-scenes"]
    bus, dog = CATEGORY_NAMES.index("bus"), CATEGORY_NAMES.index("dog")
    logits = [[-1.0] * 20 for _ in range(3)]
    logits[0][bus], logits[1][bus], logits[1][dog] = 0.5, 0.0, 2.0
    captions = ["a red bus on a street", "a bus and a dog on a beach", "a street at night"]
    real = scenes([[1.0] * 20] * 3, captions)
    [score] = metric.compute([scenes(logits, captions)], real)
    assert score.values == {
        "soa-c": 0.75,
        "soa-i": pytest.approx(2 / 3),
        "soa-c (real)": 1.0,
        "soa-i (real)": 1.0,
    }
    assert {row["name"]: row["accuracy"] for row in score.details["labels"]} == {"bus": 0.5, "dog": 1.0}
    assert metric.title({"network": "scenes-recogniser"}) == "soa[scenes-recogniser]"
    with pytest.raises(UserError, match="soa: none of the 1 captions names one of the 20 objects of scenes"):
        metric.compute([scenes([[1.0] * 20], ["a street at night"])], None)


def test_overlaps_by_label_and_by_image_differ():
    """Two images of a bus with an overlap of 1/7 each, one of a dog without any."""
    detected = torch.tensor([[[5, 0.25, 0.25, 0.75, 0.75, 0.9]]] * 2 + [[[-1, 0, 0, 0, 0, 0]]])
    boxes = [[(5, 0, 0, 0.5, 0.5)], [(5, 0, 0, 0.5, 0.5)], [(16, 0, 0, 1, 1)]]
    [score] = soa([side(seen([5], [5], []), ["x"] * 3, [[5], [5], [16]], boxes, detected)], None)
    assert score.values["soa-c-iou"] == pytest.approx(1 / 14)
    assert score.values["soa-i-iou"] == pytest.approx(2 / 21)


def test_a_label_of_the_lists_counts_once_a_picture():
    [score] = soa([side(seen([5], []), ["x"] * 2, [[5, 5], [5]])], None)
    assert [row["images"] for row in score.details["labels"]] == [2]
    assert score.values["soa-i"] == 0.5
