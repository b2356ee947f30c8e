"""The 80 labels and the rules of their captions."""

import pytest

from t2icli.evaluation.detectors.names import COCO_NAMES, DARKNET_ALIASES
from t2icli.evaluation.soa.labels import LABELS, labels_of


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("a man riding a motorcycle", (0,)),
        ("two dogs.", ()),
        ("a hot dog.", (52,)),
        ("a hot dog stand", ()),
        ("a teddybear on a bed", (21, 77)),
        ("stop sign", (11,)),
        ("A BUS Stops", (5,)),
        ("a bus.", ()),
        ("tie ", ()),
        ("his tie is red", (27,)),
        ("a baseball field with a ball on it", (32,)),
        ("", ()),
    ],
)
def test_rules(caption: str, labels: tuple[int, ...]) -> None:
    assert labels_of(caption) == labels


def test_labels_are_cocos_80_in_their_order() -> None:
    assert [label.id for label in LABELS] == list(range(80))
    assert tuple(label.name for label in LABELS) == COCO_NAMES
    assert {label.yolo_name: label.name for label in LABELS if label.yolo_name != label.name} == DARKNET_ALIASES
    assert all(label.file_stem.startswith(f"label_{label.id:02}_") for label in LABELS)


def test_official_counts_add_up() -> None:
    """The totals that the lists are published with, and halves that follow from the counts."""
    assert sum(label.captions for label in LABELS[1:]) == 130_124
    assert sum(label.images_to_generate for label in LABELS) == 420_372
    assert all(label.images_to_generate == 3 * label.captions for label in LABELS[1:])
    by_size = sorted(LABELS, key=lambda label: label.images_to_generate)
    assert [label.half for label in by_size] == ["bottom"] * 40 + ["top"] * 40
    assert (by_size[39].name, by_size[40].name) == ("fire hydrant", "skis")
