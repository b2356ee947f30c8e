"""One shard from its records, in this process or in a pool of others.

A task writes its own file and nothing else, so tasks can run in any order, die and be repeated.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from t2icli.data.images import ImageError, load_picture
from t2icli.data.manifest import ShardEntry
from t2icli.data.plan import Settings, Task
from t2icli.data.shards import Shard, ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.data.source import Record
from t2icli.data.text_encoder import TextEncoder, text_encoder
from t2icli.errors import DataError, OutOfMemory
from t2icli.storage import sha256

IMAGES_AT_ONCE = 50  # their captions go through BERT together; small, so that progress is seen to move
SECONDS_BETWEEN_LOOKS = 0.2

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Done:
    """A finished shard, as its file tells it."""

    entry: ShardEntry
    left_out: tuple[dict[str, Any], ...]
    notes: dict[str, int]  # what had to be done to decode images, and how often
    repaired: tuple[str, ...]  # images that were kept although their files are truncated
    truncated_captions: int


class Builder:
    """Writes shards; loads BERT when the first caption comes."""

    def __init__(self, settings: Settings, advance: Advance) -> None:
        self.settings, self.advance = settings, advance
        torch.set_num_threads(settings.threads)

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder, on the GPU where there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return text_encoder(self.settings.text.model, self.settings.text.max_tokens, device)

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
        except DataError:
            return None  # cut short or damaged: it is written anew
        rows = done.entry.images + len(done.left_out)
        return (
            done if shard.attributes["plan"] == self.settings.attributes["plan"] and rows == len(task.records) else None
        )

    def add_image(self, record: Record, split: str, images: list[StoredImage], report: "Report") -> bool:
        """Decode and store one picture; says whether that could be done."""
        self.advance(0)
        try:
            picture = load_picture(record.path, self.settings.images, record.crop)
        except ImageError as fault:
            line = {"split": split, "image": record.path.name, "what": "image", "reason": str(fault)}
            report.left_out.append(line)
            return False
        report.notes.update(picture.notes)
        if "truncated" in picture.notes:
            report.repaired.append(record.path.name)
        images.append(
            StoredImage(record.id, picture.data, picture.height, picture.width, record.class_index, record.boxes)
        )
        return True

    def add_captions(self, records: list[Record], row: int, captions: list[StoredCaption], report: "Report") -> None:
        """Encode the captions of pictures whose rows begin at ``row``."""
        texts = [(row + i, text) for i, record in enumerate(records) for text in record.captions]
        encoded = self.encoder.encode([text for _, text in texts], self.settings.text.pad_sum) if texts else []
        for (image, text), caption in zip(texts, encoded, strict=True):
            report.truncated_captions += caption.truncated
            captions.append(StoredCaption(image, text, caption.tokens, caption.words, caption.pad_sum))


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
    try:
        report = json.loads(shard.attributes["report"])
    except KeyError:
        raise DataError(f"{shard.path}: not a shard that prepare wrote") from None
    tokens = sum(shard.token_count(caption) for caption in range(shard.caption_count))
    size = shard.path.stat().st_size
    entry = ShardEntry(task.file, task.split, len(shard), shard.caption_count, tokens, size, sha256(shard.path))
    return Done(
        entry, tuple(report["left_out"]), report["notes"], tuple(report["repaired"]), report["truncated_captions"]
    )


# ---------------------------------------------------------------------------- many processes


class Stopped(Exception):
    """Another task has failed, or the user has had enough."""


class Worker:
    """What a pool's process keeps from one task to the next."""

    current: "Worker"

    def __init__(self, settings: Settings, done: Any, stop: Any) -> None:
        self.done, self.stop = done, stop
        self.builder = Builder(settings, self.advance)

    def advance(self, count: int) -> None:
        """Tell the parent how many images are through; the place where a request to stop is noticed."""
        if self.stop.is_set():
            raise Stopped
        with self.done.get_lock():
            self.done.value += count


def start_worker(settings: Settings, done: Any, stop: Any) -> None:
    """Set up a process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
    threading.Thread(target=leave_with_parent, daemon=True).start()
    Worker.current = Worker(settings, done, stop)


def leave_with_parent() -> None:
    """End this process when its parent is gone: a pool's process would wait for ever for its next task."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def build_in_worker(task: Task) -> Done:
    """One task, in a process of the pool."""
    return Worker.current.builder.build(task)


def build_all(tasks: Sequence[Task], settings: Settings, workers: int, advance: Advance) -> Iterator[Done]:
    """Every task's shard, in the order of completion."""
    if workers == 1:
        builder = Builder(settings, advance)
        yield from map(builder.build, tasks)
        return
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Event()
    shown = 0
    with ProcessPoolExecutor(workers, context, start_worker, (settings, done, stop)) as pool:
        pending = {pool.submit(build_in_worker, task) for task in tasks}
        try:
            while pending:
                ready, pending = wait(pending, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                # read without the lock, which a killed process may never give back
                shown, before = done.get_obj().value, shown
                advance(shown - before)
                yield from (future.result() for future in ready)
        except BrokenProcessPool:
            raise OutOfMemory(
                "a worker process was killed, as happens when memory is spent; finished shards are kept: "
                "run the same command with fewer --workers"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
