"""Parts that jobs make apart, kills at any moment, and files in which a byte was flipped."""

import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from made_up import made_up_pictures
from typer.testing import CliRunner

from t2icli import storage
from t2icli.cli import app
from t2icli.data import build
from t2icli.data import prepare as prepare_module
from t2icli.data.parts import Part, parse_part
from t2icli.data.prepare import Options
from t2icli.data.report import prepare_and_report
from t2icli.data.shards import Shard
from t2icli.data.verify import verify
from t2icli.errors import DataError, Interrupted, UserError

FIRST, SECOND = "train-00000-of-00002.h5", "train-00001-of-00002.h5"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


@pytest.fixture
def made(prepared) -> Callable[..., dict]:
    """Prepare pictures without a BERT: four shards of at most four images."""

    def run(root: Path, out: Path, *overrides: str, **options: object) -> dict:
        return prepared(root, out, "text.model=none", *overrides, max_bad=0.2, **options)

    return run


# ---------------------------------------------------------------------------- parts and their merge


def test_parts_and_merge_give_what_one_run_gives(prepared, pictures: Path, tmp_path: Path) -> None:
    (pictures / "003.png").write_bytes(b"no picture")
    (pictures / "004.png").write_bytes((pictures / "004.png").read_bytes()[:-20])
    whole = prepared(pictures, tmp_path / "whole", max_bad=0.2)
    written = 0
    for number in (3, 1, 2):
        part = prepared(pictures, tmp_path / "parts", max_bad=0.2, part=Part(number, 3))
        assert part["part"] == f"{number}/3"
        written += part["images"]
    assert not (tmp_path / "parts" / "manifest.json").exists()
    merged = prepared(pictures, tmp_path / "parts", max_bad=0.2, merge=True)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    assert {**merged, "out": ""} == {**whole, "out": ""}
    assert written == merged["images"] == 11


def test_a_part_makes_only_its_own_and_is_taken_up(made, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert made(pictures, out, part=Part(2, 2))["shards"] == 2
    shards = sorted(path.name for path in out.glob("*.h5"))
    assert shards == [SECOND, "val-00001-of-00002.h5"]
    (out / SECOND).write_bytes(b"half")
    kept = (out / shards[1]).stat().st_mtime_ns
    made(pictures, out, part=Part(2, 2))
    assert len(Shard(out / SECOND)) > 0
    assert (out / shards[1]).stat().st_mtime_ns == kept
    assert made(pictures, out, part=Part(9, 9))["shards"] == 0  # more jobs than shards


@pytest.mark.parametrize("where", ["image", "caption"])
def test_merge_names_what_is_missing_and_what_makes_it(where: str, made, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 3):
        made(pictures, out, part=Part(number, 3))
    damaged = bytearray((out / FIRST).read_bytes())
    shard = Shard(out / FIRST)
    struck = shard.image_bytes(1) if where == "image" else shard.text(1).encode()
    damaged[damaged.index(struck) + 2] ^= 4
    (out / FIRST).write_bytes(damaged)
    with pytest.raises(DataError) as told:
        made(pictures, out, merge=True)
    assert str(told.value) == (
        f"{out}: 2 of 4 shards are not there or not whole:\n"
        f"  {FIRST}: damaged, or of another plan\n"
        f"  {SECOND}: absent\n"
        "they are made by --shards 1/3, --shards 2/3; or the same command without --merge makes them here"
    )
    for number in (1, 2):
        made(pictures, out, part=Part(number, 3))
    made(pictures, out, merge=True)
    made(pictures, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def test_merge_where_no_part_was_begun(made, tmp_path: Path) -> None:
    pictures = made_up_pictures(tmp_path / "many", 24)
    with pytest.raises(DataError, match=r"24 of 24 shards .*\n(.*absent\n){20}  and 4 more\nthe same command without"):
        made(pictures, tmp_path / "out", "images_per_shard=1", merge=True)


def test_a_run_without_parts_takes_over_their_shards(made, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(pictures, out, part=Part(1, 2))
    kept = (out / FIRST).stat().st_mtime_ns
    made(pictures, out)
    assert (out / FIRST).stat().st_mtime_ns == kept
    made(pictures, out, part=Part(2, 2))
    assert (out / "manifest.json").is_file()  # a part that finds everything whole leaves it so


def test_a_part_of_another_recipe_is_refused(made, pictures: Path, tmp_path: Path) -> None:
    made(pictures, tmp_path / "out", part=Part(1, 2))
    for options in ({"part": Part(2, 2)}, {"merge": True}):
        with pytest.raises(DataError, match=r"prepared otherwise:\n.*size.*\n.*--overwrite"):
            made(pictures, tmp_path / "out", "images.size=8", **options)


def test_too_many_bad_images_are_counted_over_all_parts(made, pictures: Path, tmp_path: Path) -> None:
    for name in ("000.png", "001.png", "002.png"):
        (pictures / name).write_bytes(b"no picture")
    for number in (1, 2):
        made(pictures, tmp_path / "out", part=Part(number, 2))
    with pytest.raises(DataError, match=r"3 of 12 images \(25\.00%\) cannot be used"):
        made(pictures, tmp_path / "out", merge=True)
    assert len((tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3", " 1/2", "1.5/2"])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"should be I/N with I from 1 to N, e.g. --shards 3/8"):
        parse_part(text)


def test_options_that_cannot_go_together(made, pictures: Path, tmp_path: Path) -> None:
    assert parse_part("2/3") == Part(2, 3)
    for options, message in (
        ({"part": Part(1, 2), "merge": True}, "--merge and --shards: give --shards to each job"),
        ({"dry_run": True, "merge": True}, "--merge and --dry-run"),
        ({"part": Part(1, 2), "overwrite": True}, "--overwrite and --shards: would remove what other jobs"),
        ({"merge": True, "overwrite": True}, "--overwrite and --merge: would remove what other jobs"),
        ({"gpu_share": 0.5}, "--gpu-share 0.5 and --engine pool: only Ray hands out parts of a GPU; add --engine ray"),
        ({"gpu_share": float("nan"), "engine": "ray"}, "--gpu-share nan: should be above 0 and at most 1"),
    ):
        with pytest.raises(UserError, match=message):
            made(pictures, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert made(pictures, tmp_path / "out", part=Part(1, 4), dry_run=True)["splits"]["train"]["shards"] == 1


def test_the_command_line(pictures: Path, tmp_path: Path) -> None:
    command = ["prepare", "folder", "--root", str(pictures), "--out", str(tmp_path / "out"), "--workers", "1"]
    command += ["--set", "text.model=none", "--set", "images.size=16", "--set", "images_per_shard=5", "--json"]
    bad = CliRunner().invoke(app, [*command, "--shards", "5/4"])
    assert isinstance(bad.exception, UserError) and "--shards 5/4: should be I/N" in str(bad.exception)
    found = [
        json.loads(CliRunner().invoke(app, [*command, *options]).stdout)
        for options in (["--shards", "1/2"], ["--shards", "2/2"], ["--merge"])
    ]
    assert [result["images"] for result in found[:2]] and sum(r["images"] for r in found[:2]) == found[2]["images"]


# ---------------------------------------------------------------------------- several jobs in one folder


def hold(path: Path, kind: int = fcntl.LOCK_EX) -> object:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    fcntl.flock(file, kind)
    return file


def test_parts_run_together_and_nothing_else_does(made, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = hold(out / ".lock", fcntl.LOCK_SH), hold(out / ".lock-1-of-2")  # what a job that makes part 1/2 holds
    made(pictures, out, part=Part(2, 2))
    with pytest.raises(DataError, match="another 't2i prepare --shards 1/2' is writing this part; wait"):
        made(pictures, out, part=Part(1, 2))
    for options in ({}, {"merge": True}):
        with pytest.raises(DataError, match="another 't2i prepare' is writing this folder; wait"):
            made(pictures, out, **options)
    del job
    alone = hold(out / ".lock")
    with pytest.raises(DataError, match="another 't2i prepare' is writing this folder; wait"):
        made(pictures, out, part=Part(1, 2))
    del alone
    made(pictures, out, part=Part(1, 2))


def test_a_job_leaves_alone_what_another_is_writing(made, pictures: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "out" / f".{FIRST}.another-job.tmp"
    temporary.parent.mkdir()
    temporary.write_bytes(b"being written")
    for number in (1, 2):
        made(pictures, tmp_path / "out", part=Part(number, 2))
    assert temporary.read_bytes() == b"being written"
    made(pictures, tmp_path / "out", merge=True)
    assert not temporary.exists()


def test_file_systems_without_locks(made, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        for number in (1, 2):
            made(pictures, tmp_path / "out", part=Part(number, 2))
        made(pictures, tmp_path / "out", merge=True)
    made(pictures, tmp_path / "whole")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("options", [{}, {"merge": True}], ids=["alone", "merge"])
def test_without_locks_only_what_is_old_is_swept(
    made, pictures: Path, tmp_path: Path, monkeypatch, options: dict[str, bool]
) -> None:
    """What another job is writing just now must live: nothing else tells that there is another."""

    def refuse(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    out = tmp_path / "out"
    made(pictures, out, part=Part(1, 1))
    young, old = out / f".{FIRST}.young.tmp", out / f".{FIRST}.old.tmp"
    for temporary, age in ((young, 600), (old, 7200)):
        temporary.write_bytes(b"being written")
        os.utime(temporary, (time.time() - age,) * 2)
    monkeypatch.setattr(fcntl, "flock", refuse)
    made(pictures, out, **options)
    assert young.exists() and not old.exists()
    assert (out / "manifest.json").is_file()


def test_locks_as_nfs_makes_them(made, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    """NFS wants a file that is open for reading for a shared lock, for writing for an exclusive one."""
    kinds = []

    def emulated(file: IO[str], kind: int) -> None:
        kinds.append(kind & ~fcntl.LOCK_NB)
        if not (file.readable() if kind & fcntl.LOCK_SH else file.writable()):
            raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", emulated)
    made(pictures, tmp_path / "out", part=Part(1, 1))
    made(pictures, tmp_path / "out", merge=True)
    assert kinds == [fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX]


def test_a_lock_that_fails_is_no_file_system_without_locks(made, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    def broken(file: object, kind: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Bad file descriptor"):
        made(pictures, tmp_path / "out")


def test_reading_takes_no_lock(made, pictures: Path, tmp_path: Path) -> None:
    made(pictures, tmp_path / "out")
    held = hold(tmp_path / "out" / FIRST)
    assert Shard(tmp_path / "out" / FIRST).image_bytes(0)
    assert verify(tmp_path / "out")["verified"]
    del held


def test_two_jobs_that_write_one_shard(tmp_path: Path, monkeypatch) -> None:
    """The second begins while the first writes; on two machines both may have the same process number."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    target = tmp_path / "shard.h5"

    def second(temporary: Path) -> None:
        temporary.write_bytes(b"whole")

    def first(temporary: Path) -> None:
        temporary.write_bytes(b"who")
        storage.write_atomically(target, second)
        assert target.read_bytes() == b"whole"
        with temporary.open("ab") as file:
            file.write(b"le")

    storage.write_atomically(target, first)
    assert target.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["shard.h5"]


# ---------------------------------------------------------------------------- kills

MOMENTS = ("open", "os.rename", "os.remove", "os.mkdir")


def killed_at(moment: int, out: Path, work: Callable[[], object]) -> bool:
    """Do work in a child that kills itself -9 just before it touches a folder once more than ``moment`` times."""
    child = os.fork()
    if child == 0:
        left = [moment]

        def count(event: str, arguments: tuple) -> None:
            if event in MOMENTS and (arguments[0] == out or str(arguments[0]).startswith(f"{out}/")):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("in_parts", [False, True])
def test_kill_9_at_every_moment(made, pictures: Path, tmp_path: Path, in_parts: bool) -> None:
    made(pictures, tmp_path / "whole")
    whole = content(tmp_path / "whole")
    parts = [{"part": Part(number, 2)} for number in (1, 2)] if in_parts else []
    steps = [*parts, {"merge": True}] if in_parts else [{}]
    moment = 0
    while True:
        out = tmp_path / f"out-{moment}"

        def all_steps(out: Path = out) -> None:
            for options in steps:
                made(pictures, out, **options)

        killed = killed_at(moment, out, all_steps)
        if killed:
            all_steps()
        assert content(out) == whole, f"killed before touching a file for the {moment + 1}th time"
        shutil.rmtree(out)
        if not killed:
            break
        moment += 3 if in_parts else 1  # there are many moments, and each takes a while
    assert moment > 20  # so often did it touch a file


def test_ctrl_c_keeps_what_is_finished(made, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    original, calls = build.load_picture, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(build, "load_picture", interrupted)
    with pytest.raises(Interrupted, match="stopped; finished shards are kept, and the same command goes on"):
        made(pictures, tmp_path / "out", part=Part(1, 1))
    assert [path.name for path in (tmp_path / "out").glob("*.h5")] == [FIRST]


# ---------------------------------------------------------------------------- damage


def test_a_flipped_byte_anywhere_is_found(prepared, pictures: Path, tmp_path: Path) -> None:
    """In pictures, in captions and vectors, in the index, in HDF5's own structures."""
    prepared(pictures, tmp_path / "out")
    path = tmp_path / "out" / FIRST
    whole = path.read_bytes()
    shard = Shard(path)
    places = {
        "text of caption 0 .*damaged, its crc32": [whole.index(shard.text(0).encode()) + 2],
        "tokens of caption 0 .*damaged, its crc32": [whole.index(shard.tokens(0).tobytes())],
        "vectors of caption 1 .*damaged, its crc32": [whole.index(shard.embedding(1).tobytes()) + 5],
        "image 1 .*damaged, its crc32": [whole.index(shard.image_bytes(1)) + 40],
        "not a readable shard": [0],
        FIRST: list(range(1, len(whole), len(whole) // 40)),
    }
    offsets = shard._index[1]["image/offset"].tobytes()
    places["its index is damaged"] = [whole.index(offsets) + 14, whole.index(offsets) + 15]
    for message, where in places.items():
        for place in where:
            content = bytearray(whole)
            content[place] ^= 64
            path.write_bytes(content)
            with pytest.raises(DataError, match=f"{FIRST}: .*" if message == FIRST else f"{FIRST}: .*{message}"):
                verify(tmp_path / "out")


# ---------------------------------------------------------------------------- published counts, names


def test_published_pairs_beside_those_found(made, pictures: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    original = prepare_module.read_source

    def read(*arguments: object) -> object:
        source = original(*arguments)
        source.published = {"train": 21, "val": 400_000}
        return source

    monkeypatch.setattr(prepare_module, "read_source", read)
    settings = ["text.model=none", "images.size=16", "images_per_shard=4", "reader.val_share=0.3"]
    for dry_run in (True, False):
        prepare_and_report("folder", pictures, tmp_path / "out", settings, Options(dry_run=dry_run, workers=1))
        said = capsys.readouterr().err
        assert "  train: 7 images, 21 captions, as published, " in said
        assert "  val: 5 images, 15 captions of 400,000 published, " in said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["published"] == {"train": 21, "val": 400_000}
    result = prepare_and_report("folder", pictures, tmp_path / "out", settings, Options(part=Part(1, 2), workers=1))
    assert "part 1/2 is made: 2 of 4 shards" in capsys.readouterr().err
    assert result["shards"] == 2


def test_the_quarantine_outlives_a_second_run(made, pictures: Path, tmp_path: Path) -> None:
    (pictures / "003.png").write_bytes(b"no picture")
    made(pictures, tmp_path / "out")
    before = content(tmp_path / "out")
    made(pictures, tmp_path / "out")
    assert content(tmp_path / "out") == before
    assert before["quarantine.jsonl"].count(b"\n") == 1
