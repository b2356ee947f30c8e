"""Whether networks fit into memory, asked before they are built.

A machine that runs out of memory kills a process without a word, or swaps for hours. So networks are first built on
torch's meta device, where tensors have shapes and no numbers, and what is certainly too large is refused.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from t2icli.errors import RecipeError

BYTES = 4  # of a number; weights, moments and averages are kept in float32

Built = TypeVar("Built", bound=nn.Module)


def outline(build: Callable[[], Built]) -> Built:
    """What ``build`` makes, without its numbers."""
    with torch.device("meta"):
        return build()


def count(module: nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def memory_of(device: torch.device) -> int:
    """Bytes of a device's whole memory, used or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def trained_numbers(generator: nn.Module, discriminator: nn.Module) -> int:
    """What a training keeps at the least: weights and Adam's two moments of both, and the generator's average."""
    return 3 * (count(generator) + count(discriminator)) + count(generator)


def refuse_beyond_memory(numbers: int, what: str, device: torch.device) -> None:
    """Refuse so many numbers where they exceed all the memory that there is; whatever else is needed comes on top."""
    needed, there = BYTES * numbers, memory_of(device)
    if needed > there:
        where = "the GPU" if device.type == "cuda" else "this machine"
        raise RecipeError(
            f"model: {what} take at least {needed:,} bytes, and {where} has {there:,} bytes of memory in all; lower "
            "the channels and dimensions in the [model] table"
        )


def refuse_training(generator: nn.Module, discriminator: nn.Module, device: torch.device) -> None:
    """Refuse to train what cannot fit, with Adam's moments and the average, into a device's memory."""
    said = f"a generator of {count(generator):,} and a discriminator of {count(discriminator):,} parameters"
    refuse_beyond_memory(
        trained_numbers(generator, discriminator), f"{said}, with Adam's moments and the generator's average,", device
    )


def refuse_holding(network: nn.Module, device: torch.device) -> None:
    """Refuse a network whose weights alone do not fit into a device's memory."""
    refuse_beyond_memory(count(network), f"{count(network):,} parameters", device)
