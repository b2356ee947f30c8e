"""Whether a saved state fits what was built. It is asked of every part before anything of any part is taken over.

Moments are given the layout of their parameters on the way: fused Adam goes through all memory as the parameter lies
there, and would write beside a moment of fewer numbers or other strides.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from t2icli.weight_files import misfit

MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam, the only optimizer that this project has
COUNT = "step"  # how many updates a parameter has had


class Course(Protocol):
    """A part that knows itself what fits it."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def misfit(self, state: Any) -> str | None:
        """What of a state does not fit, in words."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that fits."""


Part = nn.Module | Optimizer | Course


def part_misfit(part: Part, state: Any) -> str | None:
    """What of a saved state does not fit a part, in words."""
    if isinstance(part, Optimizer):
        return optimizer_misfit(part, state)
    return network_misfit(part, state) if isinstance(part, nn.Module) else part.misfit(state)


def take_over(part: Part, state: Any) -> None:
    """Give a part a state that fits it."""
    part.load_state_dict(laid_out(part, state) if isinstance(part, Optimizer) else state)


def network_misfit(network: nn.Module, state: Any) -> str | None:
    """What of a state dict does not fit a network."""
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        return "is no state dict of a network"
    return misfit(network.state_dict(), state)


def optimizer_misfit(optimizer: Optimizer, state: Any) -> str | None:
    """What of a state does not fit an optimizer: whose parameters, which moments, how many updates."""
    if not isinstance(state, Mapping) or not isinstance(state.get("state"), Mapping):
        return "is no state of an optimizer"
    if numbers(state.get("param_groups")) != numbers(optimizer.state_dict()["param_groups"]):
        return "is of other parameters"
    known = numbered(optimizer)
    for number, moments in state["state"].items():
        if number not in known:
            return f"has moments of parameter {number!r}, which is not there"
        fault = moments_misfit(known[number], moments)
        if fault is not None:
            return f"parameter {number}: {fault}"
    return None


def moments_misfit(parameter: Tensor, moments: Any) -> str | None:
    """What of Adam's memory does not fit a parameter."""
    if not isinstance(moments, Mapping) or set(moments) != {COUNT, *MOMENTS}:
        return f"should have {COUNT}, {' and '.join(MOMENTS)}, and has {describe(moments)}"
    if not all(isinstance(value, Tensor) for value in moments.values()):
        return "has moments that are no tensors"
    fault = misfit(dict.fromkeys(MOMENTS, parameter), {name: moments[name] for name in MOMENTS})
    if fault is not None:
        return fault
    count = moments[COUNT]
    if count.shape or not count.is_floating_point() or not 0 <= float(count) == float(count.round()) < float("inf"):
        return f"{COUNT} should be a whole number, and is {count.tolist()!r:.40}"
    return None


def describe(moments: Any) -> str:
    """What lies in the place of moments."""
    return ", ".join(sorted(map(str, moments))) or "nothing" if isinstance(moments, Mapping) else repr(type(moments))


def numbers(groups: Any) -> list[Any] | None:
    """The numbers of the parameters in an optimizer's groups; ``None`` where these are no groups."""
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        return None
    return [group.get("params") for group in groups]


def numbered(optimizer: Optimizer) -> dict[int, Tensor]:
    """The parameters by the numbers that an optimizer's state has for them."""
    return dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))


def laid_out(optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state that fits, its moments laid out as the parameters are; rates are what the recipe gives."""
    known = numbered(optimizer)
    placed = {
        number: {COUNT: moments[COUNT]}
        | {name: torch.empty_like(known[number]).copy_(moments[name]).detach() for name in MOMENTS}
        for number, moments in state["state"].items()
    }
    return {"state": placed, "param_groups": optimizer.state_dict()["param_groups"]}


def tensors_in(state: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a nested state, each with its path."""
    if isinstance(state, Tensor):
        yield path, state
    elif isinstance(state, Mapping | list | tuple):
        for key, value in state.items() if isinstance(state, Mapping) else enumerate(state):
            yield from tensors_in(value, f"{path}.{key}" if path else str(key))
