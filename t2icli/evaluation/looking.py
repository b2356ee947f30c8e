"""Shows images to frozen networks: each image once to each network, by all processes, kept for the next time.

Images are taken in chunks. Which process looks at a chunk, and in which batches, changes nothing but rounding. What
was seen of a chunk is cached (``caching``), and every few seconds what was seen of a part of it, so that an evaluation
that was ended goes on where it stood, and another metric of the same network costs nothing.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2icli.console import progress
from t2icli.distributed import World, gathered
from t2icli.evaluation.caching import DIGEST, Key, Stored, digest_of, read_chunk, read_part, write_chunk, write_part
from t2icli.evaluation.features import Features, Layers, Network, Pictures, View

CHUNK = 1024  # rows of one file of the cache
SECONDS_UNSAVED = 2.0  # an end at any moment loses what was seen for so long, and one batch
Name = tuple[str, str]  # of a question: the network, and "images" or "captions"


@dataclass(frozen=True)
class Machine:
    """Where networks run, and how; nothing of it but the precision changes a result beyond rounding."""

    world: World = field(default_factory=lambda: World(0, 1, torch.device("cpu")))
    batch_size: int = 32
    precision: str = "float32"  # or "bfloat16", which results say
    cache: Path | None = None  # folder of what was seen; None: nothing is kept


@dataclass(frozen=True)
class Question:
    """What one network is asked: about every image, or about every caption."""

    network: Network
    of_images: bool

    def answer(self, view: View) -> Layers:
        """What the network says of a batch."""
        if self.of_images:
            return self.network.layers(view)
        assert self.network.texts is not None and view.captions is not None
        return self.network.texts(view.captions)


def look(pictures: Pictures, networks: Mapping[str, Network], machine: Machine) -> Features | None:
    """What networks say of all pictures of a side; ``None`` in processes other than the first."""
    count, world = len(pictures.images), machine.world
    asked = questions(pictures, networks)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    collected = {name: Collected(count) for name in asked}
    digests: list[bytes] = []
    what = progress(f"Looking at {pictures.label}", count, "images") if world.first else nullcontext(lambda _: None)
    with what as advance:
        for first in range(0, len(chunks), world.size):
            mine = first + world.rank
            seen = chunk(pictures, chunks[mine], asked, machine, advance) if mine < len(chunks) else None
            for place, part in enumerate(gathered(seen)[: len(chunks) - first]):
                assert part is not None
                rows = chunks[first + place]
                for name, one in part.items():
                    collected[name].add(rows, one.layers)
                digests.append(next(one.digests for (_, about), one in part.items() if about == "images"))
                if place != world.rank:  # what this process saw was counted while it looked
                    advance(len(rows))
    if not world.first:
        return None
    each = b"".join(digests)
    apart = sorted(each[place : place + DIGEST] for place in range(0, len(each), DIGEST))
    return Features(
        count,
        hashlib.sha256(each).hexdigest(),
        {network: one.layers for (network, about), one in collected.items() if about == "images"},
        {network: one.layers for (network, about), one in collected.items() if about == "captions"},
        pictures,
        hashlib.sha256(b"".join(apart)).hexdigest(),
    )


def questions(pictures: Pictures, networks: Mapping[str, Network]) -> dict[Name, Question]:
    """What is asked of each network; about captions only where there are some."""
    asked = {(name, "images"): Question(network, of_images=True) for name, network in networks.items()}
    if pictures.captions is not None:
        readers = {name: network for name, network in networks.items() if network.texts is not None}
        asked |= {(name, "captions"): Question(network, of_images=False) for name, network in readers.items()}
    return asked


class Collected:
    """The layers of one question, filled chunk by chunk so that nothing is held twice."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.layers: Layers = {}

    def add(self, rows: range, layers: Mapping[str, Tensor]) -> None:
        """Put the rows of a chunk in their place."""
        for name, values in layers.items():
            if name not in self.layers:
                self.layers[name] = torch.empty(self.count, *values.shape[1:])
            self.layers[name][rows.start : rows.stop] = values


def chunk(
    pictures: Pictures,
    rows: range,
    asked: Mapping[Name, Question],
    machine: Machine,
    advance: Callable[[int], None],
) -> dict[Name, Stored]:
    """What networks say of some pictures; images are fetched only if one of them has not seen these yet."""
    keys = keys_of(pictures, rows, asked, machine)
    seen: dict[Name, Stored] = {}
    for name, key in keys.items():
        stored = read_chunk(machine.cache, key) if machine.cache else None
        if stored is not None:
            seen[name] = stored
    missing = {name: question for name, question in asked.items() if name not in seen}
    if missing:
        seen |= look_afresh(pictures, rows, missing, keys, machine, advance)
    else:
        advance(len(rows))
    return {name: seen[name] for name in asked}


@torch.inference_mode()
def look_afresh(
    pictures: Pictures,
    rows: range,
    asked: Mapping[Name, Question],
    keys: Mapping[Name, Key],
    machine: Machine,
    advance: Callable[[int], None],
) -> dict[Name, Stored]:
    """Show pictures, and their captions, to networks, from where an earlier evaluation was ended."""
    growing = Growing(asked, keys, machine.cache)
    advance(growing.done)
    needs_images = any(question.of_images for question in asked.values())
    for start in range(rows.start + growing.done, rows.stop, machine.batch_size):
        stop = min(start + machine.batch_size, rows.stop)
        images = pictures.images.batch(start, stop).contiguous().cpu() if needs_images else torch.empty(0)
        digests = b"".join(hashlib.sha256(image.numpy().tobytes()).digest() for image in images)
        view = view_of(pictures, images.to(machine.world.device), range(start, stop))
        with machine.world.autocast(machine.precision):
            answers = {name: question.answer(view) for name, question in asked.items()}
        growing.add(stop - start, digests, answers)
        advance(stop - start)
        if stop < rows.stop:
            growing.save_now_and_then()
    return growing.whole()


class Growing:
    """What is seen of a chunk so far, on disk too every few seconds."""

    def __init__(self, asked: Mapping[Name, Question], keys: Mapping[Name, Key], cache: Path | None) -> None:
        self.asked, self.keys, self.cache = asked, {name: keys[name] for name in asked if name in keys}, cache
        self.saved = time.monotonic()
        self.parts: dict[Name, list[Stored]] = {name: [] for name in asked}
        begun = {name: read_part(cache, key) for name, key in self.keys.items()} if cache else {}
        # Where one question was saved for more rows than another, e.g. by other metrics, the fewest count for all.
        self.done = min((part.rows if (part := begun.get(name)) else 0) for name in asked)
        if self.done:
            self.parts = {name: [part.first(self.done)] for name, part in begun.items() if part}

    def add(self, count: int, digests: bytes, answers: Mapping[Name, Layers]) -> None:
        """A batch's answers."""
        self.done += count
        for name, layers in answers.items():
            kept = {layer: values.float().cpu() for layer, values in layers.items()}
            self.parts[name].append(Stored(digests if self.asked[name].of_images else b"", kept))

    def joined(self, name: Name) -> Stored:
        """All answers to a question as one."""
        parts = self.parts[name]
        layers = {layer: torch.cat([part.layers[layer] for part in parts]) for layer in parts[0].layers}
        self.parts[name] = [Stored(b"".join(part.digests for part in parts), layers)]
        return self.parts[name][0]

    def save_now_and_then(self) -> None:
        """Keep the rows so far if the last time was some seconds ago."""
        if self.cache is None or time.monotonic() - self.saved < SECONDS_UNSAVED:
            return
        for name, key in self.keys.items():
            write_part(self.cache, key, self.joined(name))
        self.saved = time.monotonic()

    def whole(self) -> dict[Name, Stored]:
        """All rows, kept for good."""
        seen = {name: self.joined(name) for name in self.asked}
        for name, key in self.keys.items():
            if self.cache is not None:
                write_chunk(self.cache, key, seen[name])
        return seen


def view_of(pictures: Pictures, images: Tensor, rows: range) -> View:
    """A batch with its captions, and with captions that are not its own."""
    captions, layout = pictures.captions, pictures.boxes is not None
    if captions is None:
        return View(images, layout=layout)
    own, others = [captions.texts[row] for row in rows], [captions.mismatched(row) for row in rows]
    return View(images, own, others, layout)


def keys_of(pictures: Pictures, rows: range, asked: Mapping[Name, Question], machine: Machine) -> dict[Name, Key]:
    """The cache's key of every question that has one."""
    if machine.cache is None:
        return {}
    pixels = pictures.images.identity(rows.start, rows.stop)
    found = {name: key_of(pictures, rows, question, pixels, machine.precision) for name, question in asked.items()}
    return {name: key for name, key in found.items() if key is not None}


def key_of(
    pictures: Pictures, rows: range, question: Question, pixels: Mapping[str, Any] | None, precision: str
) -> Key | None:
    """Everything that decides what a network answers for a chunk, and nothing else; ``None``: pixels have no name."""
    network, captions = question.network, pictures.captions
    key: Key = {"network": identity_of(network), "precision": precision}
    if question.of_images:
        if pixels is None:
            return None
        key["pixels"] = dict(pixels)
        if network.finds_boxes:
            key["boxes"] = pictures.boxes is not None
    if captions is not None and (network.reads_pairs or not question.of_images):
        key["captions"] = digest_of([captions.texts[row] for row in rows])
        if question.of_images:
            key["mismatched"] = digest_of([captions.mismatched(row) for row in rows])
    return key


def identity_of(network: Network) -> dict[str, Any]:
    """Which network this is: by the hash of its weights, not by the name of their file."""
    facts: dict[str, Any] = {}
    for name, value in network.facts.items():
        facts[name] = value["sha256"] if isinstance(value, Mapping) and "sha256" in value else value
    return facts | {"settings": network.settings}
