"""Several processes on this machine, started through torchrun's own API.

What stops this process is passed on to those that train, so that they save; how they end is how this process ends.
"""

import logging
import multiprocessing
import os
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from t2icli.console import say
from t2icli.ending import ending
from t2icli.errors import EnvironmentFault
from t2icli.recipe import Recipe
from t2icli.recipe_files import parse, to_toml
from t2icli.training.loop import train

KEPT_FROM_TORCHRUN = "SIGHUP,SIGQUIT"  # the signals at which torchrun's API still ends the processes by itself


def launch(recipe: Recipe, folder: Path, processes: int, weights: Sequence[str]) -> None:
    """Start the processes, and pass on how they end."""
    if torch.cuda.is_available() and torch.cuda.device_count() < processes:
        raise EnvironmentFault(f"--nproc {processes}: this machine has {torch.cuda.device_count()} GPUs")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=folder.name,
        max_restarts=0,
        start_method="spawn",
        signals_to_handle=KEPT_FROM_TORCHRUN,
    )
    # It would print a traceback for every process that ends with a code of ours; each has said itself what happened.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        with passing_on():
            elastic_launch(config, one_process)(to_toml(recipe), folder, list(weights))
    except ChildFailedError as failure:
        codes = [child.exitcode for child in failure.failures.values()]
        if 1 in codes:  # a programming mistake keeps its traceback
            say(str(failure))
        sys.exit(next((code for code in codes if code > 0), 1))  # one that a signal killed has a negative code


def one_process(recipe: str, folder: Path, weights: Sequence[str]) -> None:
    """What each of several processes runs; its mistakes are printed and end it as in a single process."""
    with ending():
        train(parse(tomllib.loads(recipe), "recipe"), lambda: folder, weights)


@contextmanager
def passing_on() -> Iterator[None]:
    """Hand SIGTERM and SIGUSR1 on to the processes that train.

    Ctrl-C reaches them without our help, as the terminal sends it to all; a second one from here would tell them to
    stop at once.
    """

    def hand_on(number: int, frame: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGUSR1)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
