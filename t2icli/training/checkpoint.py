"""What a run needs to go on (state/) and what it gives to others (weights/): two artefacts, never a pickle of code."""

import json
import pickle
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save_file
from torch import nn

from t2icli.console import say
from t2icli.errors import DataError
from t2icli.storage import write_atomically

KEPT = 2  # states; the one before the last survives a mishap with the last
WEIGHTS = Path("weights") / "generator.safetensors"


class Stateful(Protocol):
    """Anything whose state is a dictionary of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take a state over."""


class Checkpoint:
    """Everything of a run that has state, saved and loaded together."""

    def __init__(self, run: Path, facts: dict[str, Any], **parts: Stateful) -> None:
        self.folder = run / "state"
        self.facts = facts  # must be the same when the run goes on, e.g. the hash of the data
        self.parts = parts

    def save(self, step: int) -> None:
        """Write the state after ``step`` generator updates; older ones than the last two go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {"facts": self.facts, "step": step, **{name: part.state_dict() for name, part in self.parts.items()}}
        write_atomically(self.folder / f"{step:010d}.pt", lambda path: torch.save(state, path))
        for old in self.states()[:-KEPT]:
            old.unlink()

    def load_if_present(self, device: torch.device) -> int:
        """Take over the newest state that can be read; returns its step, 0 without one."""
        states = self.states()
        for path in reversed(states):
            try:
                state = torch.load(path, map_location=device, weights_only=True)
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as fault:
                say(f"{path}: cannot be read ({str(fault).splitlines()[0]}); trying the one before it")
                continue
            self.check(path, state)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            return int(state["step"])
        if states:
            raise DataError(f"{self.folder}: none of {len(states)} states can be read; start again with --new")
        return 0

    def check(self, path: Path, state: dict[str, Any]) -> None:
        """Refuse a state of another run, or of other data."""
        missing = [name for name in ("facts", "step", *self.parts) if name not in state]
        if missing:
            raise DataError(f"{path}: is no state of this kind of run: it lacks {', '.join(missing)}")
        for name, value in self.facts.items():
            if state["facts"].get(name) != value:
                raise DataError(
                    f"{path}: was saved with {name} {state['facts'].get(name)!r}, but this run has {value!r}; "
                    "give the run what it had, or start another with --new"
                )

    def states(self) -> list[Path]:
        """States on disk, oldest first; remains of a killed save are cleared away."""
        for remains in self.folder.glob(".*.tmp"):
            remains.unlink(missing_ok=True)
        return sorted(self.folder.glob("*.pt"))


def save_weights(path: Path, network: nn.Module, header: dict[str, Any]) -> None:
    """Weights and buffers as safetensors; ``header`` says in JSON what they are and what they need."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    text = {"t2i": json.dumps(header, ensure_ascii=False)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=text))
