"""A published detector on real photographs: it finds what people marked there, far more often than by chance."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from t2icli.evaluation.detectors.names import COCO_NAMES
from t2icli.evaluation.features import View
from t2icli.evaluation.networks import darknet
from t2icli.weights import Weights

PHOTOGRAPHS = 40


@pytest.fixture(scope="module")
def photographs(shared):
    """Images (N, 3, 320, 320) uint8, and which classes are marked in each (N, 80) with the share of its largest box."""
    root = shared / "data/coco-mini"
    content = json.loads((root / "annotations/instances_val2014.json").read_text())
    labels = {category["id"]: COCO_NAMES.index(category["name"]) for category in content["categories"]}
    images = {image["id"]: image for image in content["images"]}
    chosen = sorted({row["image_id"] for row in content["annotations"]})[:PHOTOGRAPHS]
    shares = torch.zeros(len(chosen), 80)
    boxes = [[] for _ in chosen]
    for row in content["annotations"]:
        if row["image_id"] in chosen:
            image, label, index = images[row["image_id"]], labels[row["category_id"]], chosen.index(row["image_id"])
            sides = np.array([image["width"], image["height"]] * 2)
            x, y, width, height = np.array(row["bbox"]) / sides
            shares[index, label] = max(shares[index, label], float(width * height))
            boxes[index].append([label, x, y, x + width, y + height])
    pictures = [Image.open(root / "val2014" / images[image]["file_name"]).convert("RGB") for image in chosen]
    arrays = [np.asarray(picture.resize((320, 320), Image.Resampling.BILINEAR)) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2), shares, boxes


@pytest.fixture(scope="module")
def layers(shared, photographs):
    weights = Weights([f"darknet={shared / 'data/darknet/yolo-fastest-1.1-xl.weights'}"])
    network = darknet.load(weights, torch.device("cpu"))
    assert network.facts["network"] == "yolo-fastest-1.1-xl@0.5"
    found = [network.layers(View(batch, layout=True)) for batch in photographs[0].split(8)]
    return {name: torch.cat([part[name] for part in found]) for name in ("present", "boxes")}


def test_marked_classes_are_found(photographs, layers):
    marked = photographs[1] > 0.05  # classes with a box of a twentieth of the image; small ones are hard at 320 pixels
    present = layers["present"].bool()
    hits = present[marked].float().mean()
    chance = torch.stack([present.roll(turn, 0)[marked].float().mean() for turn in range(1, PHOTOGRAPHS)]).mean()
    assert marked.sum() > 40
    assert hits > 0.7
    assert hits > 3 * chance
    # What is found is mostly there: at this threshold false classes are rare.
    assert (photographs[1] > 0)[present].float().mean() > 0.75


def test_boxes_lie_where_people_drew_them(photographs, layers):
    """The best box of each photograph against marked ones of its class, by plain IoU."""
    ious = []
    for rows, marked in zip(layers["boxes"], photographs[2], strict=True):
        label, x1, y1, x2, y2, _ = rows[0].tolist()
        if label >= 0:
            ious.append(max((iou([x1, y1, x2, y2], box[1:]) for box in marked if box[0] == label), default=0.0))
    assert len(ious) > 25
    assert np.median(ious) > 0.75


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)
