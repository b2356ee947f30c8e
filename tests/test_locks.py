"""A lock has one holder, whoever asks, on file systems of every kind; nobody waits for ever for one who is gone."""

import errno
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from killed import killed_at_every_step
from lock_starters import ELSEWHERE, GONE_HERE, forgotten, said, starters, tell

from t2icli import locks
from t2icli.errors import UserError
from t2icli.locks import hold, look, myself


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become hundredths."""
    monkeypatch.setattr(locks, "BEAT", 0.05)
    monkeypatch.setattr(locks, "EXPIRY", 0.4)
    monkeypatch.setattr(locks, "WRITING", 0.01)


@pytest.mark.parametrize("left", [None, GONE_HERE, ELSEWHERE], ids=["none", "gone", "elsewhere"])
@pytest.mark.parametrize(
    "kind", [(), ("no-locks",), ("no-locks", "no-links")], ids=lambda kind: " ".join(kind) or "all"
)
def test_of_three_that_start_together_one_holds(tmp_path: Path, kind: tuple[str, ...], left: dict | None) -> None:
    path = tmp_path / "run.lock"
    with starters(3, *kind) as three:
        for _ in range(8 if "no-links" in kind else 30):
            if left is not None:
                forgotten(path, left)
            for one in three:
                tell(one, str(path))
            answers = {one: said(one) for one in three}
            holders = [one for one, answer in answers.items() if answer == "held"]
            assert len(holders) == 1, answers
            assert all("refused: run: " in answer for one, answer in answers.items() if one not in holders)
            tell(holders[0], "")
            assert said(holders[0]) == "released"
            assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_leaves_the_lock_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with starters(2) as (first, second):
        tell(first, str(path))
        assert said(first) == "held"
        tell(second, str(path))
        assert f"refused: run: process {first.pid} on {os.uname().nodename} is writing to it; wait" in said(second)
        first.send_signal(signal.SIGKILL)
        first.wait()
        tell(second, str(path))
        assert said(second) == "held"


def test_children_of_the_holder_do_not_hold_on(tmp_path: Path) -> None:
    """Loader processes are forks; they outlive a trainer that is killed by some seconds."""
    path = tmp_path / "run.lock"
    reading, writing = os.pipe()
    with hold(path, "run"):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent is through
            os._exit(0)
        path.rename(tmp_path / "kept")  # the parent's end would remove it
    with (tmp_path / "kept").open("rb") as file:
        assert locks.take(file) is locks.Kernel.HELD
    os.close(writing)
    os.waitpid(child, 0)


@pytest.mark.parametrize("left", [None, GONE_HERE], ids=["none", "gone"])
def test_killed_at_any_step_the_next_one_holds(tmp_path: Path, left: dict | None) -> None:
    def once(folder: Path) -> None:
        if left is not None and not (folder / "run.lock").exists():
            (folder / "run.lock").write_text(json.dumps(left))
        with hold(folder / "run.lock", "run"):
            pass

    for folder in killed_at_every_step(once, tmp_path):
        once(folder)
        assert not (folder / "run.lock").exists()


@pytest.mark.usefixtures("impatient")
def test_a_holder_on_another_machine_is_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.lock"
    path.write_text(json.dumps(ELSEWHERE))
    start = time.monotonic()
    with hold(path, "run") as held:
        assert time.monotonic() - start >= 0.4
        assert "process 12 on elsewhere held this lock; it is taken over unless" in capsys.readouterr().err
        held.check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("skew", [-3000.0, 0.0, 500.0])
def test_a_holder_on_another_machine_that_beats_is_left_alone(tmp_path: Path, skew: float) -> None:
    """Whatever its clock says: one in the future, and one that is behind by less than anybody would forget."""
    path, stop = tmp_path / "run.lock", threading.Event()
    path.write_text(json.dumps(ELSEWHERE))

    def beats() -> None:
        while not stop.wait(0.03):
            os.utime(path, (time.time() - skew,) * 2)

    other = threading.Thread(target=beats)
    other.start()
    try:
        with pytest.raises(UserError, match="process 12 on elsewhere is writing to it"), hold(path, "run"):
            pass
    finally:
        stop.set()
        other.join()
    assert json.loads(path.read_text()) == ELSEWHERE


@pytest.mark.usefixtures("impatient")
def test_a_holder_that_was_taken_for_gone_writes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    stalled = locks.Hold(path, "run", "wait", ())
    stalled.acquire()
    path.unlink()
    with hold(path, "run"):
        with pytest.raises(UserError, match="another process has taken it over.*this one writes nothing more"):
            stalled.check()
        stalled.release()
        assert path.exists()  # only its holder removes a lock


@pytest.mark.usefixtures("impatient")
def test_locks_of_version_0_1(tmp_path: Path) -> None:
    path, log = tmp_path / "run.lock", tmp_path / "log.jsonl"
    alive = {"host": os.uname().nodename, "pid": os.getppid(), "started": locks.process_start(os.getppid())}
    path.write_text(json.dumps(alive))
    assert look(path) is not None
    with pytest.raises(UserError, match=f"process {os.getppid()} on .* is writing to it; advice"):
        locks.Hold(path, "run", "advice", ()).acquire()
    path.write_text(json.dumps(alive | {"started": "0"}))  # that number has been given to another process since
    assert look(path) is None
    with hold(path, "run"):
        pass
    path.write_text(json.dumps(GONE_HERE | {"host": "elsewhere"}))  # does not touch its lock, but writes its log
    threading.Timer(0.2, lambda: log.write_text("a line")).start()
    with pytest.raises(UserError, match="on elsewhere is writing to it"), hold(path, "run", signs=[log]):
        pass
    with hold(path, "run", signs=[log]):
        pass


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"host": 1}', b'{"host": "a", "pid": -1}', b"\xff\xfe\0" * 99,
     b'{"host": "a", "pid": ' + b"9" * 6000 + b"}", b"[" * 9000, b"\0" * 300, b"x" * (1 << 20)],
)  # fmt: skip
def test_damaged_locks_stop_nobody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.lock"
    path.write_bytes(content)
    assert look(path) is None
    with hold(path, "run"):
        assert look(path) == myself()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.symlink_to("nowhere")
    with hold(path, "run"):
        pass
    os.mkfifo(path)
    with pytest.raises(UserError, match="is no file but a pipe or a device; remove it"), hold(path, "run"):
        pass


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks, "take", full)
    with pytest.raises(OSError, match="No space"), hold(tmp_path / "run.lock", "run"):
        pass
    assert list(tmp_path.iterdir()) == []
