"""Published figures, and whether a result of ours may stand beside one.

A figure means something only together with its network, resize, real images, captions and number of images. Most
published figures leave some of that unsaid, so most may not be compared with anything: ``matches`` says why.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASSET = Path(__file__).parents[2] / "assets" / "published-results.json"

# Data sets as manifests and protocols name them -> as the published figures do. Drawn scenes have no published figures.
DATASETS = {
    "coco": "COCO-14",
    "cub": "CUB",
    "localized_narratives": "LN-COCO",
    "ln-coco": "LN-COCO",
    "ln-openimages": "LN-OpenImages",
}
NOTHING = "nothing here is measured that way"
SOA_LISTS = "lists"  # what SOA's details say where its labels came from the published caption lists
SOA_LABELS = 80
SOA_PICTURES = 420_372  # three of every caption of labels 1 to 79, and 30,000 of the label person


@dataclass(frozen=True)
class Row:
    """One published figure, in the unit in which it was published."""

    system: str
    dataset: str
    metric: str
    value: float | str  # text where a range was published
    status: str  # a key of ``status_meanings``
    source: str
    std: float | None = None
    protocol: str | None = None
    note: str | None = None

    def says(self, phrase: str) -> bool:
        """Whether the name of the system or of the protocol holds a phrase."""
        return phrase in self.system or phrase in (self.protocol or "")


@dataclass(frozen=True)
class Measure:
    """Which of our metrics comes nearest to a published one, and what keeps the two apart.

    ``never`` is a reason that holds for every figure of the name. ``apart`` holds pairs of a phrase and the reason
    against the figures that say it. Otherwise a figure has to say one of ``says`` and be of ``dataset``.
    """

    ours: str | None  # the metric's title in a result; None: there is none
    key: str = ""  # of the entry's ``mean``; empty: the headline
    scale: float = 1  # published unit per unit of ours: 100 where we give shares and papers give %
    never: str = ""
    apart: tuple[tuple[str, str], ...] = ()
    says: tuple[str, ...] = ()
    unsaid: str = ""  # the reason against a figure that says none of them
    dataset: str = "COCO-14"
    elsewhere: str = ""  # the reason against figures of other data sets
    protocol: str | None = None  # the one that our result has to follow; None: any of the data set
    full_lists: bool = False  # whether all SOA pictures have to be there
    same: str = ""  # what the two have in common, and what stays unknown


DETECTOR = "soa[yolov3@0.5]"
UNKNOWN_DETECTOR = "the row does not say which detector, image size and threshold it used"
SAME_DETECTOR = "same detector, image size, threshold and caption lists; the pictures' noise was never published"
MASK_R_CNN = "another detector, and pictures in which it found nothing were left out of the count, which inflates it"
PEOPLE = "people were asked, which nothing here does"
OWN_ENCODER = "the encoder is the one that the system was trained with, and mismatched captions could repeat"
MEASURES = {
    "FID (TF)": Measure(
        "fid-tf",
        says=("TTUR", "TensorFlow 2015-12-05"),
        unsaid="the row does not say that it was computed with the TensorFlow graph's code",
        elsewhere="how many real images it used, and how these were cropped, is not said",
        protocol="coco14-30k",
        same="same network, weights and data set; which captions and real images it used is not said",
    ),
    "FID (torchvision-weights)": Measure(
        "fid-torchvision",
        never="the row does not say how its images were resized and quantised, nor which real images it used",
        apart=(
            (".npz", "its real statistics come from a file that does not say of which images"),
            ("truncated noise", "its images were never quantised and its noise was truncated"),
        ),
    ),
    "FID (Keras Inception)": Measure("fid-keras", never="it was measured at 128 px, against randomly flipped images"),
    "FID (mixed protocols, as commonly tabulated)": Measure(
        None, never="rows copied between papers: the networks behind them differ"
    ),
    "FID (XMC-GAN table)": Measure(
        None, never="the paper's evaluation code was not published, nor which network it is"
    ),
    "FID": Measure(None, never="the row does not say which network and which resize it used"),
    "IS": Measure(
        "is",
        never="the row does not say which network, resize and splits it used",
        apart=(
            ("improved-gan", "images were resized by PIL and split in the order of their files, ours are shuffled"),
            ("bird", "the network was fine-tuned on birds, and images were shuffled without a seed"),
        ),
    ),
    "IS*": Measure(None, never="the row does not say which captions were drawn, nor in which order they were split"),
    "R-precision (CLIP ViT-B/32, 5,000 captions, %)": Measure(
        "rp-clip",
        scale=100,
        never="its 5,000 captions and their mismatched captions are a stored list, ours are drawn from a seed",
    ),
    "R-precision (DAMSM, %)": Measure(None, never=OWN_ENCODER),
    "R-precision (DAMSM-style, k=1, %)": Measure(None, never=OWN_ENCODER),
    "R-precision (k=2, %)": Measure(None, never=OWN_ENCODER),
    "R-precision (k=3, %)": Measure(None, never=OWN_ENCODER),
    "R-precision (independent encoder, %)": Measure(None, never="its encoder was never published"),
    "Human preference (image quality, %)": Measure(None, never=PEOPLE),
    "Human preference (image-text alignment, %)": Measure(None, never=PEOPLE),
    "SOA-C (Mask R-CNN, %)": Measure(None, never=MASK_R_CNN),
    "SOA-I (Mask R-CNN, %)": Measure(None, never=MASK_R_CNN),
} | {
    f"{name} (%)": Measure(
        DETECTOR,
        key=name.lower(),
        scale=100,
        says=("YOLOv3, 256 px, objectness 0.5",),
        unsaid=UNKNOWN_DETECTOR,
        elsewhere="the caption lists for this data set were not published",
        full_lists=True,
        same=SAME_DETECTOR,
    )
    for name in ("SOA-C", "SOA-I")
}


@functools.cache
def published() -> dict[str, Any]:
    """The whole file of published figures."""
    found: dict[str, Any] = json.loads(ASSET.read_text(encoding="utf-8"))
    return found


def rows(dataset: str) -> list[Row]:
    """The published figures of a data set by its published name, e.g. "COCO-14"; none for one that is not known."""
    return [Row(**row) for row in published()["results"] if row["dataset"] == dataset]


def status_meanings() -> dict[str, str]:
    """What "verified" and the other words for a figure's status mean."""
    meanings: dict[str, str] = published()["status_meaning"]
    return meanings


def dataset_of(result: Mapping[str, Any]) -> str | None:
    """Published name of the data set that a result is about; None where no figures of it are published."""
    fixed = (result.get("protocol_file") or {}).get("real") or {}
    name = (result.get("real") or {}).get("dataset") or fixed.get("dataset")
    return DATASETS.get(str(name))


def value_of(row: Row, result: Mapping[str, Any]) -> float | None:
    """Our figure of the same name in the unit of the published one; None where the result has none."""
    measure = MEASURES.get(row.metric)
    entry = result["metrics"].get(measure.ours) if measure else None
    if measure is None or entry is None or not entry["computed"]:
        return None
    value = entry["mean"].get(measure.key) if measure.key else entry["value"]
    return None if value is None else value * measure.scale


def matches(row: Row, result: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a published figure followed the protocol that our result followed; and in words why, or why not.

    What the published figure leaves unsaid counts against it, and so does every departure of ours.
    """
    measure = MEASURES.get(row.metric)
    if measure is None:
        return False, NOTHING
    theirs = fault_of_row(row, measure)
    if theirs:
        return False, f"{measure.ours} is the nearest here, but {theirs}" if measure.ours else theirs
    ours = fault_of_result(row, measure, result)
    return not ours, ours or measure.same


def fault_of_row(row: Row, measure: Measure) -> str:
    """What about the published figure forbids the comparison; empty when nothing does."""
    for phrase, reason in measure.apart:
        if row.says(phrase):
            return reason
    if measure.never:
        return measure.never
    if row.dataset != measure.dataset:
        return measure.elsewhere
    return "" if any(row.says(phrase) for phrase in measure.says) else measure.unsaid


def fault_of_result(row: Row, measure: Measure, result: Mapping[str, Any]) -> str:
    """What about our result forbids the comparison; empty when nothing does."""
    dataset, protocol = dataset_of(result), result["protocol"]
    if dataset != row.dataset:
        return f"this result is of {dataset or 'another data set'}, not of {row.dataset}"
    if protocol.endswith("*") or result["deviations"]:
        return f"this result departs from its protocol ({protocol})"
    if measure.protocol not in (None, protocol):
        return f"this result follows {protocol} instead of {measure.protocol}"
    if value_of(row, result) is None:
        return f"this result has no {measure.key or measure.ours}"
    entry = result["metrics"][measure.ours]
    if not entry["weights"]["published"]:
        return f"{entry['weights']['name']} weights of this result are not the published ones"
    if measure.full_lists:
        return fault_of_lists(entry)
    return ""


def fault_of_lists(entry: Mapping[str, Any]) -> str:
    """Whether SOA looked at other pictures, or fewer, than the published lists ask for."""
    details = entry["details"][0] if entry.get("details") else {}
    labels = details.get("labels", [])
    pictures = sum(label["images"] for label in labels)
    if details.get("lists") != SOA_LISTS:
        return "this result's labels do not come from the published caption lists"
    if len(labels) == SOA_LABELS and pictures == SOA_PICTURES:
        return ""
    return (
        f"{pictures:,} pictures of {len(labels)} labels, where the published lists ask for "
        f"{SOA_PICTURES:,} of {SOA_LABELS}"
    )
