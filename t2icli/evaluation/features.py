"""What frozen networks say about images, extracted in one pass for all metrics."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from t2icli.console import progress
from t2icli.evaluation.images import Images


@dataclass(frozen=True)
class Network:
    """A frozen network; a module in ``networks/`` offers ``load(weights, device)``, which yields one."""

    facts: Mapping[str, Any]  # what a result says about it: network, weights with their hash, resize
    layers: Callable[[Tensor], dict[str, Tensor]]  # (n, 3, H, W) uint8 on its device -> name -> (n, ...)


@dataclass(frozen=True)
class Pictures:
    """Images to be looked at, with the captions they belong to where those are known."""

    images: Images
    label: str  # in progress lines, e.g. "real" or "seed 0"
    captions: Sequence[str] | None = None
    seed: int | None = None  # of the noise, where they were generated here


@dataclass(frozen=True)
class Features:
    """Layers of networks over all images of one side."""

    count: int
    captions: Sequence[str] | None
    sha256: str  # of all pixels in order: which images these were
    layers: dict[str, dict[str, Tensor]] = field(repr=False)  # network -> layer -> (N, ...) float32 on the CPU

    def of(self, network: str, layer: str) -> Tensor:
        """One layer over all images."""
        return self.layers[network][layer]


@torch.inference_mode()
def extract(pictures: Pictures, networks: Mapping[str, Network], batch_size: int, device: torch.device) -> Features:
    """Show every image to every network once."""
    count, digest = len(pictures.images), hashlib.sha256()
    layers: dict[str, dict[str, Tensor]] = {name: {} for name in networks}
    with progress(f"Looking at {pictures.label}", count, "images") as advance:
        for start in range(0, count, batch_size):
            batch = pictures.images.batch(start, min(start + batch_size, count)).contiguous()
            digest.update(batch.cpu().numpy().tobytes())
            batch = batch.to(device)
            for name, network in networks.items():
                for layer, values in network.layers(batch).items():
                    store(layers[name], layer, values.float().cpu(), start, count)
            advance(len(batch))
    return Features(count, pictures.captions, digest.hexdigest(), layers)


def store(layers: dict[str, Tensor], layer: str, values: Tensor, start: int, count: int) -> None:
    """Write a batch's rows into the one tensor of all images, so that they are never held twice."""
    if layer not in layers:
        layers[layer] = torch.empty(count, *values.shape[1:])
    layers[layer][start : start + len(values)] = values
