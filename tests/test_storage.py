"""Files are whole or not there."""

import secrets
from pathlib import Path

import pytest

from t2icli.ending import ending
from t2icli.storage import sha256, write_atomically, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, half)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    with pytest.raises(FileNotFoundError):
        write_atomically(path, lambda temporary: None)
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


def test_text_json_and_hash(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "ü": 1\n}\n'
    write_text(tmp_path / "b", "abc")
    assert sha256(tmp_path / "b") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
