"""The 80 objects of Semantic Object Accuracy, and which captions name them (Hinz et al., arXiv 1910.13321)."""

import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[2] / "assets" / "soa-labels.json"


@dataclass(frozen=True)
class Label:
    """One object, the rule of its captions, and how large its official list is."""

    id: int  # 0 to 79, in the order of COCO's categories
    name: str  # COCO's
    yolo_name: str  # Darknet's; it differs for six objects
    file_stem: str  # of its caption list
    positive: tuple[str, ...]  # a caption has one of these
    excluded: tuple[str, ...]  # and none of these
    captions: int  # of the official list
    images: int  # that these captions belong to
    images_to_generate: int
    half: str  # "top" or "bottom": whether it counts for Top40 or Bot40 of the official lists


def read_labels() -> tuple[Label, ...]:
    """The bundled table."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["labels"]
    return tuple(Label(**row | {key: tuple(row[key]) for key in ("positive", "excluded")}) for row in rows)


LABELS = read_labels()
PERSON = 0  # the label whose captions are too many to generate for all of them


POSITIVES = tuple((text, label.id) for label in LABELS for text in label.positive)


def labels_of(caption: str) -> tuple[int, ...]:
    """The labels that a caption names, ascending: plain substrings in lower case, so spaces and endings matter.

    "a motorcycle." names none, for that is how the official lists were made.
    """
    lowered = caption.lower()
    named = {label for text, label in POSITIVES if text in lowered}
    return tuple(label for label in sorted(named) if not any(text in lowered for text in LABELS[label].excluded))
