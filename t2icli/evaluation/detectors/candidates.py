"""From what a YOLO head says to candidates, and from candidates to boxes, as SOA's authors do it.

Hinz et al. (arXiv 1910.13321) count an object as found where YOLOv3 has a candidate of its class with objectness of at
least 0.5. The class is the one with the greatest sigmoid, however small that is. Suppressing overlapping boxes never
removes the last of a class, so presence is read before it; boxes come after it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from t2icli.evaluation.detectors.darknet_config import Yolo

OBJECTNESS = 0.5
OVERLAP = 0.4
BOXES = 100  # of an image that are kept


def candidates_of(heads: Sequence[tuple[Yolo, Tensor]], width: int, height: int) -> Tensor:
    """All heads' candidates, (n, C, 5 + K): corners in pixels of the network's input, objectness, class sigmoids."""
    return torch.cat([decode(raw, head, width, height) for head, raw in heads], 1)


def decode(raw: Tensor, head: Yolo, width: int, height: int) -> Tensor:
    """One head's candidates (n, anchors x h x w, 5 + K) from its raw channels, anchor by anchor, row by row.

    Centre = (sigmoid(t) scale - (scale - 1) / 2 + cell) x stride, sides = anchor x exp(t).
    """
    count, _, rows, columns = raw.shape
    raw = raw.reshape(count, len(head.anchors), 5 + head.classes, rows, columns).permute(0, 1, 3, 4, 2).float()
    cells = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1).to(raw)
    stride = raw.new_tensor([width / columns, height / rows])
    shift = raw[..., :2].sigmoid() * head.scale_x_y - (head.scale_x_y - 1) / 2
    centre = (shift + cells) * stride
    half = raw.new_tensor(head.anchors)[:, None, None] * raw[..., 2:4].exp() / 2
    return torch.cat([centre - half, centre + half, raw[..., 4:].sigmoid()], -1).flatten(1, 3)


def present(candidates: Tensor, objectness: float = OBJECTNESS) -> Tensor:
    """Which classes have a candidate, (n, K) of 0 and 1."""
    found = candidates[..., 4] >= objectness
    best = F.one_hot(candidates[..., 5:].argmax(-1), candidates.shape[-1] - 5)
    return (best.bool() & found[..., None]).any(1).float()


def strongest(candidates: Tensor, width: int, height: int, objectness: float = OBJECTNESS) -> Tensor:
    """The best boxes of each image after suppression, (n, 100, 6): label, x1, y1, x2, y2 in shares of sides, score."""
    sides = torch.tensor([1.0, width, height, width, height, 1.0])
    found = [suppress(image[image[:, 4] >= objectness].cpu()) / sides for image in candidates]
    return padded(found).to(candidates.device)


def suppress(candidates: Tensor, overlap: float = OVERLAP) -> Tensor:
    """Candidates of one image (C, 5 + K) -> (M, 6): label, corners, score = objectness x class sigmoid, best first.

    A box and all later ones of its class with IoU above ``overlap`` become one: their mean weighted by objectness,
    with the first one's score.
    """
    probabilities, labels = candidates[:, 5:].max(-1)
    scores = candidates[:, 4] * probabilities
    left = scores.argsort(descending=True, stable=True)
    found = []
    while len(left):
        best, boxes = left[0], candidates[left, :4]
        group = (iou_with_pixels(boxes[0], boxes) > overlap) & (labels[left] == labels[best])
        group[0] = True  # also where a side overflowed and its IoU is no number
        weights = candidates[left[group], 4:5]
        box = (weights * boxes[group]).sum(0) / weights.sum()
        found.append(torch.cat([labels[best, None].to(box), box, scores[best, None]]))
        left = left[~group]
    return torch.stack(found) if found else candidates.new_zeros(0, 6)


def iou_with_pixels(box: Tensor, boxes: Tensor) -> Tensor:
    """IoU of one box (4,) with others (M, 4) where corners are pixels that belong to the box: sides are one longer."""
    inner = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2]) + 1).clamp(min=0).prod(-1)
    area, areas = (box[2:] - box[:2] + 1).prod(), (boxes[:, 2:] - boxes[:, :2] + 1).prod(-1)
    return inner / (area + areas - inner)


def padded(found: Sequence[Tensor]) -> Tensor:
    """Boxes of each image (M, 6), best first -> (n, 100, 6); where an image has fewer, the label of a row is -1."""
    rows = torch.zeros(len(found), BOXES, 6)
    rows[..., 0] = -1
    for image, boxes in zip(rows, found, strict=True):
        image[: len(boxes[:BOXES])] = boxes[:BOXES]
    return rows
