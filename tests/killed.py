"""An action that is killed at each of its steps on the disk, one after the other."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

STEPS = ("open", "os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.utime")


def killed_at_every_step(action: Callable[[Path], object], root: Path) -> Iterator[Path]:
    """What is left of each kill: a folder of its own, in which a child was killed before its n-th step on the disk."""
    for point in count():
        folder = root / str(point)
        folder.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child touches no thread of its parent
            child = os.fork()
        if child == 0:
            try:
                kill_at(point, folder)
                action(folder)
            finally:
                os._exit(0 if sys.exception() is None else 1)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == 0:
            assert point > 3, "the action was never killed"
            return
        assert ended == 9, "the action failed by itself"
        yield folder


def kill_at(point: int, folder: Path) -> None:
    """Die without a word before a step on the disk inside a folder."""
    done = count()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        paths = [str(value) for value in arguments[:2] if isinstance(value, str | os.PathLike)]
        if event in STEPS and any(path.startswith(str(folder)) for path in paths) and next(done) == point:
            os._exit(9)

    sys.addaudithook(watch)
