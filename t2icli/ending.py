"""How the program ends: a user's mistake in one message and the exit code of its kind."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from t2icli.console import say
from t2icli.errors import DiskFull, Interrupted, OutOfMemory, UserError
from t2icli.storage import no_space

WRONG_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)


@contextmanager
def ending() -> Iterator[None]:
    """Turn a user's mistake into one message and the exit code of its kind; other faults keep their traceback."""
    try:
        yield
    except UserError as mistake:
        stop(mistake)
    except KeyboardInterrupt:
        stop(Interrupted("interrupted; what was finished is kept, and the same command goes on from there"))
    except BrokenPipeError:  # the reader of our output has left, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as fault:  # what it is about decides, whichever library raised it; others keep their traceback
        found = mistake_in(fault)
        if found is None:
            raise
        stop(found)


def mistake_in(fault: Exception) -> UserError | None:
    """What a fault outside the program means to its user: a full disk, spent memory, a place that cannot be used."""
    place = (fault.filename2 or fault.filename) if isinstance(fault, OSError) else None
    if no_space(fault):
        where = f" at {place}" if place else ""
        return DiskFull(f"no space left{where}; what was finished is kept, and the same command goes on from there")
    if isinstance(fault, OSError) and fault.errno in WRONG_PLACE and place:
        return UserError(f"{place}: {fault.strerror}; name a place that can be read and written")
    if isinstance(fault, MemoryError | RuntimeError) and memory_is_spent(fault):
        return OutOfMemory(f"out of memory: {fault}; lower train.batch_size or the model's channels")
    return None


def memory_is_spent(fault: Exception) -> bool:
    """Whether a fault says so: Python's, a GPU's, or a plain RuntimeError of torch's allocator on the CPU."""
    named = isinstance(fault, MemoryError) or type(fault).__name__ == "OutOfMemoryError"
    return named or "DefaultCPUAllocator" in str(fault)


def stop(mistake: UserError) -> NoReturn:
    """Print the message and leave with the code of its kind."""
    say(f"t2i: {mistake}")
    sys.exit(mistake.exit_code)
