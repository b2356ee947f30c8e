"""Checkpoints that other projects released, turned into the tensors of our networks.

A system that can take such files exports ``import_released(files)``, with the names and content of the files it was
given, and returns an ``Imported``; an encoder returns an ``ImportedEncoder``. Here is what those functions share.
Files are opened by ``importing.py``, never by them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.errors import DataError
from t2icli.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

COUNTER = "num_batches_tracked"  # of torch's batch norm since 0.4.1; nothing depends on it

State = dict[str, "Tensor"]
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]  # regular expressions and what replaces them


@dataclass(frozen=True)
class Released:
    """One file as it was opened: tensors, containers and plain values only."""

    path: Path
    content: Any


@dataclass(frozen=True)
class Imported:
    """A trained network by our names, and the part of a recipe that describes it."""

    model: dict[str, Any]  # the [model] table
    networks: dict[str, State]  # by attribute of the system, e.g. "generator", "discriminator"
    image_size: int = 256
    word_dim: int = 256
    notes: list[str] = field(default_factory=list)  # what was left out, and why


@dataclass(frozen=True)
class ImportedEncoder:
    """A trained encoder by our names, likewise."""

    kind: str  # a module of encoders/
    model: dict[str, Any]
    vocabulary: Vocabulary
    state: State
    notes: list[str] = field(default_factory=list)


def state_in(content: Any, path: Path) -> State:
    """A state dict without the prefix that DataParallel puts before its names, and without batch counters."""
    from torch import Tensor

    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path}: should hold a state dict (names and tensors), and holds {describe(content)}")
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if odd:
        raise DataError(f"{path}: should hold a state dict, but {odd[0]!r} is {describe(content[odd[0]])}")
    state = {str(name).removeprefix("module."): value for name, value in content.items()}
    return {name: value for name, value in state.items() if not name.endswith(COUNTER)}


def describe(content: Any) -> str:
    """What something is, for a message."""
    if isinstance(content, Mapping):
        return f"a table of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"


def renamed(state: State, rules: Rules) -> State:
    """Tensors by new names; each rule is a regular expression and its replacement, applied in turn."""
    result: State = {}
    for old, value in state.items():
        new = old
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        result[new] = value
    return result


def check_fit(expected: Mapping[str, "Tensor"], given: Mapping[str, "Tensor"], what: str) -> None:
    """Every name and shape must be the network's own; what does not fit is listed by name."""
    lines = [f"lacks {name} {tuple(expected[name].shape)}" for name in expected.keys() - given.keys()]
    lines += [f"has {name}, which is not known" for name in given.keys() - expected.keys()]
    for name in expected.keys() & given.keys():
        ours, theirs = tuple(expected[name].shape), tuple(given[name].shape)
        if ours != theirs:
            lines.append(f"{name} is {theirs}, should be {ours}")
    if lines:
        shown = "\n  ".join(sorted(lines)[:20])
        more = f"\n  ... and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise DataError(f"{what}: does not fit the network:\n  {shown}{more}")
