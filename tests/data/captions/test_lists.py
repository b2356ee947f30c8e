"""Lists of captions in every form, with what is wrong in them said by line."""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2icli.data.captions.lists import Line, captions_alone, is_list_of_names, read_list
from t2icli.errors import DataError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def told(path: Path) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(number, line.file, line.texts()) for number, line in read_list(path)]


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_list(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


ODD = " a \u2028 bus\x0c,\x0b\x85; \x1c \u2029 "  # what a line may hold, with spaces that a rule reads


def test_json_lines_end_at_line_ends_only(tmp_path: Path) -> None:
    lines = [{"file": "a.jpg", "captions": [ODD, "two "]}, {"file": "b.jpg", "caption": ODD, "class": 3}]
    text = "\r\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    expected = [(1, "a.jpg", (ODD, "two ")), (3, "b.jpg", (ODD,))]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert told(written(tmp_path, "c.jsonl", text.encode(encoding))) == expected
    assert [line.class_index for _, line in read_list(tmp_path / "c.jsonl")] == [-1, 3]


def test_all_that_may_be_said_of_a_picture(tmp_path: Path) -> None:
    line = {
        "file": "a",
        "caption": "one",
        "captions": ["two", " "],
        "image": "x",
        "class": 7,
        "boxes": [["bus", 0, 0.5, 1, 1]],
    }
    ((_, found),) = read_list(written(tmp_path, "c.jsonl", json.dumps(line)))
    assert found.texts() == ("one", "two")
    assert (found.image, found.class_index, found.boxes) == ("x", 7, [("bus", 0, 0.5, 1, 1)])


def test_the_layout_of_hugging_face(tmp_path: Path) -> None:
    lines = [{"file_name": "a.jpg", "text": "one", "width": 8, "objects": {"bbox": []}}, {"file_name": "b.jpg"}]
    path = written(tmp_path, "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    assert told(path) == [(1, "a.jpg", ("one",)), (2, "b.jpg", ())]
    path = written(tmp_path, "metadata.csv", "file_name,split,text\na.jpg,x,one\nb.jpg,y,two\n")
    assert told(path) == [(2, "a.jpg", ("one",)), (3, "b.jpg", ("two",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"file": "a", "file": "b", "caption": "x"}', "line 1: file: this key is there twice; should be like"),
        ('{"file": "a", "caption": "x", "boxes": [{"k": 1, "k": 2}]}', "line 1: k: this key is there twice"),
        ('{"file": "a", "caption": 5}', "line 1: caption: Input should be a valid string; should be like"),
        ('{"file": "a", "captions": ["x", 5]}', "line 1: captions.1: Input should be a valid string"),
        ('{"file_name": "a", "text": 5}', "line 1: text: Input should be a valid string"),
        ('{"file": "a", "captions": "x"}', "line 1: captions: Input should be a valid array"),
        ('{"file": 1, "caption": "x"}', "line 1: file: Input should be a valid string"),
        ('{"file": "a", "caption": "x", "size": 1}', "line 1: size: Extra inputs are not permitted"),
        ('{"file": "a", "caption": "x", "class": "3"}', "line 1: class: Input should be a valid integer"),
        ('{"file": "a", "caption": "x", "class": true}', "line 1: class: Input should be a valid integer"),
        ('{"file": "a", "caption": "x", "class": -2}', "line 1: class: Input should be greater than or equal to -1"),
        (
            '{"file": "a", "caption": "x", "boxes": [["bus", 0, 0, NaN, 1]]}',
            "line 1: boxes.0.3: Input should be a finite",
        ),
        ('{"caption": "x"}', "line 1: file: Field required; should be like"),
        ('{"file": "a", "caption": "x"}\n[]', "line 2: line: Input should be an object"),
        ('{"file": "a", "caption": "x"}\n\n{"file": ', "line 3: line: Invalid JSON"),
        ('[{"file": "a", "caption": "x"}]', "line 1: line: Input should be an object"),
        ("[" * 100_000, "line 1: line: Invalid JSON: recursion limit exceeded"),
        ('{"file": "a", "class": ' + "9" * 5000 + "}", "line 1: line: Invalid JSON: number out of range"),
        ('{"file": "a", "caption": "x\0"}', "line 1 holds a NUL"),
    ],
)
def test_json_that_is_wrong_is_said_by_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in fault_of(written(tmp_path, "c.jsonl", text))


def test_halves_of_characters_are_spaces_where_none_is(tmp_path: Path) -> None:
    texts = r'"cut \ud83d here", "cut\ud83d here", "cut\ud83dhere", "\ud83d\ude00", "back\\ud83d"'
    text = f'{{"file": "a", "captions": [{texts}]}}'
    assert told(written(tmp_path, "c.jsonl", text)) == [
        (1, "a", ("cut here", "cut here", "cut here", "\U0001f600", "back\\ud83d"))
    ]


# ---------------------------------------------------------------------------- tables

ROWS = [("a.jpg", "a red bus, parked; at\tnoon"), ("b.jpg", 'a "blue" bus '), ("b.jpg", "two\nlines"), ("c.jpg", " c")]
GATHERED = [(2, "a.jpg", (ROWS[0][1],)), (3, "b.jpg", (ROWS[1][1], ROWS[2][1])), (6, "c.jpg", (" c",))]


def table(separator: str, header: tuple[str, str] = ("file", "caption")) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerows([header, *ROWS])
    return out.getvalue()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])  # the second is Excel's "CSV UTF-8"
def test_tables_by_their_header(tmp_path: Path, separator: str, encoding: str) -> None:
    for name in ("c.csv", "C.CSV", "c.tsv"):
        assert told(written(tmp_path, name, table(separator).encode(encoding))) == GATHERED


@pytest.mark.parametrize(
    "header", [("File", "CAPTION"), (" file ", "caption "), ("file_name", "text"), ("File Name", "Text")]
)
def test_names_of_columns_as_people_write_them(tmp_path: Path, header: tuple[str, str]) -> None:
    assert told(written(tmp_path, "c.csv", table(";", header))) == GATHERED


def test_excels_own_line_before_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, "c.csv", "sep=;\r\nfile;caption\r\na.jpg;one, two\r\n")
    assert told(path) == [(3, "a.jpg", ("one, two",))]


def test_a_space_behind_every_separator(tmp_path: Path) -> None:
    path = written(tmp_path, "c.csv", 'file, caption\na.jpg, "one, two"\nb.jpg, three \n')
    assert told(path) == [(2, "a.jpg", ("one, two",)), (3, "b.jpg", ("three ",))]


def test_rows_that_are_short_empty_or_odd(tmp_path: Path) -> None:
    text = f'file,caption\na.jpg\n,two\n\n,\nb.jpg,"{ODD}"\n\n'
    assert told(written(tmp_path, "c.csv", text)) == [(2, "a.jpg", ()), (3, "", ("two",)), (6, "b.jpg", (ODD,))]


def test_images_and_classes_of_a_table(tmp_path: Path) -> None:
    path = written(tmp_path, "c.csv", "class,file,image,more,caption\n3,a,7,x,one\n3,a,7,y,two\n,b,,z,three\n")
    assert [(line.class_index, line.image, line.texts()) for _, line in read_list(path)] == [
        (3, "7", ("one", "two")),
        (-1, None, ("three",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,caption\na,b\na,red, and round\n",
            "line 3 has more than the 2 columns of the first line; put captions with a comma",
        ),
        (
            "file;caption\na;red; and round\n",
            "line 2 has more than the 2 columns of the first line; put captions with a semicolon",
        ),
        ("file\tcaption\na\tred\tround\n", "put captions with a tab between quotation marks"),
        ("file,caption,note\na,b,c,d\n", "line 2 has more than the 3 columns"),
        ("file,caption\na,b,\n", "line 2 has more than the 2 columns"),
        ('file,caption\na,b\nc,"d\ne,f\n', "line 3: unexpected end of data; is a quotation mark left open in it"),
        (
            'file,caption\na,"b\nc,"d"\n',
            "line 2: ',' expected after '\"'; is a quotation mark left open in it, or one too",
        ),
        ('file,caption\na,"b" c\n', "line 2: ',' expected after '\"'"),
        ("file,caption\na,b\rc\n", "line 2: new-line character seen in unquoted field"),
        ("file,caption\na," + "x" * 200_000, "line 2: field larger than field limit (131072)"),
        ("file,caption,class\na,b,bird\n", "line 2: class 'bird' should be a whole number, from 0 to 2147483647"),
        ("file,caption,class\na,b,2147483648\n", "line 2: class '2147483648' should be a whole number"),
        ("file,caption,class\na,b,²\n", "line 2: class '²' should be a whole number"),
        ("file,caption,class\na,b,1\na,c,2\n", "line 3: a has another image or class than in line 2"),
        ("file,Caption,caption\na,b,c\n", "names the column caption more than once; keep one"),
        ("file,caption,text\na,b,c\n", "names the column caption more than once; keep one"),
        (
            "file|caption\na|b\n",
            "its first line is 'file|caption'; it should name the columns file and caption, with a comma",
        ),
        ("a.jpg,a red bus\n", "its first line is 'a.jpg,a red bus'; it should name the columns file and caption"),
        ("", "its first line is ''; it should name the columns"),
        ('"' + "x" * 200_000, "it should name the columns file and caption"),
    ],
)
def test_tables_that_are_wrong_are_said_by_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in fault_of(written(tmp_path, "c.csv", text))


CELLS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=9)


@settings(max_examples=150, deadline=None)
@given(st.lists(CELLS.filter(str.strip), min_size=1, max_size=5), st.sampled_from(",;\t"), st.booleans())
def test_what_csv_writes_is_read_again(captions: list[str], separator: str, excel: bool) -> None:
    """Against the writer of Python's own csv, whatever the captions hold, quoted line breaks included."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\r\n" if excel else "\n")
    writer.writerows([("file", "caption"), *((f"{n}.jpg", text) for n, text in enumerate(captions))])
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "c.csv", out.getvalue().encode("utf-8-sig" if excel else "utf-8"))
        assert [(line.file, *line.texts()) for _, line in read_list(path)] == [
            (f"{n}.jpg", text) for n, text in enumerate(captions)
        ]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=9).filter(str.strip), min_size=1, max_size=5), st.booleans())
def test_what_json_writes_is_read_again(captions: list[str], ascii_only: bool) -> None:
    captions = [text.encode("utf-8", "ignore").decode() or "x" for text in captions]
    captions = [text for text in captions if text.strip()]
    lines = [
        json.dumps({"file": str(n), "captions": [text]}, ensure_ascii=ascii_only) for n, text in enumerate(captions)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "c.jsonl", "\n".join(lines))
        assert [line.texts() for _, line in read_list(path)] == [(text,) for text in captions]


# ---------------------------------------------------------------------------- captions alone


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", f"\ufeffone \r\n\r\n \r\n{ODD}\r\n\r\n"),
        ("c", f"one \n{ODD}"),
        ("c.csv", f'caption;note\none ;x\n"{ODD}";y\n'),
        ("c.jsonl", json.dumps({"file": "a", "captions": ["one ", ODD]})),
        ("c.jsonl", "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in ("one ", " ", ODD))),
    ],
)
def test_captions_without_pictures(tmp_path: Path, name: str, text: str) -> None:
    assert captions_alone(written(tmp_path, name, text)) == ["one ", ODD]


@pytest.mark.parametrize("name", ["c.txt", "c.jsonl"])
def test_files_without_captions(tmp_path: Path, name: str) -> None:
    for text in ("", " \n\n"):
        with pytest.raises(DataError, match=f"{name}: holds no caption; write one a line"):
            captions_alone(written(tmp_path, name, text))
    with pytest.raises(DataError, match="none: no such file of captions, one a line, or a list that ends in .jsonl"):
        captions_alone(tmp_path / "none")


def test_endings_tell_forms() -> None:
    assert all(is_list_of_names(Path(name)) for name in ("a.jsonl", "a.JSONL", "a.csv", "a.tsv", "a.ndjson"))
    assert not any(is_list_of_names(Path(name)) for name in ("a.txt", "a", "a.json", "csv"))


def test_a_line_made_in_memory_is_as_one_that_was_read() -> None:
    found: Any = Line(captions=["a ", " "])
    assert found.texts() == ("a ",) and found.class_index == -1
