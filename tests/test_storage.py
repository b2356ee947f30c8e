"""Files are whole or not there, and what lies at a place decides what a write does."""

import errno
import os
import re
import secrets
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from t2icli import storage
from t2icli.ending import ending
from t2icli.errors import UserError
from t2icli.storage import make_folder, refuse_unwritable, sha256, write_atomically, write_json, write_new, write_text


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    for write in (write_atomically, write_new):
        with pytest.raises(OSError, match="No space left"):
            write(path, half)
        with pytest.raises(KeyboardInterrupt):
            write(path, interrupted)
        with pytest.raises(FileNotFoundError):
            write(path, lambda temporary: None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def interrupted(temporary: Path) -> None:
    temporary.write_text("ne")
    raise KeyboardInterrupt


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes no byte, as a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(secrets, "token_hex", lambda size: "known")
    (tmp_path / ".a.known.tmp").symlink_to("/dev/full")
    with pytest.raises(SystemExit) as end, ending():
        write_text(tmp_path / "a", "x" * 100_000)
    assert end.value.code == 8
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit) as end, ending():
        write_text(Path("/dev/full"), "x")
    assert end.value.code == 8


def test_text_json_and_hash(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "ü": 1\n}\n'
    write_text(tmp_path / "b", "abc")
    assert sha256(tmp_path / "b") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ---------------------------------------------------------------------------- regular files


def test_permissions_are_kept_and_new_files_follow_the_umask(tmp_path: Path, umask: None) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    for mode in (0o600, 0o666, 0o755):
        old.chmod(mode)
        write_text(old, "newer")
        assert stat.S_IMODE(old.stat().st_mode) == mode
    write_text(new, "new")
    write_new(tmp_path / "newest", lambda temporary: temporary.write_text("newest"))
    assert [stat.S_IMODE(p.stat().st_mode) for p in (new, tmp_path / "newest")] == [0o640, 0o640]


def test_the_owner_is_kept_where_that_is_allowed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    (tmp_path / "theirs").write_text("old")
    os.chown(tmp_path / "theirs", 1234, 2345)
    write_text(tmp_path / "theirs", "new")
    found = (tmp_path / "theirs").stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)


def test_a_read_only_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda place, how: Path(place) != path)  # root may write everything
    with pytest.raises(UserError, match=r"kept: is read-only; it is left as it is"):
        write_text(path, "new")
    monkeypatch.setattr(os, "access", lambda place, how: Path(place) != tmp_path)
    for place in (path, tmp_path / "other", tmp_path / "deep" / "other"):
        with pytest.raises(UserError, match="nothing may be written in this folder; name a place that can be written"):
            write_text(place, "new")
    assert path.read_text() == "old"


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    write_new(tmp_path / "d" / "e.txt", lambda temporary: temporary.write_text("x"))
    assert (tmp_path / "a/b/c.txt").read_text() == (tmp_path / "d/e.txt").read_text() == "x"


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "界" * 85, "x" * 240 + ".json"], ids=lambda name: name[-5:])
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "x")
    write_text(tmp_path / name, "y")
    assert (tmp_path / name).read_text() == "y"
    with pytest.raises(UserError, match=r"File name too long; name a place that can be written"):
        write_text(tmp_path / f"{name}aaaaaaaaaaaaaaa", "x")
    assert len(list(tmp_path.iterdir())) == 1


# ---------------------------------------------------------------------------- folders in the place


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "link"):
        with pytest.raises(UserError, match=f"{name}: is a folder; name a file in it"):
            write_text(tmp_path / name, "x")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "nowhere").symlink_to("gone")
    for place in ("file/a.txt", "file/b/a.txt", "nowhere/a.txt"):
        for refuse in (refuse_unwritable, lambda path: write_text(path, "y")):
            with pytest.raises(UserError):
                refuse(tmp_path / place)
    for place, said in (
        ("file", "file: is a file, and no folder can be made there"),
        ("file/b", "file: is a file, and no folder can be made there"),
        ("nowhere", "nowhere: is a link to nothing, and no folder can be made there"),
        ("nowhere/b", "nowhere: is a link to nothing"),
    ):
        with pytest.raises(UserError, match=said):
            make_folder(tmp_path / place)
    make_folder(tmp_path / "x" / "y")
    make_folder(tmp_path / "x" / "y")
    assert (tmp_path / "file").read_text() == "x"


# ---------------------------------------------------------------------------- links


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_text("old")
    (tmp_path / "near").symlink_to("disk/file")
    (tmp_path / "far").symlink_to(tmp_path / "near")
    write_text(tmp_path / "far", "new")
    assert (tmp_path / "disk" / "file").read_text() == "new"
    assert (tmp_path / "far").is_symlink() and (tmp_path / "near").is_symlink()
    assert not (tmp_path / "disk" / "file").is_symlink()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["disk", "far", "file", "near"]


def test_a_link_to_nothing_makes_its_file_if_the_folder_is_there(tmp_path: Path) -> None:
    (tmp_path / "soon").symlink_to("target")
    write_text(tmp_path / "soon", "x")
    assert (tmp_path / "soon").is_symlink()
    assert (tmp_path / "target").read_text() == "x"
    (tmp_path / "lost").symlink_to("unmounted/target")
    with pytest.raises(UserError, match="lost: is a link to unmounted/target, whose folder is not there"):
        write_text(tmp_path / "lost", "x")
    assert not (tmp_path / "unmounted").exists()


def test_a_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match=re.escape(os.strerror(errno.ELOOP))):
        write_text(tmp_path / "a", "x")


# ---------------------------------------------------------------------------- what is no file


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    for place in (Path("/dev/null"), tmp_path / "null"):
        write_text(place, "x")
        assert stat.S_ISCHR(place.stat().st_mode)
    assert (tmp_path / "null").is_symlink()
    assert [p.name for p in tmp_path.iterdir()] == ["null"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="pipe: is a pipe that nobody reads; nothing was written"):
        write_text(pipe, "x")
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    held = os.open(pipe, os.O_WRONLY)  # else the reader could be at the end before the writer has begun
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(all_of(reading)))
    write = threading.Thread(target=write_text, args=(pipe, "x" * 300_000))  # more than a pipe holds at once
    write.start()
    reader.start()
    write.join(60)
    os.close(held)
    reader.join(60)
    assert got == [b"x" * 300_000]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def all_of(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_socket_and_a_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        with pytest.raises(UserError, match="socket: is a socket; it is left as it is"):
            write_text(Path("socket"), "x")
    assert stat.S_ISSOCK(Path("socket").stat().st_mode)
    monkeypatch.setattr(storage.stat, "S_ISBLK", lambda mode: True)
    with pytest.raises(UserError, match="is a disk; it is left as it is"):
        write_text(Path("/dev/null"), "x")


WRITES = (
    "import sys; from pathlib import Path; from t2icli.ending import ending; from t2icli.storage import write_text\n"
    "print('before')\n"
    "with ending(): write_text(Path(sys.argv[1]), 'text\\n')\n"
    "print('after')\n"
)


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("to_file", [True, False])
def test_standard_output_is_written_to_in_order(tmp_path: Path, place: str, to_file: bool) -> None:
    """Also where it was sent to a file: replaced, or opened anew, that would lose what is printed before and after."""
    if place.startswith("/proc") and not Path(place).exists():
        pytest.skip("this system has no /proc")
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "out").open("w") as out:
        sent = out if to_file else subprocess.PIPE
        done = subprocess.run(
            [sys.executable, "-c", WRITES, place], stdout=sent, check=True, cwd=tmp_path, env=with_package()
        )
    said = (tmp_path / "out").read_bytes() if to_file else done.stdout
    assert said == b"before\ntext\nafter\n"


def test_standard_input_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES, "/dev/stdin"],
        input="",
        capture_output=True,
        text=True,
        check=False,
        env=with_package(),
    )
    assert done.returncode == 2
    assert "/dev/stdin: is open for reading only; nothing was written" in done.stderr


def with_package() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(storage.__file__).parents[1])}


# ---------------------------------------------------------------------------- names that must be free


def test_a_new_file_takes_no_name_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nothing")

    def no_links(*names: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    for links, free in ((os.link, "first"), (no_links, "second")):  # FAT, for one, has no links
        monkeypatch.setattr(os, "link", links)
        for name in ("file", "folder", "link"):
            with pytest.raises(FileExistsError):
                write_new(tmp_path / name, lambda temporary: temporary.write_text("new"))
        write_new(tmp_path / free, lambda temporary: temporary.write_text("new"))
        assert (tmp_path / free).read_text() == "new"
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "first", "folder", "link", "second"]
