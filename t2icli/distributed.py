"""Several processes that train one model: torchrun starts them, modules stay plain, gradients are averaged.

No DistributedDataParallel: GAN steps need several forwards, methods beside ``forward``, double backward and
two gradients from one graph, all of which lie outside its contract (docs/decisions.md).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from t2icli.console import say
from t2icli.errors import EnvironmentFault, RecipeError
from t2icli.processes import WAIT, Place, place, remedy

Value = TypeVar("Value")

LONGEST_STEP = timedelta(minutes=30)  # that one process may keep the others waiting, e.g. while it saves or measures


@dataclass(frozen=True)
class World:
    """Who this process is among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.rank == 0

    def autocast(self, precision: str) -> AbstractContextManager[object]:
        """The arithmetic of a forward pass: as it is, or bfloat16 where that is safe."""
        return torch.autocast(self.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    def share(self, batch_size: int) -> int:
        """Images of a batch that this process takes."""
        if batch_size % self.size:
            raise RecipeError(
                f"train.batch_size: {batch_size} images cannot be shared evenly by {self.size} processes; "
                f"try {max(batch_size // self.size, 2) * self.size}"
            )
        if batch_size // self.size < 2:
            raise RecipeError(
                f"train.batch_size: {batch_size} images over {self.size} processes leave fewer than 2 each; "
                "batch statistics and contrastive losses need 2"
            )
        return batch_size // self.size


@contextmanager
def session() -> Iterator[World]:
    """Join the processes that work together, or be alone; leave them at the end."""
    here = place()
    device = own_device(here)
    if here.note and here.rank == 0:
        say(here.note)
    if here.size == 1:
        yield World(0, 1, device)
        return
    meet(here, device)
    try:
        yield World(here.rank, here.size, device)
        any_process(False, device)  # all leave together: whoever starts them ends the others when one has ended
    except (RuntimeError, dist.DistError) as fault:
        if not others_are_gone(fault):
            raise
        raise EnvironmentFault(
            f"process {here.rank}: another of the {here.size} processes has ended ({first_line(fault)}); "
            "what it said is the reason"
        ) from None
    finally:
        dist.destroy_process_group()


def own_device(here: Place) -> torch.device:
    """The GPU of this process, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if here.local >= torch.cuda.device_count():
        raise EnvironmentFault(f"process {here.local} has no GPU: this machine has {torch.cuda.device_count()}")
    torch.cuda.set_device(here.local)
    return torch.device("cuda", here.local)


def meet(here: Place, device: torch.device) -> None:
    """Wait until all processes are there, for as long as ``here`` says, and make them one group."""
    wait = timedelta(seconds=here.wait)
    try:
        store, _, _ = next(dist.rendezvous("env://", here.rank, here.size, timeout=wait))
        store = dist.PrefixStore("t2i", store)
        store.set_timeout(wait)
        store.set(str(here.rank), "here")
        store.wait([str(rank) for rank in range(here.size)], wait)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=here.rank,
            world_size=here.size,
            timeout=LONGEST_STEP,
        )
    except (RuntimeError, ValueError) as fault:  # torch's own errors of stores and sockets are RuntimeErrors
        raise EnvironmentFault(
            f"process {here.rank} of {here.size} did not meet the others at {here.address} in {here.wait} s "
            f"({first_line(fault)}). {remedy(os.environ)}; a slow start is given more time by {WAIT}=SECONDS"
        ) from None


def others_are_gone(fault: Exception) -> bool:
    """Whether a fault says that a connection to another process broke, or that one did not answer in time."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out", "timed out")
    return any(sign in str(fault) for sign in signs) or isinstance(fault, dist.DistError)


def first_line(fault: Exception) -> str:
    """The first line of a message, without torch's place in its own code."""
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0].rpartition("] ")[2][:200]


def average_gradients(module: nn.Module) -> None:
    """Replace gradients by their mean over all processes, in one flat all-reduce; alone, do nothing."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast(module: nn.Module) -> None:
    """Give every process the weights and buffers of the first."""
    if dist.is_initialized():
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.data, src=0)


def check_same_weights(module: nn.Module) -> None:
    """Stop when the processes no longer hold the same weights: averaging would hide it."""
    if not dist.is_initialized():
        return
    sums = torch.stack([p.detach().double().sum() for p in module.parameters()])
    reference = sums.clone()
    dist.broadcast(reference, src=0)
    if not torch.equal(sums, reference):
        raise RuntimeError(f"process {dist.get_rank()} holds other weights than process 0")


def average_values(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Means of named numbers over all processes."""
    if not dist.is_initialized():
        return values
    tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return dict(zip(values, (tensor / dist.get_world_size()).tolist(), strict=True))


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether a flag is raised in any process, so that all act on it at the same step."""
    if not dist.is_initialized():
        return flag
    tensor = torch.tensor(int(flag), device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return bool(tensor.item())


def gathered(value: Value) -> list[Value]:
    """The values of all processes in their order, in the first process; an empty list in the others."""
    if not dist.is_initialized():
        return [value]
    values: list[Value] | None = [value] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, values)
    return values or []


def decided_by_first(choose: Callable[[], Path]) -> Path:
    """What the first process chooses, in every process."""
    if not dist.is_initialized():
        return choose()
    answer = [str(choose())] if dist.get_rank() == 0 else [""]
    dist.broadcast_object_list(answer, src=0)
    return Path(answer[0])
