"""Shows images to frozen networks: each image once to each network, by all processes, kept for the next time.

Images are taken in chunks. Which process looks at a chunk, and in which batches, changes nothing but rounding. What
was seen of a chunk is cached (``caching``), so that an evaluation that was ended goes on where it stood, and another
metric of the same network costs nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2icli.console import progress
from t2icli.distributed import World, gathered
from t2icli.evaluation.caching import Key, digest_of, read_chunk, write_chunk
from t2icli.evaluation.features import Features, Layers, Network, Pictures, View

CHUNK = 1024  # images; an end at any moment loses what was seen of one chunk a process


@dataclass(frozen=True)
class Machine:
    """Where networks run, and how; nothing of it but the precision changes a result beyond rounding."""

    world: World = field(default_factory=lambda: World(0, 1, torch.device("cpu")))
    batch_size: int = 32
    precision: str = "float32"  # or "bfloat16", which results say
    cache: Path | None = None  # folder of what was seen; None: nothing is kept


@dataclass(frozen=True)
class Seen:
    """A chunk as one network saw it."""

    digests: bytes  # 32 bytes an image: the SHA-256 of its pixels
    layers: Layers
    texts: Layers


def look(pictures: Pictures, networks: Mapping[str, Network], machine: Machine) -> Features | None:
    """What networks say of all pictures of a side; ``None`` in processes other than the first."""
    count, world = len(pictures.images), machine.world
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    collected = {name: Collected(count) for name in networks}
    digests: list[bytes] = []
    what = progress(f"Looking at {pictures.label}", count, "images") if world.first else nullcontext(lambda _: None)
    with what as advance:
        for first in range(0, len(chunks), world.size):
            mine = first + world.rank
            seen = chunk(pictures, chunks[mine], networks, machine) if mine < len(chunks) else None
            for rows, part in zip(chunks[first:], gathered(seen), strict=False):
                assert part is not None
                for name, one in part.items():
                    collected[name].add(rows, one)
                digests.append(next(iter(part.values())).digests)
                advance(len(rows))
    if not world.first:
        return None
    return Features(
        count,
        hashlib.sha256(b"".join(digests)).hexdigest(),
        {name: one.layers for name, one in collected.items()},
        {name: one.texts for name, one in collected.items() if one.texts},
        pictures,
    )


class Collected:
    """The layers of one network, filled chunk by chunk so that nothing is held twice."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.layers: Layers = {}
        self.texts: Layers = {}

    def add(self, rows: range, seen: Seen) -> None:
        """Put the rows of a chunk in their place."""
        for into, parts in ((self.layers, seen.layers), (self.texts, seen.texts)):
            for name, values in parts.items():
                if name not in into:
                    into[name] = torch.empty(self.count, *values.shape[1:])
                into[name][rows.start : rows.stop] = values


def chunk(pictures: Pictures, rows: range, networks: Mapping[str, Network], machine: Machine) -> dict[str, Seen]:
    """What networks say of some pictures; images are fetched only if one of them has not seen these yet."""
    keys = {name: key_of(pictures, rows, network, machine.precision) for name, network in networks.items()}
    seen: dict[str, Seen] = {}
    for name, key in keys.items():
        stored = read_chunk(machine.cache, key) if machine.cache and key else None
        if stored is not None:
            seen[name] = Seen(*stored)
    missing = {name: network for name, network in networks.items() if name not in seen}
    for name, one in look_afresh(pictures, rows, missing, machine).items():
        seen[name] = one
        key = keys[name]
        if machine.cache and key:
            write_chunk(machine.cache, key, one.digests, one.layers, one.texts)
    return {name: seen[name] for name in networks}


@torch.inference_mode()
def look_afresh(pictures: Pictures, rows: range, networks: Mapping[str, Network], machine: Machine) -> dict[str, Seen]:
    """Show pictures, and their captions, to networks."""
    if not networks:
        return {}
    digests = bytearray()
    layers: dict[str, dict[str, list[Tensor]]] = {name: {} for name in networks}
    texts: dict[str, dict[str, list[Tensor]]] = {name: {} for name in networks}
    for start in range(rows.start, rows.stop, machine.batch_size):
        stop = min(start + machine.batch_size, rows.stop)
        images = pictures.images.batch(start, stop).contiguous().cpu()
        for image in images:
            digests += hashlib.sha256(image.numpy().tobytes()).digest()
        view = view_of(pictures, images.to(machine.world.device), range(start, stop))
        with machine.world.autocast(machine.precision):
            for name, network in networks.items():
                gather(layers[name], network.layers(view))
                if network.texts is not None and view.captions is not None:
                    gather(texts[name], network.texts(view.captions))
    return {name: Seen(bytes(digests), joined(layers[name]), joined(texts[name])) for name in networks}


def view_of(pictures: Pictures, images: Tensor, rows: range) -> View:
    """A batch with its captions, and with captions that are not its own."""
    captions = pictures.captions
    if captions is None:
        return View(images)
    return View(images, [captions.texts[row] for row in rows], [captions.mismatched(row) for row in rows])


def gather(into: dict[str, list[Tensor]], layers: Layers) -> None:
    """Add a batch's layers."""
    for layer, values in layers.items():
        into.setdefault(layer, []).append(values.float().cpu())


def joined(layers: Mapping[str, Sequence[Tensor]]) -> Layers:
    """Batches as one tensor a layer."""
    return {layer: torch.cat(list(values)) for layer, values in layers.items()}


def key_of(pictures: Pictures, rows: range, network: Network, precision: str) -> Key | None:
    """Everything that decides what a network says of a chunk; ``None`` where the pixels have no name."""
    pixels = pictures.images.identity(rows.start, rows.stop)
    if pixels is None:
        return None
    captions: dict[str, Any] | None = None
    if pictures.captions is not None:
        said = [pictures.captions.texts[row] for row in rows]
        captions = {"own": digest_of(said), "mismatched": digest_of([pictures.captions.mismatched(r) for r in rows])}
    return {
        "pixels": dict(pixels),
        "rows": [rows.start, rows.stop],
        "captions": captions,
        "network": dict(network.facts),
        "precision": precision,
    }
