"""Semantic Object Accuracy from what a detector found: pure functions, no files, no networks.

Hinz, Heinrich and Wermter (arXiv 1910.13321). A label's accuracy is the share of all its images, those without any
detection included, in which a detector finds the label. A label without images has no accuracy and is left out of the
means; with the official lists there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIXELS = 256  # the side of the grid on which boxes are compared


@dataclass(frozen=True)
class Accuracies:
    """What was found, label by label."""

    images: Tensor  # (K,) int64: images that have to show the label
    found: Tensor  # (K,) int64: images of these in which it was detected

    @property
    def shares(self) -> Tensor:
        """(K,) float64; NaN for a label without images."""
        return self.found.double() / self.images

    @property
    def have_images(self) -> Tensor:
        """(K,) whether a label has images."""
        return self.images > 0


def accuracies(labels_per_image: Sequence[Sequence[int]], present: Tensor) -> Accuracies:
    """Count hits from the labels that each of N images has to show and ``present`` (N, K), true where detected.

    An image counts once for each of its labels.
    """
    if len(labels_per_image) != len(present):
        raise ValueError(f"{len(labels_per_image)} images have labels and {len(present)} were looked at")
    kinds = present.shape[1]
    pairs = [(row, label) for row, labels in enumerate(labels_per_image) for label in set(labels)]
    rows, labels = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    hits = labels[present.bool()[rows, labels]]
    return Accuracies(torch.bincount(labels, minlength=kinds), torch.bincount(hits, minlength=kinds))


def class_mean(result: Accuracies) -> float:
    """SOA-C: the mean accuracy of the labels."""
    return float(result.shares[result.have_images].mean())


def image_mean(result: Accuracies) -> float:
    """SOA-I: the share of all images in which the label was found."""
    return float(result.found.sum() / result.images.sum().double())


def bottom_half(result: Accuracies) -> Tensor:
    """(K,) whether a label is of the half with the fewest images; of equals the lower label comes first."""
    order = result.images.argsort(stable=True)
    bottom = torch.zeros(len(order), dtype=torch.bool)
    bottom[order[: len(order) // 2]] = True
    return bottom


def half_means(result: Accuracies) -> tuple[float, float]:
    """Top40 and Bot40: the mean accuracy of the labels with the most and with the fewest images."""
    bottom = bottom_half(result)
    top, rest = (result.shares[half & result.have_images].mean() for half in (~bottom, bottom))
    return float(top), float(rest)


def overlaps(
    labels_per_image: Sequence[Sequence[int]],
    given: Sequence[Sequence[Sequence[float]]],
    detected: Tensor,
    kinds: int = 80,
) -> Tensor:
    """The mean overlap (IoU) of each label's detected boxes with the given ones, (kinds,) float64.

    ``given`` holds for each image its boxes (label, x, y, width, height), ``detected`` (N, D, 6) the found ones
    (label or -1, x1, y1, x2, y2, score), all in shares of the image's sides. An image counts with its best pair of
    the label; one without a pair is left out of the mean, and a label without any gets 0.
    """
    sums, counts = np.zeros(kinds), np.zeros(kinds)
    found = detected.numpy()
    for labels, told, seen in zip(labels_per_image, given, found, strict=True):
        for label in set(labels):
            truth = np.array([box[1:5] for box in told if box[0] == label], dtype=np.float64)
            corners = seen[seen[:, 0] == label, 1:5].astype(np.float64)
            if len(truth) and len(corners):
                sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
                sums[label] += box_ious(whole_pixels(truth), whole_pixels(sides)).max()
                counts[label] += 1
    return torch.from_numpy(sums / np.maximum(counts, 1))


def class_overlap(ious: Tensor, result: Accuracies) -> float:
    """SOA-C-IoU: the mean over the labels that have images, zeros included."""
    return float(ious[result.have_images].mean())


def image_overlap(ious: Tensor, result: Accuracies) -> float:
    """SOA-I-IoU: the mean weighted by all images of each label."""
    return float((ious * result.images).sum() / result.images.sum())


def whole_pixels(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Boxes (n, 4) x, y, width, height in shares as corners x1, y1, x2, y2 in whole pixels of a 256 px image.

    x1 = ⌊256 x⌋ and x2 = x1 + ⌊256 width⌋; what is negative becomes 0, and a side without length gets 1 px.
    """
    scaled = np.floor(boxes * PIXELS).astype(np.int64)
    low = scaled[:, :2]
    high = np.maximum(low + scaled[:, 2:], 0)
    low = np.maximum(low, 0)
    return np.concatenate([low, np.where(high <= low, low + 1, high)], axis=1)


def box_ious(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes (n, 4) and (m, 4) given by corners, (n, m); no pixel is added."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(shared / (areas[0][:, None] + areas[1][None, :] - shared))
