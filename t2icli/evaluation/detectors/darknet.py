"""Networks of Darknet files: the weights reader, the layers, and a detector made of both.

A file of weights is a header of int32 (major, minor, revision) and the number of images seen (int64 from version 0.2
on, int32 before), then float32 for each convolution in the order of the cfg: with batch normalisation bias, scale,
mean, variance, weights; without it bias, weights. All is little-endian, weights are [out, in / groups, height, width].
The file says nothing of its structure, so its length has to fit the cfg to the byte.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.documents import HEAD, opened, what_is
from t2icli.errors import DataError
from t2icli.evaluation.detectors.candidates import OBJECTNESS, candidates_of, present, strongest
from t2icli.evaluation.detectors.darknet_config import (
    Config,
    Convolution,
    Dropout,
    Layer,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
    Yolo,
)
from t2icli.evaluation.detectors.names import COCO_NAMES
from t2icli.evaluation.features import Layers, Network, View
from t2icli.weights import Found

EPSILON = 1e-5  # of batch normalisation
Shape = tuple[int, int, int]  # channels, height, width

ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "relu": F.relu,
    "relu6": F.relu6,
    "mish": F.mish,
    "swish": F.silu,
    "logistic": torch.sigmoid,
}


@dataclass(frozen=True)
class Parameters:
    """What the file holds for one convolution, float32; ``scale``, ``mean``, ``variance`` with normalisation only."""

    weight: Tensor  # (out, in / groups, kernel, kernel)
    bias: Tensor  # (out,)
    scale: Tensor | None = None
    mean: Tensor | None = None
    variance: Tensor | None = None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that does the same as convolution and normalisation."""
        if self.scale is None or self.mean is None or self.variance is None:
            return self.weight, self.bias
        factor = self.scale.double() / (self.variance.double() + EPSILON).sqrt()
        weight = self.weight.double() * factor[:, None, None, None]
        return weight.float(), (self.bias.double() - self.mean.double() * factor).float()


def layer_shapes(config: Config) -> list[Shape]:
    """Each layer's output; ``DataError`` where layers do not fit together. A head's shape is that of its input."""
    shapes: list[Shape] = []
    before: Shape = (config.channels, config.height, config.width)
    for number, layer in enumerate(config.layers):
        try:
            before = output_shape(layer, before, shapes)
        except ValueError as fault:
            raise DataError(f"{config.source}, layer {number} ({type(layer).__name__.lower()}): {fault}") from None
        shapes.append(before)
    return shapes


def output_shape(layer: Layer, before: Shape, shapes: list[Shape]) -> Shape:
    """One layer's output for its input and the outputs of all earlier layers; ``ValueError`` says what does not fit."""
    channels, height, width = before
    if isinstance(layer, Convolution):
        if channels % layer.groups:
            raise ValueError(f"{channels} channels come in, which {layer.groups} groups do not divide")
        sides = [(side + 2 * layer.padding - layer.size) // layer.stride + 1 for side in (height, width)]
        return positive((layer.filters, sides[0], sides[1]))
    if isinstance(layer, Shortcut):
        if shapes[layer.source] != before:
            raise ValueError(f"adds layers of {before} and {shapes[layer.source]} (channels, height, width)")
    elif isinstance(layer, Route):
        parts = [shapes[source] for source in layer.sources]
        if len({part[1:] for part in parts}) > 1 or any(part[0] % layer.groups for part in parts):
            raise ValueError(f"joins layers of {parts} (channels, height, width) in {layer.groups} groups")
        return (sum(part[0] // layer.groups for part in parts), *parts[0][1:])
    elif isinstance(layer, Upsample):
        return channels, height * layer.stride, width * layer.stride
    elif isinstance(layer, MaxPool):
        sides = [(side + layer.padding - layer.size) // layer.stride + 1 for side in (height, width)]
        return positive((channels, sides[0], sides[1]))
    elif isinstance(layer, Yolo) and channels != len(layer.anchors) * (5 + layer.classes):
        wanted = len(layer.anchors) * (5 + layer.classes)
        raise ValueError(
            f"{channels} channels come in, and {len(layer.anchors)} anchors with {layer.classes} classes need {wanted}"
        )
    return before


def positive(shape: Shape) -> Shape:
    """The shape, if anything is left."""
    if min(shape) < 1:
        raise ValueError(f"nothing is left of the image: {shape} (channels, height, width)")
    return shape


def inputs_of(config: Config) -> Iterator[tuple[Convolution, int]]:
    """The convolutions in order, each with the number of channels that come in."""
    before = config.channels
    for layer, shape in zip(config.layers, layer_shapes(config), strict=True):
        if isinstance(layer, Convolution):
            yield layer, before
        before = shape[0]


def count_floats(config: Config) -> int:
    """How many numbers a file of weights for this network holds."""
    return sum(
        layer.filters * ((4 if layer.batch_normalize else 1) + channels // layer.groups * layer.size**2)
        for layer, channels in inputs_of(config)
    )


def read_weights(path: Path, config: Config) -> list[Parameters]:
    """The parameters of all convolutions in order; ``DataError`` for a file that does not fit to the byte."""
    values = read_floats(path, config)
    used, found = 0, []

    def take(*shape: int) -> Tensor:
        nonlocal used
        used += int(np.prod(shape))
        return torch.from_numpy(values[used - int(np.prod(shape)) : used].reshape(shape))

    for layer, channels in inputs_of(config):
        bias = take(layer.filters)
        scale, mean, variance = (take(layer.filters) if layer.batch_normalize else None for _ in range(3))
        weight = take(layer.filters, channels // layer.groups, layer.size, layer.size)
        found.append(Parameters(weight, bias, scale, mean, variance))
    return found


def read_floats(path: Path, config: Config) -> NDArray[np.float32]:
    """All float32 of a file after its header, as many as the network has."""
    with opened(path) as file:
        content = file.read()
    found = what_is(content[:HEAD])
    if found is not None:
        raise DataError(f"{path}: should be a Darknet file of weights: {found}")
    if len(content) < 12:
        raise DataError(f"{path}: {len(content)} bytes, too short for the header of a Darknet file of weights")
    major, minor, _ = np.frombuffer(content, "<i4", 3)
    header = 20 if int(major) * 10 + int(minor) >= 2 else 16
    floats = count_floats(config)
    expected = header + 4 * floats
    if len(content) != expected:
        cause = "truncated, or the weights of another cfg" if len(content) < expected else "the weights of another cfg"
        raise DataError(
            f"{path}: {len(content):,} bytes, and {config.source} needs {expected:,} (a header of {header} and "
            f"{floats:,} float32): the file is {cause}"
        )
    values = np.frombuffer(content, "<f4", floats, header).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: holds values that are not finite: damaged, or no file of Darknet weights")
    return values


class Darknet(nn.Module):
    """The layers of a cfg with their weights; batch normalisation is folded into the convolutions."""

    def __init__(self, config: Config, parameters: list[Parameters]) -> None:
        super().__init__()
        self.config = config
        self.convolutions = nn.ModuleDict()
        remaining = iter(parameters)
        channels, shapes = config.channels, layer_shapes(config)
        for number, layer in enumerate(config.layers):
            if isinstance(layer, Convolution):
                self.convolutions[str(number)] = folded_convolution(layer, channels, next(remaining))
            channels = shapes[number][0]
        layers = config.layers
        named = [source for layer in layers if isinstance(layer, Route) for source in layer.sources]
        self.kept = {*named, *(layer.source for layer in layers if isinstance(layer, Shortcut))}
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[tuple[Yolo, Tensor]]:
        """Images (n, 3, height, width) in [0, 1] -> each head with what goes into it, (n, anchors x (5 + K), h, w)."""
        heads, kept, x = [], dict[int, Tensor](), images
        for number, layer in enumerate(self.config.layers):
            if isinstance(layer, Yolo):
                heads.append((layer, x))
            else:
                x = self.run(number, layer, x, kept)
            if number in self.kept:
                kept[number] = x
        return heads

    def run(self, number: int, layer: Layer, x: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
        """One layer that is no head."""
        if isinstance(layer, Convolution):
            return ACTIVATIONS[layer.activation](self.convolutions[str(number)](x))
        if isinstance(layer, Shortcut):
            return ACTIVATIONS[layer.activation](x + kept[layer.source])
        if isinstance(layer, Route):
            return torch.cat([kept[source].chunk(layer.groups, 1)[layer.group] for source in layer.sources], 1)
        if isinstance(layer, Upsample):
            return F.interpolate(x, scale_factor=layer.stride, mode="nearest")
        if isinstance(layer, MaxPool):
            first = layer.padding // 2
            rest = layer.padding - first
            return F.max_pool2d(F.pad(x, (first, rest, first, rest), value=float("-inf")), layer.size, layer.stride)
        assert isinstance(layer, Dropout)
        return x


def folded_convolution(layer: Convolution, channels: int, parameters: Parameters) -> nn.Conv2d:
    """A convolution with what the file holds for it."""
    module = nn.Conv2d(channels, layer.filters, layer.size, layer.stride, layer.padding, groups=layer.groups)
    weight, bias = parameters.folded()
    with torch.no_grad():
        module.weight.copy_(weight)
        cast("Tensor", module.bias).copy_(bias)
    return module


def resized(images: Tensor, width: int, height: int) -> Tensor:
    """Images (n, 3, H, W) uint8 -> (n, 3, height, width) float32 in [0, 1]; PIL's bilinear filter, squashed."""
    if images.shape[-2:] != (height, width):
        pictures = (Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images)
        arrays = [np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)) for picture in pictures]
        images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(images.device)
    return images.float() / 255


def detector(found: Found, config: Config, name: str, device: torch.device, more: Mapping[str, Any]) -> Network:
    """A detector of COCO's 80 classes as SOA's authors use YOLOv3: candidates from objectness 0.5 on."""
    heads = [layer for layer in config.layers if isinstance(layer, Yolo)]
    classes = sorted({head.classes for head in heads})
    if config.channels != 3 or classes != [len(COCO_NAMES)]:
        raise DataError(
            f"{config.source}: {config.channels} channels, {len(heads)} [yolo] heads, classes {classes}; SOA needs a "
            f"detector of COCO's {len(COCO_NAMES)} classes in images of 3 channels"
        )
    network = Darknet(config, read_weights(found.path, config)).to(device)
    network = network.to(memory_format=torch.channels_last).eval()
    width, height = config.width, config.height

    def layers(view: View) -> Layers:
        images = resized(view.images, width, height).contiguous(memory_format=torch.channels_last)
        # Convolutions in TF32, which cuDNN takes by default, would move published figures.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            candidates = candidates_of(network(images), width, height)
        boxes = {"boxes": strongest(candidates, width, height)} if view.layout else {}
        return {"present": present(candidates)} | boxes

    size = str(width) if width == height else f"{width}x{height}"
    facts = {"network": f"{name}@{OBJECTNESS}", "weights": found.record(), "resize": f"pil-bilinear-{size}", **more}
    return Network(facts, layers, finds_boxes=True)
