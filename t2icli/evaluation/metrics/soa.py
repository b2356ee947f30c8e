"""Semantic Object Accuracy: whether pictures show the objects that their captions name (Hinz et al.).

Each row is another detector, and results name it: ``soa[yolov3@0.5]``. Figures of different detectors, and figures of
the official caption lists and of other captions, are not to be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from t2icli.data.scenes import understand
from t2icli.errors import UserError
from t2icli.evaluation.features import Features, Pictures
from t2icli.evaluation.metric import REAL, Metric, Score
from t2icli.evaluation.scenes_recogniser import CATEGORY_NAMES
from t2icli.evaluation.soa import scores
from t2icli.evaluation.soa.labels import LABELS, labels_of

LISTS, RULES = "lists", "rules over the drawn captions"
NAMES = tuple(label.name for label in LABELS)


@dataclass(frozen=True)
class Asked:
    """The labels that each picture of a side has to show, and where they come from."""

    labels: Sequence[Sequence[int]]
    origin: str


def asked(pictures: Pictures | None) -> Asked | None:
    """The labels of the caption lists where they are known, else those that the captions name; ``None``: no label."""
    if pictures is None or (pictures.objects is None and pictures.captions is None):
        return None
    if pictures.objects is not None:
        found = Asked(pictures.objects, LISTS)
    else:
        assert pictures.captions is not None
        found = Asked([labels_of(caption) for caption in pictures.captions.texts], RULES)
    return found if any(found.labels) else None


def check_labels(pictures: Pictures) -> Asked:
    """The labels that pictures have to show, of which there must be some."""
    found = asked(pictures)
    if found is None:
        count = len(pictures.captions.texts) if pictures.captions is not None else 0
        raise UserError(
            f"soa: none of the {count:,} captions names one of the 80 objects as the lists of SOA would "
            "have it (e.g. 'a bus on a road'); evaluate with SOA's caption lists, or leave soa out"
        )
    return found


def soa(generated: Sequence[Features], real: Features | None, network: str) -> list[Score]:
    """SOA-C first, SOA-I, Top40 and Bot40, their IoU where boxes are known; then those of the real side.

    Top40 and Bot40 are left out where not all 80 labels have images.
    """
    wanted = asked(real.pictures) if real is not None else None
    truth = one_side(real, wanted, network) if real is not None and wanted is not None else None
    found = []
    for side in generated:
        assert side.pictures is not None
        found.append(beside(one_side(side, check_labels(side.pictures), network), truth))
    return found


def one_side(side: Features, wanted: Asked, network: str) -> Score:
    """The scores of one side."""
    result = scores.accuracies(wanted.labels, side.of(network, "present") > 0.5)
    values = {"soa-c": scores.class_mean(result), "soa-i": scores.image_mean(result)}
    if bool(result.have_images.all()):
        values["soa-c-top40"], values["soa-c-bot40"] = scores.half_means(result)
    if side.pictures is not None and side.pictures.boxes is not None:
        ious = scores.overlaps(wanted.labels, side.pictures.boxes, side.of(network, "boxes"), len(LABELS))
        values["soa-c-iou"] = scores.class_overlap(ious, result)
        values["soa-i-iou"] = scores.image_overlap(ious, result)
    return Score(values, {"lists": wanted.origin, "labels": label_rows(result, NAMES)})


def soa_scenes(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """SOA-C and SOA-I of the drawn world's 20 categories by its own recogniser, then those of real drawings."""
    wanted = asked_of_scenes(real.pictures) if real is not None else None
    truth = scenes_side(real, wanted) if real is not None and wanted is not None else None
    found = []
    for side in generated:
        assert side.pictures is not None
        found.append(beside(scenes_side(side, check_scenes(side.pictures)), truth))
    return found


def asked_of_scenes(pictures: Pictures | None) -> list[list[int]] | None:
    """The objects of scenes that captions name; ``None``: none."""
    if pictures is None or pictures.captions is None:
        return None
    numbers = {name: number for number, name in enumerate(CATEGORY_NAMES)}
    labels = [[numbers[name] for name, _ in understand(caption).objects] for caption in pictures.captions.texts]
    return labels if any(labels) else None


def check_scenes(pictures: Pictures) -> list[list[int]]:
    """The objects of scenes that pictures have to show, of which there must be some."""
    labels = asked_of_scenes(pictures)
    if labels is None:
        count = len(pictures.captions.texts) if pictures.captions is not None else 0
        raise UserError(
            f"soa: none of the {count:,} captions names one of the {len(CATEGORY_NAMES)} objects of "
            "scenes (e.g. 'a red bus on a street'); soa-scenes judges pictures of scenes alone"
        )
    return labels


def scenes_side(side: Features, labels: Sequence[Sequence[int]]) -> Score:
    """The scores of one side of scenes."""
    result = scores.accuracies(labels, side.of("scenes_recogniser", "category") > 0)
    values = {"soa-c": scores.class_mean(result), "soa-i": scores.image_mean(result)}
    return Score(values, {"lists": RULES, "labels": label_rows(result, CATEGORY_NAMES)})


def beside(score: Score, truth: Score | None) -> Score:
    """A generated side's values with those of the real side behind them."""
    if truth is None:
        return score
    real = {name + REAL: value for name, value in truth.values.items()}
    return Score({**score.values, **real}, {**score.details, f"labels{REAL}": truth.details["labels"]})


def label_rows(result: scores.Accuracies, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each label that has images."""
    columns = zip(names, result.images.tolist(), result.found.tolist(), strict=True)
    return [
        {"label": label, "name": name, "images": images, "found": found, "accuracy": found / images}
        for label, (name, images, found) in enumerate(columns)
        if images
    ]


def row(name: str, network: str) -> Metric:
    """SOA by one detector."""
    compute = partial(soa, network=network)
    return Metric(
        name,
        network,
        "higher",
        compute,
        needs_captions=True,
        check=check_labels,
        pictures="objects",
        shows_network=True,
        shown_as="soa",
    )


METRICS = (
    row("soa", "rtdetr"),
    row("soa-yolov3", "yolov3"),
    row("soa-darknet", "darknet"),
    row("soa-detr", "detr"),
    row("soa-yolos", "yolos"),
    Metric(
        "soa-scenes",
        "scenes_recogniser",
        "higher",
        soa_scenes,
        needs_captions=True,
        check=check_scenes,
        only="scenes",
        shows_network=True,
        shown_as="soa",
    ),
)
