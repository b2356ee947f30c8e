"""Runs t2i many times without paying for its imports each time: every command is a fork of one warm process.

A command is the real program, from its arguments to its exit code, in a process of its own that may be killed.
"""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from t2icli import registry
from t2icli.cli import main

torch.set_num_threads(1)  # a fork of a process with threads has none of them
for room in ("systems", "encoders", "terms", "data.readers", "evaluation.metrics", "evaluation.networks"):
    for module in registry.available(f"t2icli.{room}"):
        registry.load(f"t2icli.{room}", module)

PATIENCE = 120.0  # seconds; a command that takes longer hangs


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    arguments: tuple[str, ...]
    code: int | None  # None: by a signal
    signal: int | None
    hung: bool  # killed here because it did not end
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        how = f"code {self.code}" if self.signal is None else f"signal {self.signal}"
        last = self.err.strip().splitlines()[-1:] or [""]
        return f"t2i {' '.join(self.arguments)}: {'hung, ' if self.hung else ''}{how}: {last[0][:300]}"

    @property
    def crashed(self) -> bool:
        """Whether a user would see a traceback, a signal, or nothing for ever."""
        return self.hung or self.signal is not None or "Traceback (most recent call last)" in self.err


def run(
    arguments: Sequence[str | Path],
    folder: Path,
    kill_after: float | None = None,
    environment: Mapping[str, str] | None = None,
    notes: Path | None = None,
) -> Ended:
    """``t2i ARGUMENTS`` in a folder; killed without warning after so many seconds, if it still runs.

    ``notes`` is a folder for what it prints, which must not be the disk under attack; default: the folder itself.
    """
    words = tuple(map(str, arguments))
    files = [(notes or folder) / name for name in (".out", ".err")]
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        become(words, folder, files, environment or {})
    limit = PATIENCE if kill_after is None else kill_after
    status, killed = wait(child, start + limit)
    seconds = time.monotonic() - start
    out, err = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    return Ended(words, code, number, killed and kill_after is None, out, err, seconds)


def wait(child: int, deadline: float) -> tuple[int, bool]:
    """The status of a process that ended, and whether it had to be killed for that."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, False
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], True
        time.sleep(0.002)


def become(words: Sequence[str], folder: Path, files: Sequence[Path], environment: Mapping[str, str]) -> None:
    """Be the program; never returns."""
    code = 70  # of a fault in here
    try:
        os.chdir(folder)
        os.environ.update(environment)
        for number, file in zip((1, 2), files, strict=True):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        sys.argv = ["t2i", *words]
        code = ended_with(main)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def ended_with(program: object) -> int:
    """The exit code with which Python would end."""
    try:
        program()  # type: ignore[operator]
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter does it: whatever comes up to here is shown with its traceback
        traceback.print_exc()
        return 1
    return 0
