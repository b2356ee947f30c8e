"""Shards in a pool of processes on this machine."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from typing import Any

from t2icli.data.build import Advance, Builder, Done, Engine, Workforce
from t2icli.data.plan import Settings, Task
from t2icli.errors import OutOfMemory

IMAGES_WORTH_A_PROCESS = 2500  # each process takes seconds to start, because it imports torch and transformers
SECONDS_BETWEEN_LOOKS = 0.2


def engine(force: Workforce) -> Engine:
    """Processes of this machine: one per core, or fewer for few images, unless their number is given."""
    return partial(build_all, force.workers)


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


def build_all(workers: int, tasks: Sequence[Task], settings: Settings, advance: Advance) -> Iterator[Done]:
    """Every task's shard, in the order of completion."""
    cores = len(os.sched_getaffinity(0))
    worthwhile = -(-sum(len(task.records) for task in tasks) // IMAGES_WORTH_A_PROCESS)
    workers = min(workers or min(cores, worthwhile), len(tasks))
    settings = replace(settings, threads=max(1, cores // workers))
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
