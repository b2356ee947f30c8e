"""Small files are read in one way: bounded, checked, refused in words."""

import os
import struct
from pathlib import Path

import pytest
from pydantic import BaseModel

from t2icli.documents import read_document, read_json, read_text, read_toml, what_file_is, what_is
from t2icli.errors import DataError


class Card(BaseModel):
    state: str
    images: int = 0


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"state": "finished", "more": 1}')
    assert read_document(tmp_path / "a.json", Card).state == "finished"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\0" * 40, "zeros only"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"state": NaN}', "NaN is no number"),
        (b"9" * 5000, "digits"),
        (b'{"state": "a"', "not valid JSON"),
        (b"[1]", "the whole: "),
        (b'{"state": 5}', "state: "),
        (b'{"state": "a", "images": "many"}', "images: "),
        ('{"state": "\u00e9"}'.encode("latin1"), "byte 11 is not UTF-8"),
    ],
)
def test_damage_is_said_by_kind_and_place(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="card.json") as caught:
        read_document(path, Card)
    assert said in str(caught.value)


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="a folder, a pipe or a device"):
        read_json(tmp_path / "pipe")
    with pytest.raises(DataError, match="a folder, a pipe or a device"):
        read_json(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "with\0nul")


def test_no_file_is_read_beyond_its_bound(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"a" * 11)
    assert read_text(tmp_path / "long", limit=11) == "a" * 11
    with pytest.raises(DataError, match="longer than 10 bytes"):
        read_text(tmp_path / "long", limit=10)


@pytest.mark.parametrize("content", ["a = ", "a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_toml_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.toml").write_text(content)
    with pytest.raises(DataError, match=r"r\.toml: damaged, not valid TOML: ."):
        read_toml(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"PK\x03\x04", "a zip archive"),
        (struct.pack("<Q", 40) + b'{"a": 1', "a safetensors file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
        (b"\xff\xd8\xff\xe0", "a picture (JPEG)"),
        (b"RIFF\0\0\0\0WEBP", "a picture (WebP)"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (bytes(257) + b"ustar", "a tar archive"),
        (struct.pack("<iii", 4, 1, 3) + b"V 1", "a Torch7 file"),
        (b"\x80\x02}q\0", "a pickle"),
        (b"\n <HTML>", "a web page"),
        (b"version https://hawser.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_what_a_file_is(tmp_path: Path, head: bytes, what: str) -> None:
    assert what in (what_is(head) or "")
    (tmp_path / "file").write_bytes(head)
    assert what in what_file_is(tmp_path / "file")


def test_what_tells_nothing_is_not_guessed(tmp_path: Path) -> None:
    for content, said in (
        (b"oops", "a text that begins with 'oops'"),
        ("ä".encode() * 300, "a text that begins with 'ääää"),
        (b"\x01\x02\xfe\xff", "of no kind that is known here; its first bytes are 01 02 fe ff"),
    ):
        assert what_is(content) is None
        (tmp_path / "file").write_bytes(content)
        assert said in what_file_is(tmp_path / "file")


def test_json_is_what_can_be_written_again(tmp_path: Path) -> None:
    for text, said in (
        ('{"a": "\\ud800"}', "half of a letter"),
        ('{"a": 1e999}', "larger than any number can be"),
        ('{"a": Infinity}', "Infinity is no number"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DataError, match=said):
            read_json(tmp_path / "a.json")
