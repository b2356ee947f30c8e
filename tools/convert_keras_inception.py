"""Converts Keras' Inception v3 into a state dict with torchvision's names, which ``fid-keras`` and ``is-keras`` read.

    python tools/convert_keras_inception.py inception_v3_weights_tf_dim_ordering_tf_kernels.h5 inception-keras.pth

The file is the one of keras-applications with the top (1000 classes), published at
https://github.com/fchollet/deep-learning-models/releases/download/v0.5/. Its layers have numbers for names, in the
order in which they were made, and that is the order of torchvision's modules. Its batch norms have no scale.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

Layer = dict[str, NDArray[np.float32]]  # e.g. kernel, or beta, moving_mean, moving_variance


def main() -> None:
    """Read, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the .h5 of keras-applications")
    parser.add_argument("out", type=Path, help="where to write the state dict (.pth)")
    options = parser.parse_args()
    with h5py.File(options.source, "r") as file:
        state = convert(file)
    torch.save(state, options.out)
    print(f"{options.out}: {len(state)} tensors; use it as --weights inception-keras={options.out}")


def convert(file: h5py.File) -> dict[str, Tensor]:
    """The state dict of an open file of Keras weights; ``SystemExit`` says what does not fit."""
    layers = {name: layer(group) for name, group in (file.get("model_weights") or file).items()}
    with torch.device("meta"):
        model = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    blocks = [name for name, module in model.named_modules() if hasattr(module, "conv")]
    convolutions, norms = numbered(layers, "conv2d"), numbered(layers, "batch_normalization")
    if not len(blocks) == len(convolutions) == len(norms):
        raise SystemExit(
            f"{file.filename}: holds {len(convolutions)} convolutions and {len(norms)} batch norms, and Inception v3 "
            f"has {len(blocks)} of each"
        )
    state = {}
    for block, convolution, norm in zip(blocks, convolutions, norms, strict=True):
        state[f"{block}.conv.weight"] = tensor(convolution["kernel"].transpose(3, 2, 0, 1))
        state[f"{block}.bn.weight"] = tensor(norm.get("gamma", np.ones_like(norm["beta"])))
        state[f"{block}.bn.bias"] = tensor(norm["beta"])
        state[f"{block}.bn.running_mean"] = tensor(norm["moving_mean"])
        state[f"{block}.bn.running_var"] = tensor(norm["moving_variance"])
    state["fc.weight"] = tensor(layers["predictions"]["kernel"].T)
    state["fc.bias"] = tensor(layers["predictions"]["bias"])
    for name, value in state.items():
        expected = tuple(model.get_parameter(name).shape) if "running" not in name else value.shape
        if tuple(value.shape) != expected:
            raise SystemExit(f"{file.filename}: {name} would be {tuple(value.shape)} and should be {expected}")
    return state


def layer(group: h5py.Group) -> Layer:
    """The arrays of one layer by their own names, without the scope before and the output's number behind."""
    found: Layer = {}

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found[path.rpartition("/")[2].partition(":")[0]] = item[()].astype(np.float32)

    group.visititems(visit)
    return found


def numbered(layers: dict[str, Layer], kind: str) -> list[Layer]:
    """The layers of a kind in the order of their numbers; the first may have none."""

    def numbers() -> Iterator[tuple[int, Layer]]:
        for name, content in layers.items():
            if match := re.fullmatch(rf"{kind}(?:_(\d+))?", name):
                yield int(match[1] or 0), content

    return [content for _, content in sorted(numbers(), key=lambda pair: pair[0])]


def tensor(array: NDArray[np.float32]) -> Tensor:
    """A tensor of its own."""
    return torch.from_numpy(np.ascontiguousarray(array))


if __name__ == "__main__":
    main()
