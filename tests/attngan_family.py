"""The rule by which the reference values of the AttnGAN family were made, and how they are compared."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

REFERENCE = Path(__file__).parent / "reference"


@cache
def facts() -> dict[str, Any]:
    return json.loads((REFERENCE / "attngan_family.json").read_text())


def hashed(shape: Any, phase: int) -> Tensor:
    """Numbers in [-0.5, 0.5) that depend on their place and the phase."""
    place = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    value = np.sin(12.9898 * place + phase) * 43758.5453
    return torch.from_numpy(value - np.floor(value) - 0.5).view(*shape)


def tensor(shape: Any, phase: int, scale: float = 2.0) -> Tensor:
    return (scale * hashed(shape, phase)).float()


def filled(module: str) -> dict[str, Tensor]:
    """A state dict of the released module by its own names."""
    state = {}
    for name, shape in facts()["shapes"][module].items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.long)
            continue
        u = hashed(shape, sum(map(ord, name)) % 97)
        if name.endswith("running_mean"):
            u = 0.2 * u
        elif name.endswith("running_var"):
            u = 1 + 0.5 * u
        elif len(shape) == 1:
            u = 1 + 0.2 * u if name.endswith(".weight") else 0.2 * u
        else:
            u = u * (12 * shape[0] / u.numel()) ** 0.5
        state[name] = u.float()
    return state


def captions() -> tuple[Tensor, Tensor]:
    """Three captions of 12, 9 and 5 words, and their lengths."""
    lengths = torch.tensor([12, 9, 5])
    rows = torch.tensor([[(7 * b + 13 * j) % 5449 + 1 for j in range(18)] for b in range(3)])
    return rows * (torch.arange(18) < lengths[:, None]), lengths


def same(found: Tensor, expected: dict[str, Any], tolerance: float = 1e-4) -> None:
    """Shape, first and last values, mean and deviation."""
    assert list(found.shape) == expected["shape"]
    flat = found.detach().double().flatten()
    near = {"atol": tolerance, "rtol": 0}
    torch.testing.assert_close(flat[:5].tolist(), expected["first5"], **near)
    torch.testing.assert_close(flat[-3:].tolist(), expected["last3"], **near)
    torch.testing.assert_close(float(flat.mean()), expected["mean"], **near)
    torch.testing.assert_close(float(flat.std(correction=0)), expected["std"], **near)
