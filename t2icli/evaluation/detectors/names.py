"""COCO's 80 categories as SOA counts them, and how other models' class ids become these labels."""

from collections.abc import Mapping

from t2icli.errors import EnvironmentFault

# The order of coco.names, which is that of COCO's category ids without their gaps; the index is SOA's label.
COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

# Darknet's coco.names has other words for six of them, and so have models that learned from it.
DARKNET_ALIASES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


def labels_by_name(id2label: Mapping[int, str]) -> dict[int, int]:
    """A model's class ids -> labels 0 to 79, by their names; ids of other classes ("N/A", no object) are left out.

    Case, underscores and hyphens do not matter. A model that lacks a category raises ``EnvironmentFault``: it would
    score 0 there, and the mean over 80 labels would be something else.
    """
    labels = {name: label for label, name in enumerate(COCO_NAMES)}
    labels |= {alias: labels[name] for alias, name in DARKNET_ALIASES.items()}
    plain = {id_: " ".join(name.lower().replace("_", " ").replace("-", " ").split()) for id_, name in id2label.items()}
    found = {int(id_): labels[name] for id_, name in plain.items() if name in labels}
    missing = [name for label, name in enumerate(COCO_NAMES) if label not in found.values()]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} others" if len(missing) > 5 else "")
        raise EnvironmentFault(
            f"the detector names {len(id2label)} classes, and {len(missing)} of COCO's 80 are not among them: {named}; "
            "SOA needs a detector of all 80"
        )
    return found
