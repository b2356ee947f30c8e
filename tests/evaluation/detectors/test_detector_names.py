"""Names decide which class is which: Darknet's words, ids with gaps, models that lack a category."""

import json
import re

import pytest

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.detectors.names import COCO_NAMES, DARKNET_ALIASES, labels_by_name


def test_the_order_is_that_of_coco(shared):
    annotations = shared / "data/coco-mini/annotations/instances_val2014.json"
    categories = json.loads(annotations.read_text())["categories"]
    assert [c["name"] for c in sorted(categories, key=lambda c: c["id"])] == list(COCO_NAMES)
    # A model with COCO's 91 slots: gaps are "N/A", and the last is no object.
    slots = dict.fromkeys(range(91), "N/A") | {c["id"]: c["name"] for c in categories} | {91: "no object"}
    ids = sorted(c["id"] for c in categories)
    assert labels_by_name(slots) == {id_: label for label, id_ in enumerate(ids)}


def test_darknets_names(shared):
    names = (shared / "data/darknet/coco.names").read_text().split("\n")[:80]
    assert len(set(names) - set(COCO_NAMES)) == 6 == len(DARKNET_ALIASES)
    assert labels_by_name(dict(enumerate(names))) == {label: label for label in range(80)}


def test_case_hyphens_and_underscores_do_not_matter():
    names = [name.replace(" ", "_" if i % 2 else "-").upper() for i, name in enumerate(COCO_NAMES)]
    shuffled = {79 - i: name for i, name in enumerate(names)}
    assert labels_by_name(shuffled) == {79 - label: label for label in range(80)}


def test_a_model_without_all_80_is_refused():
    names = dict(enumerate(COCO_NAMES))
    del names[16], names[78]
    message = "the detector names 78 classes, and 2 of COCO's 80 are not among them: dog, hair drier; SOA needs"
    with pytest.raises(EnvironmentFault, match=re.escape(message)):
        labels_by_name(names)
    with pytest.raises(EnvironmentFault, match="person, bicycle, car, motorcycle, airplane and 75 others"):
        labels_by_name({0: "LABEL_0"})
