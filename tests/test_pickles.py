"""Pickles are read without running anything in them."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from t2icli.errors import DataError
from t2icli.pickles import read_pickle


def write(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_plain_data(tmp_path: Path, protocol: int) -> None:
    value = [["a", 1, 2.5, None, True], {"x": (1, 2)}, collections.OrderedDict(a=[b"bytes"]), {1, 2}]
    assert read_pickle(write(tmp_path / "plain.pickle", value, protocol)) == value
    arrays = [np.arange(6.0).reshape(2, 3), np.float32(0.5), np.array(["a", "b"])]
    found = read_pickle(write(tmp_path / "arrays.pickle", arrays, protocol))
    assert all(np.array_equal(a, b) for a, b in zip(found, arrays, strict=True))


def test_strings_of_python_2(tmp_path: Path) -> None:
    (tmp_path / "old.pickle").write_bytes(b"\x80\x02]q\x00(U\x05caf\xe9sq\x01X\x03\x00\x00\x00busq\x02e.")
    assert read_pickle(tmp_path / "old.pickle") == ["cafés", "bus"]


class Command:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_nothing_runs(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    evil = write(tmp_path / "evil.pickle", ["harmless", Command(trace)])
    with pytest.raises(DataError, match=r"evil\.pickle: refused: asks for (posix|nt)\.system"):
        read_pickle(evil)
    assert not trace.exists()
    (tmp_path / "builtin.pickle").write_bytes(b"cbuiltins\neval\n(S'1'\ntR.")
    with pytest.raises(DataError, match=r"asks for builtins\.eval"):
        read_pickle(tmp_path / "builtin.pickle")
    (tmp_path / "dotted.pickle").write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.fill\x93.")
    with pytest.raises(DataError, match=r"asks for numpy\.ndarray\.fill"):
        read_pickle(tmp_path / "dotted.pickle")


def test_damaged_and_absent(tmp_path: Path) -> None:
    (tmp_path / "cut.pickle").write_bytes(pickle.dumps(["a"] * 100, 2)[:50])
    with pytest.raises(DataError, match=r"cut\.pickle: refused"):
        read_pickle(tmp_path / "cut.pickle")
    (tmp_path / "text.pickle").write_text("hello")
    with pytest.raises(DataError, match=r"text\.pickle: refused"):
        read_pickle(tmp_path / "text.pickle")
    with pytest.raises(DataError, match="no such file"):
        read_pickle(tmp_path / "gone.pickle")
