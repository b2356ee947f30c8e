"""Which captions a protocol draws from a prepared split, and which wrong ones it compares each picture with."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from t2icli.errors import UserError
from t2icli.evaluation.protocol import Captions, Negatives

if TYPE_CHECKING:
    from t2icli.data.shard_folder import ShardFolder


@dataclass(frozen=True)
class Drawn:
    """One caption to generate a picture for."""

    image: int  # which image of the split it belongs to
    which: int  # which of that image's captions
    id: int  # the data set's own number of the image
    text: str
    class_index: int = -1  # the data set's class of the image; -1: it has none


def draw(folder: "ShardFolder", rule: Captions) -> list[Drawn]:
    """The captions of a protocol; the same for the same split and rule, whatever generates from them."""
    # RandomState and not the newer Generator: its stream is promised never to change between versions of numpy.
    random = np.random.RandomState(rule.seed)
    counts = [caption_count(folder, image) for image in range(len(folder))]
    walk = image_passes if rule.choice == "image-passes" else caption_passes
    return [described(folder, image, which) for image, which in islice(walk(counts, random), rule.count)]


def image_passes(counts: Sequence[int], random: np.random.RandomState) -> Iterator[tuple[int, int]]:
    """Endless passes over the images in random order, at each one of its captions at random."""
    while True:
        for image in random.permutation(len(counts)):
            yield int(image), int(random.randint(counts[image]))


def caption_passes(counts: Sequence[int], random: np.random.RandomState) -> Iterator[tuple[int, int]]:
    """Endless passes over all captions in random order."""
    every = [(image, which) for image, count in enumerate(counts) for which in range(count)]
    while True:
        for number in random.permutation(len(every)):
            yield every[number]


def caption_count(folder: "ShardFolder", image: int) -> int:
    """How many captions an image has."""
    shard, row = folder.locate(image)
    return len(shard.captions(row))


def described(folder: "ShardFolder", image: int, which: int) -> Drawn:
    """A drawn caption with its text."""
    shard, row = folder.locate(image)
    text = shard.text(shard.captions(row)[which])
    return Drawn(image, which, int(shard.ids[row]), text, int(shard.classes[row]))


def texts_hash(texts: Sequence[str]) -> str:
    """SHA-256 of captions in whatever order, as JSON in ASCII; the same for a run and for a folder of its pictures."""
    return hashlib.sha256(json.dumps(sorted(texts)).encode("ascii")).hexdigest()


def caption_hash(drawn: Sequence[Drawn]) -> str:
    """SHA-256 of the lines ``image id, tab, caption``, the only hash of captions that older results have of runs."""
    return hashlib.sha256("".join(f"{d.id}\t{d.text}\n" for d in drawn).encode()).hexdigest()


def draw_negatives(groups: Sequence[int], rule: Negatives) -> NDArray[np.int32]:
    """For each caption the rows of ``rule.count`` others of other groups (images, or classes), (N, count), none twice.

    The draw is a function of the groups and the rule alone. ``UserError`` where some caption has too few others.
    """
    members = np.asarray(groups)
    _, inverse, sizes = np.unique(members, return_inverse=True, return_counts=True)
    fewest = len(members) - int(sizes.max(initial=0))
    if fewest < rule.count:
        raise UserError(
            f"R-precision compares each picture with {rule.count} captions of {rule.among.replace('-', ' ')}, "
            f"and of {len(members):,} captions some have only {fewest}"
        )
    random = np.random.RandomState(rule.seed)
    chosen = np.empty((len(members), rule.count), np.int32)
    for row, group in enumerate(inverse):
        chosen[row] = others(inverse, int(group), rule.count, random)
    return chosen


def others(groups: NDArray[np.intp], own: int, count: int, random: np.random.RandomState) -> NDArray[np.int32]:
    """Rows of other groups at random: drawn one by one, what repeats or is of the own group is drawn again."""
    found: dict[int, None] = {}
    while len(found) < count:
        for candidate in random.randint(len(groups), size=count - len(found)).tolist():
            if groups[candidate] != own:
                found[candidate] = None
    return np.fromiter(found, np.int32)


def negatives_hash(negatives: NDArray[np.int32]) -> str:
    """SHA-256 of the rows as little-endian 32-bit numbers."""
    return hashlib.sha256(negatives.astype("<i4").tobytes()).hexdigest()
