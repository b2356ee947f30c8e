"""One shard from its records, in whichever process an engine chose.

A task writes its own file and nothing else, so tasks can run in any order and anywhere, die and be repeated.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import Field

from t2icli.data.bert import Encoded
from t2icli.data.decoding import ImageError
from t2icli.data.images import load_picture
from t2icli.data.manifest import ShardEntry
from t2icli.data.plan import Settings, Task
from t2icli.data.shards import Shard, ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.data.source import Record
from t2icli.data.text_encoder import text_encoder
from t2icli.documents import Count, Document, checked, parse_json
from t2icli.errors import DataError
from t2icli.storage import sha256

IMAGES_AT_ONCE = 50  # their captions go through BERT together; small, so that progress is seen to move

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Done:
    """A finished shard, as its file tells it."""

    entry: ShardEntry
    left_out: tuple[dict[str, Any], ...]
    notes: dict[str, int]  # what had to be done to decode images, and how often
    repaired: tuple[str, ...]  # images that were kept although their files are truncated
    truncated_captions: int


@dataclass(frozen=True)
class Workforce:
    """How many work on a data set; a module in t2icli/data/engines makes an ``Engine`` of it."""

    workers: int = 0  # tasks at the same time; 0 leaves it to the engine
    gpu_share: float = 1.0  # of a GPU, for each process that runs BERT, where the engine hands out GPUs


# Every task's shard, in the order of completion.
Engine = Callable[[Sequence[Task], Settings, Advance], Iterator[Done]]


class Encodes(Protocol):
    """What turns captions into vectors, here or elsewhere."""

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Tokens and vectors of every caption, in the order given."""


def local_encoder(settings: Settings) -> Encodes:
    """A text encoder in this process, on the GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = settings.text
    return text_encoder(text.model, text.max_tokens, device, text.embeddings, text.precision)


class Builder:
    """Writes shards; loads BERT when the first caption comes, unless it is given an encoder."""

    def __init__(self, settings: Settings, advance: Advance, encoder: Encodes | None = None) -> None:
        self.settings, self.advance, self.given = settings, advance, encoder
        torch.set_num_threads(settings.threads)

    @cached_property
    def encoder(self) -> Encodes:
        """The text encoder."""
        return self.given or local_encoder(self.settings)

    def build(self, task: Task) -> Done:
        """Write the task's shard, unless an earlier run has."""
        finished = self.finished(task)
        if finished is not None:
            self.advance(len(task.records))
            return finished
        images: list[StoredImage] = []
        captions: list[StoredCaption] = []
        report = Report()
        for start in range(0, len(task.records), IMAGES_AT_ONCE):
            group = task.records[start : start + IMAGES_AT_ONCE]
            kept = [record for record in group if self.add_image(record, task.split, images, report)]
            self.add_captions(kept, len(images) - len(kept), captions, report)
            self.advance(len(group))
        content = ShardContent(images, captions, self.settings.dim, self.settings.categories)
        path = self.settings.out / task.file
        write_shard(path, content, {**self.settings.attributes, "split": task.split, "report": report.to_json()})
        return describe(Shard(path), task)

    def finished(self, task: Task) -> Done | None:
        """The shard of an earlier run, if it is of the same plan and whole."""
        path = self.settings.out / task.file
        if not path.is_file():
            return None
        shard = Shard(path)
        try:
            done = describe(shard, task)
            same = shard.attributes["plan"] == self.settings.attributes["plan"]
            whole = done.entry.images + len(done.left_out) == len(task.records) and not shard.damage()
        except DataError:
            return None  # cut short or damaged: it is written anew
        return done if same and whole else None

    def add_image(self, record: Record, split: str, images: list[StoredImage], report: "Report") -> bool:
        """Decode and store one picture; says whether that could be done."""
        self.advance(0)
        try:
            picture = load_picture(record.path, self.settings.images, record.crop, record.part)
        except ImageError as fault:
            line = {"split": split, "image": record.name, "what": "image", "reason": str(fault)}
            report.left_out.append(line)
            return False
        report.notes.update(picture.notes)
        if "truncated" in picture.notes:
            report.repaired.append(record.name)
        images.append(
            StoredImage(record.id, picture.data, picture.height, picture.width, record.class_index, record.boxes)
        )
        return True

    def add_captions(self, records: list[Record], row: int, captions: list[StoredCaption], report: "Report") -> None:
        """Encode the captions of pictures whose rows begin at ``row``."""
        texts = [(row + i, text) for i, record in enumerate(records) for text in record.captions]
        if not texts:
            return
        encoded = self.encoder.encode([text for _, text in texts], self.settings.text.pad_sum)
        # one block a group: thousands of small arrays between BERT's large ones would hold three times their memory
        block = np.concatenate([caption.words for caption in encoded])
        parts = np.split(block, np.cumsum([len(caption.words) for caption in encoded])[:-1])
        for (image, text), caption, words in zip(texts, encoded, parts, strict=True):
            report.truncated_captions += caption.truncated
            captions.append(StoredCaption(image, text, caption.tokens, words, caption.pad_sum))


class Report:
    """What a task met on its way; kept in the shard, so that a later run need not do it again."""

    def __init__(self) -> None:
        self.left_out: list[dict[str, Any]] = []
        self.notes: Counter[str] = Counter()
        self.repaired: list[str] = []
        self.truncated_captions = 0

    def to_json(self) -> str:
        """The shard's attribute."""
        return json.dumps(vars(self), sort_keys=True, ensure_ascii=False)


def describe(shard: Shard, task: Task) -> Done:
    """A shard as the manifest is to list it."""
    report = report_of(shard)
    if report is None:
        raise DataError(f"{shard.path}: not a shard that prepare wrote")
    tokens = sum(shard.token_count(caption) for caption in range(shard.caption_count))
    size = shard.path.stat().st_size
    entry = ShardEntry(task.file, task.split, len(shard), shard.caption_count, tokens, size, sha256(shard.path))
    notes = Counter(report.notes)
    return Done(entry, tuple(report.left_out), notes, tuple(report.repaired), report.truncated_captions)


class Kept(Document):
    """A ``Report`` as a shard keeps it."""

    left_out: list[dict[str, Any]] = Field(default_factory=list)
    notes: dict[str, Count] = Field(default_factory=dict)
    repaired: list[str] = Field(default_factory=list)
    truncated_captions: Count


def report_of(shard: Shard) -> Kept | None:
    """What the task met that wrote a shard; nothing where that was none of ours, or an older one."""
    try:
        return checked(parse_json(shard.attributes["report"]), Kept, str(shard.path))
    except (KeyError, TypeError, ValueError, DataError):
        return None
