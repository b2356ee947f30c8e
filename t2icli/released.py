"""Checkpoints that other projects released, turned into the tensors of our networks.

A system that can take such files exports ``import_released(files)``, with the names and content of the files it was
given, and returns an ``Imported``; an encoder returns an ``ImportedEncoder``. Here is what those functions share: a
network is found in a file by tensors that only it has, in whatever tables and behind whatever prefixes it was saved.
Files are opened by ``importing.py``, never by them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.errors import DataError
from t2icli.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

# Of torch's batch norm since 0.4.1, and of torch's averaged models; nothing depends on them.
COUNTER = "num_batches_tracked"
COUNTERS = (COUNTER, "n_averaged")
WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel, averaged and compiled networks put before their names
AVERAGED = re.compile(r"(^|[._])(ema|avg|averaged?|shadow|swa|polyak)([._]|$)|_ema", re.IGNORECASE)
DEPTH = 8  # of tables within tables; the deepest in use have four
MOST = 100_000  # tables and lists that are looked through; an optimizer's state has some thousands

State = dict[str, "Tensor"]
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]  # regular expressions and what replaces them


@dataclass(frozen=True)
class Released:
    """One file as it was opened: tensors, containers and plain values only."""

    path: Path
    content: Any


@dataclass(frozen=True)
class Part:
    """One network in a file, by the names that its own code gives its tensors."""

    path: Path
    place: str  # the keys that lead to it; empty where the file is nothing else
    state: State

    def __str__(self) -> str:
        return f"{self.path}: {self.place}" if self.place else str(self.path)


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


# ---------------------------------------------------------------------------- finding


def parts_of(file: Released, *marks: str) -> list[Part]:
    """The networks in a file that have all of some tensors, at any depth and behind any prefix."""
    found: list[Part] = []
    for place, table in tables_in(file.content):
        for prefix in prefixes(table, marks):
            state = without_prefix(table, prefix, file.path)
            if any(same(state, earlier.state) for earlier in found):
                continue  # the same network under two keys
            words = [word for word in prefix.split(".") if word and f"{word}." not in WRAPPERS]
            found.append(Part(file.path, ".".join([*place, *words]), state))
    return found


def tables_in(content: Any) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Every table that holds tensors, and the keys that lead to it."""
    from torch import Tensor

    waiting: list[tuple[tuple[str, ...], Any]] = []
    if isinstance(content, Mapping | list | tuple) and not is_captions(content):
        waiting.append(((), content))
    for place, value in waiting:  # grows while it is walked: tables nearer to the top come first
        if isinstance(value, Mapping) and any(isinstance(tensor, Tensor) for tensor in value.values()):
            yield place, value
        inner: Any = value.items() if isinstance(value, Mapping) else enumerate(value)
        if len(place) < DEPTH and len(waiting) < MOST:
            waiting += [((*place, str(key)), v) for key, v in inner if isinstance(v, Mapping | list | tuple)]


def prefixes(table: Mapping[Any, Any], marks: Sequence[str]) -> list[str]:
    """What stands before all of some names in a table; nothing, for most."""
    names = {str(name) for name in table}
    ends = [name for name in names if name == marks[0] or name.endswith(f".{marks[0]}")]
    starts = sorted((name.removesuffix(marks[0]) for name in ends), key=len)
    return [start for start in starts if all(start + mark in names for mark in marks)]


def without_prefix(table: Mapping[Any, Any], prefix: str, path: Path) -> State:
    """The tensors behind a prefix without it; where it says nothing but how the network was wrapped, all of them."""
    from torch import Tensor

    state: State = {}
    wrapped = not bare(prefix)
    for key, value in table.items():
        name = str(key)
        if not isinstance(value, Tensor) or name.endswith(COUNTERS) or not (wrapped or name.startswith(prefix)):
            continue
        short = bare(name) if wrapped else name.removeprefix(prefix)
        if short in state:
            raise DataError(f"{path}: holds {short} twice, with {prefix!r} before it and without")
        state[short] = value
    return state


def bare(name: str) -> str:
    """A name without what wrappers put before it, however many there are."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def same(one: State, other: State) -> bool:
    """Whether two states hold the same numbers under the same names."""
    return one.keys() == other.keys() and all(
        value is other[name] or (value.shape == other[name].shape and value.equal(other[name]))
        for name, value in one.items()
    )


def the_one(parts: Sequence[Part], what: str) -> tuple[Part, list[str]]:
    """The network to take of those that were found, and what is to be said of the choice.

    Of the raw weights and their running average it is the average, from which all these projects draw.
    """
    if len(parts) == 1:
        return parts[0], []
    listed = ", ".join(map(str, parts))
    averaged = [part for part in parts if AVERAGED.search(part.place)]
    if len(averaged) != 1:
        raise DataError(f"{what}: exactly one is imported, and {len(parts)} were found{': ' if parts else ''}{listed}")
    return averaged[0], [f"{what}: found as {listed}; taken is the average, {averaged[0]}"]


# ---------------------------------------------------------------------------- naming

# What networks of the field are, by tensors that only they have; the first that fits counts.
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a generator of DM-GAN", ("h_net2.A.weight",)),
    ("a generator of MirrorGAN", ("h_net2.att.linear.weight",)),
    ("a generator of OP-GAN", ("h_net1.bbox_net.encode.0.weight",)),
    ("a generator of Obj-GAN", ("h_net1_sent.fc.0.weight",)),
    ("a generator of StackGAN++", ("h_net2.jointConv.0.weight",)),
    ("a generator of StackGAN (stage 2)", ("STAGE1_G.ca_net.fc.weight",)),
    ("a generator of StackGAN (stage 1)", ("ca_net.fc.weight", "upsample1.1.weight")),
    ("a generator of AttnDCGAN", ("img_net.img.0.weight", "h_net1.fc.0.weight")),
    ("a generator of AttnGAN", ("h_net2.att.conv_context.weight",)),
    ("a generator of GAN-INT-CLS", ("projection.0.weight", "netG.0.weight")),
    ("a generator of DF-GAN's code of 2020", ("block0.affine0.fc_gamma.linear1.weight",)),
    ("a generator of DF-GAN", ("GBlocks.0.c1.weight",)),
    ("a shape generator of Obj-GAN", ("fwd_convlstm.Gates.weight",)),
    ("a box generator of Obj-GAN", ("xy_embedding.weight",)),
    ("a discriminator of DM-GAN", ("img_code_s16.0.module.weight_bar",)),
    ("a discriminator of StackGAN++", ("img_code_s16.0.weight", "uncond_logits.0.weight")),
    ("a discriminator of OP-GAN", ("local.0.weight", "COND_DNET.jointConv.0.weight")),
    ("a discriminator of the AttnGAN family", ("img_code_s16.0.weight", "COND_DNET.jointConv.0.weight")),
    ("a discriminator of DF-GAN's code of 2020", ("block0.conv_r.0.weight",)),
    ("half a discriminator of DF-GAN (netD)", ("DBlocks.0.conv_r.0.weight",)),
    ("half a discriminator of DF-GAN (netC)", ("joint_conv.0.weight", "joint_conv.2.weight")),
    ("a discriminator of StackGAN", ("encode_img.0.weight", "get_cond_logits.outlogits.0.weight")),
    ("an image encoder of DAMSM", ("emb_features.weight",)),
    ("a text encoder of DAMSM", ("encoder.weight", "rnn.weight_ih_l0")),
    ("a captioner's LSTM (MirrorGAN's STREAM)", ("embed.weight", "lstm.weight_ih_l0")),
    ("an Inception v3", ("Mixed_5b.branch1x1.conv.weight",)),
    ("a VGG", ("features.0.weight", "classifier.0.weight")),
    ("a ResNet", ("layer1.0.conv1.weight",)),
    ("a transformer such as BERT or CLIP", ("embeddings.position_embeddings.weight",)),
)


def said_of(file: Released) -> str:
    """What is in a file, in words."""
    if is_captions(file.content):
        return "captions and their vocabulary (captions.pickle)"
    others = [kind for kind, marks in KINDS if not kind.startswith("a generator") and parts_of(file, *marks)]
    return (
        " and ".join(generator_kinds(file)[:1] + others) or f"no network that is known here: {describe(file.content)}"
    )


def generator_kinds(file: Released) -> list[str]:
    """What kinds of generators are in a file, the one that tells most first."""
    return [kind for kind, marks in KINDS if kind.startswith("a generator") and parts_of(file, *marks)]


def is_captions(content: Any) -> bool:
    """Whether a file is a captions.pickle: captions to train on, to test with, and the words both ways."""
    return isinstance(content, list | tuple) and len(content) == 4 and all(isinstance(c, Mapping) for c in content[2:])


def describe(content: Any) -> str:
    """What something is, for a message."""
    if isinstance(content, Mapping):
        names = ", ".join(str(name)[:60] for name in list(content)[:5])
        return f"a table of {names or 'nothing'}"
    return f"a {type(content).__name__}"


# ---------------------------------------------------------------------------- fitting


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
    lines = misfits(expected, given)
    if lines:
        shown = "\n  ".join(lines[:20])
        more = f"\n  ... and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise DataError(f"{what}: does not fit the network:\n  {shown}{more}")


def misfits(expected: Mapping[str, "Tensor"], given: Mapping[str, "Tensor"]) -> list[str]:
    """Every name that lacks or is not known, and every shape that is another one, in words and sorted."""
    lines = [f"lacks {name} {tuple(expected[name].shape)}" for name in expected.keys() - given.keys()]
    lines += [f"has {name}, which is not known" for name in given.keys() - expected.keys()]
    for name in expected.keys() & given.keys():
        ours, theirs = tuple(expected[name].shape), tuple(given[name].shape)
        if ours != theirs:
            lines.append(f"{name} is {theirs}, should be {ours}")
        elif not given[name].is_floating_point() and expected[name].is_floating_point():
            lines.append(f"{name} holds {given[name].dtype}, should be floating-point numbers")
    return sorted(lines)
