"""Locks: what keeps two processes from writing to one place.

The kernel holds a lock for as long as its process lives (``take``), where the file system has such locks and nobody
writes from another machine that they do not reach. A ``hold`` works everywhere: it is a file with a name that only one
process can give it, locked by the kernel where that is possible, and touched every few seconds for those whom the
kernel cannot tell. Its holder alone removes it; one whose holder is gone is inherited. Nothing here imports torch.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cache
from pathlib import Path
from typing import IO

from pydantic import BaseModel, Field

from t2icli.console import say
from t2icli.documents import read_document
from t2icli.errors import DataError, EnvironmentFault, UserError

# What a file system without locks answers. Anything else is a fault, and to go on would be to write without a lock.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
NO_HARD_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)
SIZE_LIMIT = 1 << 14  # bytes; a lock has some two hundred

BEAT = 5.0  # seconds between two touches
# Seconds without a touch, by the clock of whoever watches, after which a holder on another machine is gone: twelve
# beats, so that a slow network loses none. Two clocks are never compared, so it does not matter how they differ.
EXPIRY = 60.0
# Seconds since the last touch after which nobody needs to watch; clocks of machines that share a folder differ by less.
FORGOTTEN = 600.0
WRITING = 1.0  # seconds that a lock may be without its content, where it cannot be made in one piece
TRIES = 1000  # for a lock that changes hands whenever it is looked at


class Kernel(Enum):
    """What the kernel says to who asks for a lock."""

    HELD = "ours now"
    BUSY = "another's"
    NONE = "the file system has no locks"


def take(file: IO[bytes] | IO[str], shared: bool = False) -> Kernel:
    """Ask the kernel for the lock of an open file, without waiting; the process's end gives it back."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return Kernel.BUSY
    except OSError as fault:
        if fault.errno not in NO_LOCKS:
            raise
        return Kernel.NONE
    return Kernel.HELD


# ---------------------------------------------------------------------------- who holds a lock


class Holder(BaseModel):
    """Who wrote a lock. Version 0.1 wrote the first three only, and neither touched nor locked the file."""

    host: str
    pid: int = Field(ge=1, lt=1 << 31)
    started: str | None = None  # by the kernel's clock, so that a number given to a later process is told apart
    kernel: str = ""  # of one start of one machine
    space: str = ""  # of process numbers: containers on one machine count their own

    @property
    def here(self) -> bool:
        """Whether its process number means something to this process."""
        mine = myself()
        if not self.kernel:
            return self.host == mine.host
        return (self.kernel, self.space) == (mine.kernel, mine.space)

    @property
    def runs(self) -> bool:
        """Whether its process still runs, where the number means something."""
        return process_start(self.pid) == self.started


def myself() -> Holder:
    """This process."""
    start = process_start(os.getpid())
    return Holder(host=socket.gethostname(), pid=os.getpid(), started=start, kernel=kernel(), space=process_space())


@cache
def kernel() -> str:
    """This start of this machine; its name where nobody tells."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def process_space() -> str:
    """Which processes this one's number counts among."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks, so that a reused pid is told apart; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc (macOS): the pid alone must do
        os.kill(pid, 0)
    except OSError:
        return None
    return "alive"


def read_holder(path: Path) -> Holder | None:
    """Who wrote a lock; none where it is damaged, or gone."""
    try:
        return read_document(path, Holder, SIZE_LIMIT)
    except DataError:
        return None


def look(path: Path, signs: Sequence[Path] = ()) -> Holder | None:
    """Who seems to hold a lock, for people to read: nothing is locked, so nobody is disturbed."""
    holder = read_holder(path)
    if holder is None or (holder.runs if holder.here else age(path, signs) < EXPIRY):
        return holder
    return None


# ---------------------------------------------------------------------------- holding one


@contextmanager
def hold(path: Path, what: str, advice: str = "wait for it to end", signs: Sequence[Path] = ()) -> Iterator["Hold"]:
    """Be the only process that holds a lock. While another one does, refuse; where it cannot be asked, watch it first.

    Messages call ``what`` what is written to. Changes of the files ``signs`` count as signs of life of a holder that
    does not touch its lock, because its version did not do so yet.
    """
    held = Hold(path, what, advice, signs)
    try:
        held.acquire()
        yield held
    finally:
        held.release()


def refusal(what: str, holder: Holder, advice: str) -> UserError:
    """What is said of a lock that another process holds."""
    return UserError(f"{what}: process {holder.pid} on {holder.host} is writing to it; {advice}")


class Hold:
    """A lock that is wanted, then held, then released."""

    def __init__(self, path: Path, what: str, advice: str, signs: Sequence[Path]) -> None:
        self.path, self.what, self.advice, self.signs = path, what, advice, signs
        self.draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
        self.file = create(self.draft)
        self.done = threading.Event()
        self.heart = threading.Thread(target=self.beat, daemon=True)

    def acquire(self) -> None:
        """Give the lock's name to our file, or refuse."""
        for _ in range(TRIES):
            if self.name(self.path) or self.inherit():
                self.draft.unlink(missing_ok=True)
                self.sweep()
                self.heart.start()
                return
        raise EnvironmentFault(
            f"{self.path}: is another file whenever it is looked at; is it on a network that is slow?"
        )

    def sweep(self) -> None:
        """Remove files of processes that were killed while they wanted the lock, long ago."""
        for draft in self.path.parent.glob(f".{self.path.name}.*"):
            if age(draft) > FORGOTTEN:
                draft.unlink(missing_ok=True)

    def name(self, path: Path) -> bool:
        """Give our file another name; false where that is taken."""
        try:
            os.link(self.draft, path)
        except FileExistsError:
            return False
        except OSError as fault:
            if fault.errno not in NO_HARD_LINKS:
                raise
            return self.take_the_place(path)
        return True

    def take_the_place(self, path: Path) -> bool:
        """The same on a file system without hard links: ours is then a new file of that name."""
        try:
            file = create(path)
        except FileExistsError:
            return False
        close(self.file)
        self.file = file
        return True

    def inherit(self) -> bool:
        """Put our file in the place of one whose holder is gone; false if that changed meanwhile. Raise while it lives.

        Two who both saw a holder go must not both inherit, wherever they run. So our file first gets a name that is
        made of the old one, which one process alone can give it, and then we look whether the old one is still there.
        """
        there = opened(self.path)
        if there is None:
            return False
        with there:
            answer = take(there)
            if not in_place(there, self.path):
                return False
            self.refuse_if_alive(self.path, there, answer, self.signs)
            heir = self.path.with_name(f".{self.path.name}.{os.fstat(there.fileno()).st_ino}.heir")
            if not self.name(heir):
                self.clear(heir)
                return False
            if not in_place(there, self.path):
                heir.unlink(missing_ok=True)
                return False
            heir.replace(self.path)
            return True

    def clear(self, heir: Path) -> None:
        """Remove what a process left that was killed while it inherited; raise while that is alive."""
        there = opened(heir)
        if there is None:
            return
        with there:
            self.refuse_if_alive(heir, there, take(there), ())
            if in_place(there, heir):
                heir.unlink(missing_ok=True)

    def refuse_if_alive(self, path: Path, there: IO[bytes], answer: Kernel, signs: Sequence[Path]) -> None:
        """Raise when a lock belongs to a process that may still be writing."""
        holder = read_holder(path)
        if holder is None:  # damaged, or being written at this moment
            time.sleep(WRITING)
            holder = read_holder(path)
        if holder is None:
            if answer is Kernel.BUSY:
                raise UserError(f"{self.what}: another process is writing to it; {self.advice}")
            return
        if holder.kernel == kernel() and answer is not Kernel.NONE:
            alive = answer is Kernel.BUSY
        elif holder.here:
            alive = holder.runs
        else:
            alive = lives(path, there, holder, () if holder.kernel else signs)
        if alive:
            raise refusal(self.what, holder, self.advice)

    # ------------------------------------------------------------------------ while it is held

    def beat(self) -> None:
        """Touch the lock until it is released; of files that another has put in our place, ``check`` tells."""
        while not self.done.wait(BEAT):
            with suppress(OSError):  # a network file system that is away for a while; the next beat tries again
                os.utime(self.file.fileno())

    def check(self) -> None:
        """Raise when another process has inherited the lock, because this one gave no sign of life for too long."""
        if not in_place(self.file, self.path):
            raise UserError(
                f"{self.what}: another process has taken it over, because this one gave no sign of life for "
                f"{EXPIRY:.0f} seconds; this one writes nothing more"
            )

    def release(self) -> None:
        """Remove the lock if it is ours; its names go first, and the kernel's lock last."""
        self.done.set()
        if self.heart.is_alive():
            self.heart.join()
        try:
            self.draft.unlink(missing_ok=True)
            if in_place(self.file, self.path):
                self.path.unlink(missing_ok=True)
        finally:
            close(self.file)


def create(path: Path) -> IO[bytes]:
    """A file that says who this is, open, and locked by the kernel before anybody can read it."""
    file = path.open("xb", buffering=0)
    held_here.add(file)
    try:
        take(file)
        file.write((json.dumps(myself().model_dump()) + "\n").encode())
    except BaseException:
        close(file)
        path.unlink(missing_ok=True)
        raise
    return file


def close(file: IO[bytes]) -> None:
    """Close a lock, which gives it back to the kernel."""
    held_here.discard(file)
    file.close()


def opened(path: Path) -> IO[bytes] | None:
    """A lock that is there; none where it has gone, or was a link to nothing, which goes."""
    try:
        # for writing, because NFS locks no other; without waiting, because it may be a pipe
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK), "r+b", buffering=0)
    except FileNotFoundError:
        if path.is_symlink():
            path.unlink(missing_ok=True)
        return None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{path}: is no file but a pipe or a device; remove it")
    return file


def in_place(file: IO[bytes], path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def lives(path: Path, there: IO[bytes], holder: Holder, signs: Sequence[Path]) -> bool:
    """Whether a process on another machine gives a sign of life while we watch, or until its file is replaced."""
    forgotten = age(path, signs) > FORGOTTEN
    if forgotten or not in_place(there, path):
        return False
    say(
        f"{path}: process {holder.pid} on {holder.host} held this lock; "
        f"it is taken over unless that process gives a sign of life within {EXPIRY:.0f} seconds"
    )
    before, end = touched(path, signs), time.monotonic() + EXPIRY
    while time.monotonic() < end and in_place(there, path):
        time.sleep(min(BEAT / 5, max(0.0, end - time.monotonic())))
        if touched(path, signs) != before:
            return in_place(there, path)
    return False


def touched(path: Path, signs: Sequence[Path]) -> tuple[int, ...]:
    """When files were last written, as the file system tells; they are opened, because NFS then asks its server."""
    found = []
    for sign in (path, *signs):
        try:
            with sign.open("rb") as file:
                found.append(os.fstat(file.fileno()).st_mtime_ns)
        except OSError:  # not there, or on its way to another name
            found.append(0)
    return tuple(found)


def age(path: Path, signs: Sequence[Path] = ()) -> float:
    """Seconds since the last sign of life, by this machine's clock."""
    return time.time() - max(touched(path, signs)) / 1e9


# Children of a fork have the open files of their parent, and with them its locks, which must end with the parent.
held_here: set[IO[bytes]] = set()


def forget_in_child() -> None:
    """Close what a child was given; its parent keeps the locks."""
    for file in held_here:
        file.close()
    held_here.clear()


os.register_at_fork(after_in_child=forget_in_child)
