"""Which captions a protocol draws from a prepared split."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from t2icli.evaluation.protocol import Captions

if TYPE_CHECKING:
    from t2icli.data.shards import ShardFolder


@dataclass(frozen=True)
class Drawn:
    """One caption to generate a picture for."""

    image: int  # which image of the split it belongs to
    which: int  # which of that image's captions
    id: int  # the data set's own number of the image
    text: str


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
    return Drawn(image, which, int(shard.ids[row]), shard.text(shard.captions(row)[which]))


def caption_hash(drawn: Sequence[Drawn]) -> str:
    """SHA-256 of the lines ``image id, tab, caption``: two results with equal hashes drew for the same captions."""
    return hashlib.sha256("".join(f"{d.id}\t{d.text}\n" for d in drawn).encode()).hexdigest()
