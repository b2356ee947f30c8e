"""Being asked to stop: the handler only notes it, the loop acts between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether and how the run was asked to stop."""

    def __init__(self) -> None:
        self.preempted = False
        self.interrupted = False

    @property
    def raised(self) -> bool:
        """Whether any request has come."""
        return self.preempted or self.interrupted

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler; a second Ctrl-C stops at once."""
        if number == signal.SIGINT:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
        else:
            self.preempted = True


@contextmanager
def watched() -> Iterator[StopRequest]:
    """Note Ctrl-C, and the signals by which a cluster takes a machine back, instead of dying of them."""
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, request.note) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
