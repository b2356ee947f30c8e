"""Shards on a Ray cluster, on this machine or on many.

All machines share one file system, on which the raw data and ``--out`` have the same absolute paths, and have the same
t2icli. Ray's processes may work in another directory than the one ``t2i prepare`` was started in.
CPU tasks decode pictures and write shards; where the cluster has GPUs, actors there run BERT for them. A task whose
worker dies is run again by Ray, and writes the same file under the same name, so that nothing is lost or there twice.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from t2icli.console import say
from t2icli.data.bert import BUNDLED, Encoded
from t2icli.data.build import Advance, Builder, Done, Engine, Workforce, local_encoder
from t2icli.data.plan import Settings, Task
from t2icli.data.text_encoder import NONE
from t2icli.errors import EnvironmentFault, OutOfMemory

RETRIES = 5  # of one task, after the death of its worker
QUEUED_PER_CPU = 2  # so that none waits for its next task, while few tasks' records lie in Ray's memory
SECONDS_BETWEEN_LOOKS = 0.2
STORE_BYTES = 256_000_000  # of a Ray that is started here; records and vectors pass through it, pictures do not


def engine(force: Workforce) -> Engine:
    """A Ray cluster's CPUs and GPUs, unless the number of tasks at the same time is given."""
    return partial(build_all, library(), force)


def build_all(
    ray: Any, force: Workforce, tasks: Sequence[Task], settings: Settings, advance: Advance
) -> Iterator[Done]:
    """Every task's shard, in the order of completion; progress is by whole shards."""
    with cluster(ray, force.workers):
        found = ray.cluster_resources()
        cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
        at_once = force.workers or QUEUED_PER_CPU * cpus
        say(f"Ray: {cpus:,} CPUs, {gpus:,} GPUs; progress is shown a shard at a time")
        shared = ray.put(settings_anywhere(settings))
        # where no vectors are stored BERT does not run, so that no GPU is to be kept from others
        encoders = start_encoders(ray, shared, gpus, force.gpu_share) if settings.dim else []
        build = ray.remote(build_on_cluster).options(num_cpus=1, max_retries=RETRIES)
        waiting = iter(enumerate(tasks))
        pending: dict[Any, Task] = {}
        try:
            while True:
                for number, task in islice(waiting, at_once - len(pending)):
                    encoder = encoders[number % len(encoders)] if encoders else None
                    pending[build.remote(task_anywhere(task), shared, encoder)] = task
                if not pending:
                    return
                ready, _ = ray.wait(list(pending), timeout=SECONDS_BETWEEN_LOOKS)
                advance(sum(len(pending[reference].records) for reference in ready))
                yield from (fetch(ray, reference, pending.pop(reference).file) for reference in ready)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


def settings_anywhere(settings: Settings) -> Settings:
    """What a worker is told, with paths that do not depend on the directory it works in."""
    text, model = settings.text, Path(settings.text.model).expanduser()
    if text.model not in (NONE, *BUNDLED) and model.is_dir():
        text = text.model_copy(update={"model": str(model.absolute())})
    return replace(settings, out=settings.out.absolute(), text=text)


def task_anywhere(task: Task) -> Task:
    """The same of a task; done when it is handed out, because the records of all tasks would be there twice."""
    return replace(task, records=tuple(replace(record, path=record.path.absolute()) for record in task.records))


def library() -> Any:
    """Ray, which is not installed with everything else."""
    try:
        import ray
    except ImportError:
        raise EnvironmentFault("--engine ray: Ray is not installed; pip install 't2icli[ray]'") from None
    return ray


@contextmanager
def cluster(ray: Any, workers: int) -> Iterator[None]:
    """The cluster at RAY_ADDRESS, or else one of this machine's own that ends with the work.

    A program that has already called ``ray.init`` keeps its own.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    options: dict[str, Any] = {}
    if address == "local":
        cpus = workers or len(os.sched_getaffinity(0))
        options = {"num_cpus": cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone unless the user wants it
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError) as fault:
        cause = " ".join(str(fault).split())[:300]
        raise EnvironmentFault(
            f"RAY_ADDRESS={address}: cannot be used ({cause}); should be the address of a running cluster, "
            "e.g. HOST:6379, or not be set, which starts Ray on this machine"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def fetch(ray: Any, reference: Any, file: str) -> Any:
    """What a task or an actor gave; what it raised is raised as if it had happened here."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as fault:
        raise fault.cause from None
    except ray.exceptions.RayError as fault:
        raise OutOfMemory(
            f"{file}: its worker died {RETRIES + 1} times ({type(fault).__name__}), as happens when memory is spent; "
            "finished shards are kept: run the same command with fewer --workers, or on larger machines"
        ) from None


def start_encoders(ray: Any, settings: Any, gpus: int, share: float) -> list[Any]:
    """Actors that run BERT, as many as fit when each takes its share of a GPU."""
    options = {"num_cpus": 0, "num_gpus": share, "max_restarts": RETRIES, "max_task_retries": RETRIES}
    actor = ray.remote(EncoderActor).options(**options)
    return [actor.remote(settings) for _ in range(gpus * int(1 / share))]


# ---------------------------------------------------------------------------- on the cluster


class Worker:
    """What a process of Ray's keeps from one task to the next."""

    builder: Builder | None = None  # has BERT in memory


def build_on_cluster(task: Task, settings: Settings, actor: Any) -> Done:
    """One task, in a process of Ray's; ``actor`` runs BERT, or this process does."""
    if actor is not None:
        return Builder(settings, say_nothing, RemoteEncoder(actor, task.file)).build(task)
    if Worker.builder is None or Worker.builder.settings != settings:
        Worker.builder = Builder(settings, say_nothing)
    return Worker.builder.build(task)


def say_nothing(images: int) -> None:
    """No progress inside a shard: a message for each image would cost more than the image."""


class EncoderActor:
    """BERT in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self.encoder = local_encoder(settings)

    def encode(self, captions: list[str], pad_sum: bool) -> list[Encoded]:
        """Tokens and vectors of every caption."""
        return self.encoder.encode(captions, pad_sum)


class RemoteEncoder:
    """A text encoder whose work an actor does."""

    def __init__(self, actor: Any, file: str) -> None:
        self.actor, self.file = actor, file

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Tokens and vectors of every caption, in the order given."""
        encoded: list[Encoded] = fetch(library(), self.actor.encode.remote(captions, pad_sum), self.file)
        return encoded
