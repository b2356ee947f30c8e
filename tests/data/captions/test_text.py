"""Text from whatever program saved it, cut into lines where lines end and nowhere else."""

import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2icli.data.captions.text import captions_beside, captions_of, lines_in, numbered_lines, text_of
from t2icli.data.places import TEXT_LIMIT
from t2icli.errors import DataError

# What str.splitlines would cut at, and text files do not.
WITHIN = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"


def written(folder: Path, content: bytes) -> Path:
    path = folder / "a.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_that_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    text = f"ein Käfer\r\n{WITHIN}\n\n\U0001f600 Ā\n"
    path = written(tmp_path, mark + text.encode(encoding))
    lines = ["ein Käfer", WITHIN, "", "\U0001f600 Ā"]
    assert text_of(path) == text
    assert list(numbered_lines(path)) == list(enumerate(lines, start=1))
    assert captions_of(path.read_bytes(), "a.txt") == [line for line in lines if line]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\ncafé".encode("latin-1"), "byte 7 is not UTF-8; save the file as UTF-8 text"),
        (b"\xef\xbb\xbfone\n\xe9 ", "byte 7 is not UTF-8; save"),
        (b"one\n\xe2\x82", "byte 4 is not UTF-8; save"),
        (b"\xff\xfea\0\0\xd8b\0", "byte 4 is not UTF-16-LE; save the file as UTF-8 text"),
        (b"\xfe\xff\0a\0", "byte 4 is not UTF-16-BE; save"),
        ("one".encode("utf-32"), "is UTF-32, as its first bytes say; save the file as UTF-8 text"),
        (b"\0\0\xfe\xff\0\0\0a", "is UTF-32, as its first bytes say; save"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "should be text: it is a Git LFS pointer"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>", "should be text: it is a web page"),
        (b"\0" * 600, "should be text: it holds zeros only"),
        (
            b"PK\x03\x04xl/workbook.xml",
            "should be text: it is an archive, as workbooks of Excel are; save the sheet as",
        ),
        (b"\xd0\xcf\x11\xe0 ", "should be text: it is a document of an old Office"),
        (b"\x1f\x8b\x08", "should be text: it is compressed .gzip.; decompress it first"),
        (b"%PDF-1.7\n", "should be text: it is a PDF; save the file as UTF-8 text"),
    ],
)
def test_what_is_no_text_is_refused_with_its_byte(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=f"a.txt: {message}"):
        list(numbered_lines(path))
    with pytest.raises(DataError, match=f"a.txt: {message}"):
        text_of(path)
    with pytest.raises(DataError, match=f"^a.txt: {message}"):
        captions_beside(tmp_path, path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_wide_text_without_a_mark(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "one\ntwo".encode(encoding))
    message = "line 1 holds a NUL; save the file as UTF-8 text, not as UTF-16 or UTF-32 without a mark"
    with pytest.raises(DataError, match=f"a.txt: {message}"):
        list(numbered_lines(path))
    with pytest.raises(DataError, match=f"a.txt: {message}"):
        captions_beside(tmp_path, path)


def test_lines_of_old_macs_end_at_carriage_returns_where_nothing_else_ends_them(tmp_path: Path) -> None:
    assert [text for _, text in numbered_lines(written(tmp_path, b"one\rtwo\r"))] == ["one", "two"]
    assert [text for _, text in numbered_lines(written(tmp_path, b"one\rstill one\ntwo"))] == ["one\rstill one", "two"]
    long = b"\r".join([b"x" * 1000] * 2000)  # more than may be one line
    assert sum(1 for _ in numbered_lines(written(tmp_path, long))) == 2000
    assert lines_in("one\rtwo\r") == ["one", "two"]
    assert lines_in("") == lines_in("\n")[1:] == []


def test_lines_have_limits(tmp_path: Path) -> None:
    for content in (
        b"one\n" + b"x" * (TEXT_LIMIT + 1),
        b"one\n" + b"x" * (TEXT_LIMIT + 1) + b"\ntwo",
        b"one\n" + "é".encode() * (TEXT_LIMIT // 2 + 1),
    ):
        with pytest.raises(DataError, match="line 2 is longer than 1,048,576 bytes; a line is of one picture"):
            list(numbered_lines(written(tmp_path, content)))
    assert len(list(numbered_lines(written(tmp_path, b"x" * TEXT_LIMIT)))) == 1
    with pytest.raises(DataError, match=r"line 1 is longer than 3 bytes; why\?"):
        list(numbered_lines(written(tmp_path, b"four"), 3, "why?"))
    with pytest.raises(DataError, match="is longer than 3 bytes, which no file of captions is"):
        text_of(written(tmp_path, b"four"), 3)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none.txt: no such file"):
        list(numbered_lines(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        text_of(tmp_path)
    with pytest.raises(DataError, match="cannot be read: .*null"):
        text_of(tmp_path / "a\0b")


def test_a_pipe_will_do(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("one\ntwo\n",))
    writer.start()
    assert [text for _, text in numbered_lines(tmp_path / "pipe")] == ["one", "two"]
    writer.join()


def test_captions_beside_a_picture(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    root.mkdir()
    away.mkdir()
    written(away, b"a secret")
    (root / "outer").symlink_to(away)
    assert captions_beside(root, written(root, b"one \n \n two")) == ["one ", " two"]  # as they are written
    with pytest.raises(DataError, match=r"^a\.txt is a symbolic link out of the folder"):
        captions_beside(root, root / "outer" / "a.txt")
    written(root, b"x" * (TEXT_LIMIT + 1))
    with pytest.raises(DataError, match=r"^a\.txt is 1,048,577 bytes long; the captions of a picture may take"):
        captions_beside(root, root / "a.txt")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=("Cs",)), max_size=9), min_size=2),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_text_comes_back_line_by_line(lines: list[str], end: str, encoding: str) -> None:
    """Against the reader of Python's own io, told what ends a line; it counts no last line that is empty."""
    lines = [line.removeprefix("\ufeff") for line in lines]
    if "<" in lines[0]:  # what looks like a page of the web is refused
        lines[0] = "x"
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), end.join(lines).encode(encoding))
        with path.open(encoding="utf-8-sig" if encoding != "utf-16" else encoding, newline=end) as file:
            expected = [line.removesuffix(end) for line in file]
        assert [text for _, text in numbered_lines(path)] == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_lines_or_refused_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), content)
        try:
            lines = [text for _, text in numbered_lines(path)]
        except DataError as fault:
            assert "a.txt: " in str(fault)
            return
        assert [line for line in lines if line.strip()] == captions_of(content, "a.txt")
