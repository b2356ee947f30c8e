"""Where the negatives of a contrastive loss come from."""

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather  # differentiable, unlike dist.all_gather

Negatives = Literal["local", "global"]


def candidates(x: Tensor, negatives: Negatives) -> Tensor:
    """Rows to compare with: this process's own, or those of all processes in order of rank.

    The gather is differentiable: with gradients averaged over the processes afterwards, a loss over its
    own rows against everybody's has the gradient that one process with the whole batch would have. (Putting
    one's own rows into a gather without gradient, as is often seen, makes it too small by the world size.)
    """
    if negatives == "local" or not dist.is_initialized() or dist.get_world_size() == 1:
        return x
    return torch.cat(list(all_gather(x.contiguous())))


def own_places(rows: int, negatives: Negatives, device: torch.device) -> Tensor:
    """Where the rows of this process stand among the candidates."""
    first = dist.get_rank() * rows if negatives == "global" and dist.is_initialized() else 0
    return torch.arange(first, first + rows, device=device)
