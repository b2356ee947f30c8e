"""Pickles are read without running anything in them."""

import collections
import os
import pickle
import struct
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


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_of_every_plain_kind(tmp_path: Path, protocol: int) -> None:
    kinds = ["?", "u1", "<i4", ">i2", "<f2", "<f8", "<c8", "<U2", "S3"]
    arrays = [np.array([[0, 1, 2], [3, 4, 5]]).astype(kind) for kind in kinds]
    arrays += [np.asfortranarray(arrays[2]), np.zeros((0, 3), "f4"), np.array(3)]
    found = read_pickle(write(tmp_path / "arrays.pickle", arrays, protocol))
    for array, given in zip(found, arrays, strict=True):
        assert isinstance(array, np.ndarray) and array.dtype == given.dtype.newbyteorder("=")
        assert array.shape == given.shape and np.array_equal(array, given)


def test_arrays_of_python_2(tmp_path: Path) -> None:
    # what numpy 1.8 under Python 2 writes for np.array([1.5, -2], np.float32): raw bytes as an old string
    raw = np.array([1.5, -2], "<f4").tobytes()
    text = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + raw + b"tb."
    )
    (tmp_path / "old.pickle").write_bytes(text)
    assert read_pickle(tmp_path / "old.pickle").tolist() == [1.5, -2]


# An array of numbers whose type says that they are objects: numpy would take the numbers for addresses.
FORGED = (
    b"\x80\x02cnumpy\ndtype\nU\x02i8K\x00K\x01\x87R"
    b"(K\x03U\x01<NU\x01a\x85}U\x01acnumpy\ndtype\nU\x02i8K\x00K\x01\x87RK\x00\x86sK\x08K\x01K\x00tb."
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(np.array([["a"], None], object), 2), "holds an array of 'O8'"),
        (pickle.dumps(np.zeros(2, [("a", "i4")]), 2), "holds an array of 'V4'"),
        (FORGED, "holds an array of records"),
        (FORGED.replace(b"U\x02i8", b"U\x02O8"), "holds an array of 'O8'"),
        (b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.", "not callable"),
        (b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.", "takes 0 positional arguments"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU\x05rot13\x86R.", "asks for the codec 'rot13'"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\nU\x02f4U\x04abcd\x86R.", "holds an array without a type"),
    ],
)
def test_arrays_cannot_reach_beyond_plain_values(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "forged.pickle").write_bytes(content)
    with pytest.raises(DataError, match=rf"forged\.pickle: refused: .*{message}"):
        read_pickle(tmp_path / "forged.pickle")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02]r\xff\xff\xff\x7f.", r"numbers a value 2,147,483,647 in a file of 9 bytes"),
        (b"]p4000000000\n.", r"numbers a value 4,000,000,000"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"ab.", "expected 1099511627776 bytes"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nNJ\xff\xff\xff\x7f\x85U\x01b\x87R", "pickle exhausted"),
    ],
)
def test_a_few_bytes_cannot_take_all_memory(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bomb.pickle").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_pickle(tmp_path / "bomb.pickle")


def test_arrays_are_as_large_as_their_bytes(tmp_path: Path) -> None:
    content = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nNJ\xff\xff\xff\x7f\x85U\x01b\x87R."
    (tmp_path / "claims.pickle").write_bytes(content)
    assert read_pickle(tmp_path / "claims.pickle").size == 0


def test_damaged_and_absent(tmp_path: Path) -> None:
    (tmp_path / "cut.pickle").write_bytes(pickle.dumps(["a"] * 100, 2)[:50])
    with pytest.raises(DataError, match=r"cut\.pickle: refused"):
        read_pickle(tmp_path / "cut.pickle")
    whole = pickle.dumps([{"a": (1, 2.5)}, np.arange(3)], 2)
    for length in range(len(whole)):
        (tmp_path / "cut.pickle").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.pickle: refused"):
            read_pickle(tmp_path / "cut.pickle")
    (tmp_path / "text.pickle").write_text("hello")
    with pytest.raises(DataError, match=r"text\.pickle: refused"):
        read_pickle(tmp_path / "text.pickle")
    with pytest.raises(DataError, match="no such file"):
        read_pickle(tmp_path / "gone.pickle")


def test_written_out_strings_of_python_2_may_hold_letters_beyond_ascii(tmp_path: Path) -> None:
    """As protocol 0 has them, in which the official caption lists of SOA are."""
    path = tmp_path / "list.pkl"
    path.write_bytes(b"(lp0\n(dp1\nS'caption'\np2\nS'a caf\\xe9 with \\x41pples'\np3\nsa.")
    assert read_pickle(path) == [{"caption": "a café with Apples"}]
    path.write_bytes(b"(lp0\nS'caf\\xe9'\np4000000000\na.")
    with pytest.raises(DataError, match="numbers a value 4,000,000,000"):
        read_pickle(path)
