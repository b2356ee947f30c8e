"""What frozen networks say about images, extracted once for all metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from t2icli.evaluation.images import Images
from t2icli.evaluation.measures.frechet import Gaussian, gaussian

Layers = dict[str, Tensor]  # name -> (n, ...)
Boxes = Sequence[Sequence[float]]  # of one image: label (0 to 79), x, y, width, height in shares of the image's sides


@dataclass(frozen=True)
class Captions:
    """The captions of one side, and which others each picture is compared with."""

    texts: Sequence[str]  # one a picture
    negatives: NDArray[np.int32] | None = None  # (N, K): for each picture the rows of K captions that are not its own

    def mismatched(self, row: int) -> str:
        """A caption that belongs to another picture: the first negative, else the next picture's."""
        if self.negatives is not None:
            return self.texts[int(self.negatives[row, 0])]
        return self.texts[(row + 1) % len(self.texts)]


@dataclass(frozen=True)
class Pictures:
    """Images to be looked at, with what is known of them."""

    images: Images
    label: str  # in progress lines, e.g. "real" or "seed 0"
    captions: Captions | None = None
    seed: int | None = None  # of the noise, where they were generated here
    objects: Sequence[Sequence[int]] | None = None  # for SOA: the labels that each picture has to show
    boxes: Sequence[Boxes] | None = None  # for SOA's IoU: where each picture was told to show its objects


@dataclass(frozen=True)
class View:
    """A batch as networks see it."""

    images: Tensor  # (n, 3, H, W) uint8 on the network's device
    captions: Sequence[str] | None = None  # their own
    mismatched: Sequence[str] | None = None  # each of another picture
    layout: bool = False  # whether the pictures were told where to show what, so that a detector's boxes are scored


@dataclass(frozen=True)
class Network:
    """A frozen network; a module in ``networks/`` offers ``load(weights, device)``, which yields one."""

    facts: Mapping[str, Any]  # what a result says about it: network, weights with their hash, resize
    layers: Callable[[View], Layers]  # what it says of pictures
    texts: Callable[[Sequence[str]], Layers] | None = None  # what it says of captions, where it reads them
    reads_pairs: bool = False  # whether what it says of a picture depends on its caption and on another's
    finds_boxes: bool = False  # whether it says more where a layout is scored
    settings: str = ""  # sha256 of what decides its answers beside the facts, e.g. of a model's configuration


@dataclass(frozen=True)
class Features:
    """What networks say of all images of one side."""

    count: int
    sha256: str  # of all pixels in order: which images these were
    layers: Mapping[str, Layers] = field(repr=False)  # network -> layer -> (N, ...) float32 on the CPU
    texts: Mapping[str, Layers] = field(default_factory=dict, repr=False)  # the same for captions
    pictures: Pictures | None = field(default=None, repr=False)
    set_sha256: str = ""  # of all pixels in whatever order: which set of images these were
    statistics: Gaussian | None = field(default=None, repr=False)  # where these are all that is known of a real side

    def of(self, network: str, layer: str) -> Tensor:
        """One layer over all images."""
        return self.layers[network][layer]

    def of_captions(self, network: str, layer: str) -> Tensor:
        """One layer over the captions of all images."""
        return self.texts[network][layer]

    def gaussian(self, network: str, layer: str) -> Gaussian:
        """Mean and covariance of one layer."""
        return self.statistics if self.statistics is not None else gaussian(self.of(network, layer))

    @property
    def captions(self) -> Captions | None:
        """The captions, where they are known."""
        return self.pictures.captions if self.pictures is not None else None
