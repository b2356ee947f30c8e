"""What a run needs to go on (state/) and what it gives to others (weights/): two artefacts, never a pickle of code."""

import hashlib
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from pydantic import BaseModel, NonNegativeInt
from torch import Tensor, nn

from t2icli.console import say
from t2icli.data.manifest import TextIdentity
from t2icli.distributed import decided_by_first
from t2icli.documents import HEAD, what_is
from t2icli.errors import DataError
from t2icli.storage import sha256, write_atomically
from t2icli.training import run as run_folder
from t2icli.training.divergence import left_out, marks
from t2icli.training.fitting import Part, part_misfit, take_over, tensors_in
from t2icli.training.seeds import NEW, OLD, RULES, Rule
from t2icli.weight_files import not_finite, read_weights, write_weights

ZIP = b"PK\x03\x04"  # how torch's files begin
KEPT = 2  # states; the one before the last survives a mishap with the last
WEIGHTS = Path("weights") / "generator.safetensors"
HEADER = "t2i"  # the key of the header of a generator's weights

State = dict[str, Any]


class Unusable(Exception):
    """What is wrong with a file in the place of a state."""


class Checkpoint:
    """Everything of a run that has state, saved and loaded together."""

    def __init__(self, run: Path, facts: dict[str, Any], **parts: Part) -> None:
        self.run, self.folder = run, run / "state"
        self.facts = facts  # must be the same when the run goes on, e.g. the hash of the data
        self.parts = parts
        self.seeds: Rule = NEW  # how its steps are seeded; a run goes on as it was begun

    # ------------------------------------------------------------------------ saving

    def save(self, step: int) -> None:
        """Write the state after ``step`` generator updates; one before it stays, later ones were passed over and go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = [path for path in self.states() if int(path.stem) < step][1 - KEPT :]
        path = self.folder / f"{step:010d}.pt"
        state = {"facts": self.facts, "step": step, "seeds": self.seeds, **self.part_states()}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                hashed = Hashed(file)
                torch.save(state, cast(IO[bytes], hashed))
            self.mark(step, [*before, path], hashed.digest.hexdigest())

        write_atomically(path, write)
        for other in self.states():
            if other not in (*before, path):
                other.unlink()

    def mark(self, step: int, kept: list[Path], digest: str) -> None:
        """Put a state's hash on the card before it has its name: without one it would pass for an older version's."""
        known = marks(self.run)
        hashes = {path.name: known.states[path.name] for path in kept if path.name in known.states}
        past = known.diverged is not None and step >= known.diverged.step
        facts: dict[str, Any] = {"diverged": None} if past else {}
        run_folder.write_card(self.run, facts | {"states": hashes | {kept[-1].name: digest}})

    def part_states(self) -> State:
        """The states of all parts."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def not_finite(self) -> list[str]:
        """Weights, moments and buffers that must not be saved, by name."""
        return not_finite(dict(tensors_in(self.part_states())))

    # ------------------------------------------------------------------------ loading

    def load_if_present(self, device: torch.device) -> int:
        """Take over the newest state that is whole, fits and is finite; returns its step, 0 without any state."""
        opened: dict[Path, State] = {}
        path = decided_by_first(lambda: self.choose(device, opened))  # all processes go on from the same one
        if path == self.folder:
            return 0
        try:
            state = opened[path] if path in opened else self.read(path, device)
        except Unusable as fault:
            raise DataError(f"{path}: {fault}, as process 0 did not; do all machines see the same file?") from None
        for name, part in self.parts.items():
            take_over(part, state[name])
        self.seeds = state.get("seeds", OLD)
        return int(state["step"])

    def choose(self, device: torch.device, opened: dict[Path, State]) -> Path:
        """The state to go on from, put into ``opened``; the folder itself where there is none yet."""
        self.sweep()
        states = self.states()
        skipped = left_out(self.run, len(states))
        if skipped:
            say(f"{states[-1]}: led twice to numbers that are not finite; trying the one before it")
        order = [*reversed(states[: len(states) - skipped]), *reversed(states[len(states) - skipped :])]
        faults = []
        for path in order:
            try:
                opened[path] = self.read(path, device)
                return path
            except Unusable as fault:
                faults.append(f"{path}: {fault}")
                if path != order[-1]:
                    say(f"{faults[-1]}; trying the one before it")
        if faults:
            raise DataError(
                f"{self.folder}: none of {len(states)} states can be read: {'; '.join(faults)}. Put a copy of one "
                "back, or start again with --new; what lies in weights/ still draws"
            )
        return self.folder

    def read(self, path: Path, device: torch.device) -> State:
        """A state that can be taken over as a whole."""
        fault = damage(path, marks(self.run).states.get(path.name))
        if fault is not None:
            raise Unusable(fault)
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except Exception as problem:  # torch raises whatever the damage happens to cause
            raise Unusable(f"cannot be read ({(str(problem) or repr(problem)).splitlines()[0]})") from None
        fault = self.misfit(path, state)
        if fault is not None:
            raise Unusable(fault)
        return dict(state)

    def misfit(self, path: Path, state: Any) -> str | None:
        """Why a state cannot be taken over, in words; one of another run, or of other data, is refused at once."""
        if not isinstance(state, dict):
            return f"is no state of a run: it holds a {type(state).__name__}"
        missing = [name for name in ("facts", "step", *self.parts) if name not in state]
        if missing:
            return f"is no state of this kind of run: it lacks {', '.join(missing)}"
        if not isinstance(state["facts"], dict) or type(state["step"]) is not int or state["step"] < 0:
            return "is no state of a run: its facts should be a table, and its step a whole number"
        self.check_facts(path, state["facts"])
        if state.get("seeds", OLD) not in RULES:
            return f"its steps are seeded by a rule {state['seeds']!r}, which this version does not know"
        for name, part in self.parts.items():
            fault = part_misfit(part, state[name])
            if fault is not None:
                return f"does not fit this run: {name}: {fault}"
        bad = not_finite(dict(tensors_in({name: state[name] for name in self.parts})))
        return f"holds numbers that are not finite ({', '.join(bad[:3])})" if bad else None

    def check_facts(self, path: Path, facts: dict[str, Any]) -> None:
        """Refuse a state of another run, or of other data: one before it is no better."""
        for name, value in self.facts.items():
            if facts.get(name) != value:
                raise DataError(
                    f"{path}: was saved with {name} {facts.get(name)!r}, but this run has {value!r}; "
                    "give the run what it had, or start another with --new"
                )

    def states(self) -> list[Path]:
        """States on disk, oldest first."""
        return sorted(path for path in self.folder.glob("*.pt") if path.stem.isdecimal())

    def sweep(self) -> None:
        """Clear away what killed saves left; only who holds the run's lock may."""
        for folder in (self.run, self.folder, self.run / WEIGHTS.parent, self.run / "samples"):
            for remains in folder.glob(".*.tmp"):
                remains.unlink(missing_ok=True)


class Hashed:
    """A file that is being written, and the hash of what went into it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, part: bytes) -> int:
        """Write a part; torch writes from the first byte to the last."""
        self.digest.update(part)
        return self.file.write(part)

    def flush(self) -> None:
        """See ``BinaryIO``."""
        self.file.flush()


def damage(path: Path, recorded: str | None) -> str | None:
    """What is wrong with the file of a state before torch opens it: by its hash, or by the zip's own checksums.

    States of older versions have no hash on the card. torch does not look at the checksums of its files.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        found = None if head.startswith(ZIP) else what_is(head)
        if found is not None:
            return f"cannot be read: {found}"
        if recorded is not None:
            return (
                None
                if sha256(path) == recorded
                else "cannot be read: damaged, its content is not what was saved (sha256)"
            )
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        return None if bad is None else f"cannot be read: damaged, {bad} in it is not what was saved (checksum)"
    except Exception as fault:  # zipfile raises whatever the damage happens to cause
        return f"cannot be read ({fault})"


# ---------------------------------------------------------------------------- weights


class MatcherIdentity(BaseModel):
    """The matcher that a generator reads captions by."""

    matcher: str
    sha256: str
    vocabulary_sha256: str
    dim: int


class GeneratorHeader(BaseModel):
    """What a file says of the generator in it."""

    recipe: dict[str, Any]
    text: MatcherIdentity | TextIdentity
    images: NonNegativeInt


def save_weights(path: Path, network: nn.Module, header: dict[str, Any]) -> None:
    """Weights and buffers of a generator; ``header`` says what they are and what they need."""
    write_weights(path, network, HEADER, header)


def read_generator(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file of a generator's weights."""
    header, tensors = read_weights(
        path, HEADER, GeneratorHeader, "holds weights, but not of a t2i run (its header has no 't2i')"
    )
    return header.model_dump(), tensors
