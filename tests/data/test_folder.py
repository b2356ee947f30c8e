"""A user's own pictures: three forms of captions, and what cannot be used."""

import json
import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from t2icli.data.places import TEXT_LIMIT
from t2icli.data.prepare import Options, prepare
from t2icli.data.readers.folder import Config, read
from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError
from t2icli.recipe_files import load_data_recipe


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(root / name)


def captions_of(root: Path, share: float = 0.0) -> dict[str, tuple[str, ...]]:
    source = read(Config(val_share=share), root, 0)
    return {r.path.relative_to(root).as_posix(): r.captions for records in source.splits.values() for r in records}


def test_jsonl(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "sub/b.png", "c.jpg")
    lines = [
        {"file": "a.jpg", "captions": ["one", " ", "two"], "class": 3},
        {"file": "sub/b.png", "captions": ["three"]},
        {"file": "../a.jpg", "captions": ["x"]},
        {"file": "/etc/passwd", "captions": ["x"]},
        {"file": "gone.jpg", "captions": ["x"]},
        {"file": "a.jpg", "captions": ["again"]},
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    source = read(Config(val_share=0.0), tmp_path, 0)
    assert captions_of(tmp_path) == {"a.jpg": ("one", "two"), "sub/b.png": ("three",)}
    assert [r.class_index for r in source.splits["train"]] == [3, -1]
    reasons = {(line["image"], line["reason"]) for line in source.left_out}
    assert reasons == {
        ("../a.jpg", "its name leads out of the folder"),
        ("/etc/passwd", "its name leads out of the folder"),
        ("gone.jpg", "is described, but no such picture is there"),
        ("a.jpg", "is described twice; the first is kept"),
        ("c.jpg", "has no caption"),
    }


def test_csv_and_text_files(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.png")
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("\ufeffthree", encoding="utf-8")
    assert captions_of(tmp_path) == {"a.jpg": ("one", "two"), "b.png": ("three",)}
    (tmp_path / "captions.csv").write_text('file,caption\na.jpg,"red, and round"\na.jpg,two\nb.png,three\n')
    assert captions_of(tmp_path) == {"a.jpg": ("red, and round", "two"), "b.png": ("three",)}


def test_splits_depend_on_the_name_alone(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(60)]
    pictures(tmp_path, *names)
    for name in names:
        (tmp_path / name).with_suffix(".txt").write_text("a caption")
    before = {r.path.name for r in read(Config(val_share=0.3), tmp_path, 0).splits["val"]}
    assert 5 < len(before) < 30
    pictures(tmp_path, "new.jpg")
    (tmp_path / "new.txt").write_text("a caption")
    assert {r.path.name for r in read(Config(val_share=0.3), tmp_path, 1).splits["val"]} - {"new.jpg"} == before


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    def fault() -> str:
        with pytest.raises(DataError) as caught:
            read(Config(), tmp_path, 0)
        return str(caught.value)

    with pytest.raises(DataError, match="--root DIR is needed"):
        read(Config(), None, 0)
    with pytest.raises(DataError, match="no such folder of pictures"):
        read(Config(), tmp_path / "absent", 0)
    assert "holds no pictures" in fault()
    pictures(tmp_path, "a.jpg")
    assert "1 pictures, and none has a caption; give captions.jsonl, captions.csv" in fault()
    (tmp_path / "captions.csv").write_text("name;text\n")
    assert "its first line is 'name;text'; it should name the columns file and caption" in fault()
    (tmp_path / "captions.jsonl").write_bytes('{"file": "a.jpg", "captions": ["café"]}'.encode("latin-1"))
    assert "captions.jsonl: byte 35 is not UTF-8" in fault()
    (tmp_path / "captions.jsonl").write_text('{"file": "a.jpg", "captions": "one"}')
    assert "line 1: captions: Input should be a valid array" in fault()
    (tmp_path / "captions.jsonl").write_text('{"file": "a.jpg", ')
    assert "line 1: line: Invalid JSON" in fault()


def test_hugging_face_layouts_and_caption_files(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a.jpg", "train/deep/b.jpg", "test/a.jpg", "other/c.jpg")
    (tmp_path / "train/a.caption").write_text("beside \n")
    (tmp_path / "test/a.txt").write_text("text first")
    (tmp_path / "test/a.caption").write_text("not read")
    assert captions_of(tmp_path) == {"train/a.jpg": ("beside ",), "test/a.jpg": ("text first",)}
    (tmp_path / "test/metadata.csv").write_text("file_name,label,text\na.jpg,x,of test\n")
    lines = [
        {"file_name": "a.jpg", "text": "of train"},
        {"file_name": "deep\\B.jpg", "text": "deep "},
        {"file_name": "c.jpg"},
    ]
    (tmp_path / "train/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert captions_of(tmp_path) == {
        "test/a.jpg": ("of test",),
        "train/a.jpg": ("of train",),
        "train/deep/b.jpg": ("deep ",),
    }
    source = read(Config(), tmp_path, 0)
    assert source.notes == [
        "1 names in train/metadata.jsonl are written otherwise than the pictures' and were matched (1 by case), "
        "e.g. deep\\B.jpg for deep/b.jpg"
    ]
    assert reasons(tmp_path) == {
        "train/c.jpg": "is described, but no such picture is there",
        "other/c.jpg": "has no caption",
    }
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "other/c.jpg", "text": "of all"}')
    (tmp_path / "captions.csv").symlink_to("metadata.jsonl")
    assert "its first line is" in fault_of(tmp_path)
    (tmp_path / "captions.csv").unlink()
    assert captions_of(tmp_path) == {"other/c.jpg": ("of all",)}
    (tmp_path / "metadata.csv").touch()
    assert read(Config(), tmp_path, 0).notes == ["metadata.jsonl is read, and metadata.csv beside it not"]


def test_a_picture_with_a_blank_caption_is_left_out_once(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "captions.csv").write_text("file,caption\na.jpg, \nb.jpg,one\n")
    left_out = read(Config(), tmp_path, 0).left_out
    assert [(line["image"], line["reason"]) for line in left_out] == [("a.jpg", "has no caption that is not blank")]


def test_names_that_are_written_otherwise(tmp_path: Path) -> None:
    pictures(tmp_path, "sub/a.png", "sub/b.png", "sub/c.png", "Case.JPG")
    rows = ["./sub/a.png", "sub\\b.png", str(tmp_path / "sub/c.png"), "case.jpg", "sub/d.png", "Cased.JPG"]
    (tmp_path / "captions.csv").write_text("file;caption\n" + "".join(f"{name};a, {name}\n" for name in rows))
    assert captions_of(tmp_path).keys() == {"sub/a.png", "sub/b.png", "sub/c.png", "Case.JPG"}
    assert reasons(tmp_path) == {
        "sub/d.png": "is described, but no such picture is there",
        "Cased.JPG": "is described, but no such picture is there; did you mean Case.JPG?",
    }
    (note,) = read(Config(), tmp_path, 0).notes
    assert note.startswith("4 names in captions.csv are written otherwise") and "(3 by slashes, 1 by case)" in note
    summary = prepare(unencoded(), tmp_path, tmp_path / "out", Options(workers=1, max_bad=0.5))
    assert summary["notes"] == [note]
    assert prepare(unencoded(), tmp_path, tmp_path / "out", Options(dry_run=True))["notes"] == [note]


# ---------------------------------------------------------------------------- hostile folders


def reasons(root: Path) -> dict[str, str]:
    return {line["image"]: line["reason"] for line in read(Config(val_share=0.0), root, 0).left_out}


def fault_of(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(Config(), root, 0)
    return str(caught.value)


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    pictures(tmp_path, "secret.jpg", "root/good.jpg", "root/told.jpg")
    (tmp_path / "secret.txt").write_text("a secret")
    root = tmp_path / "root"
    (root / "good.txt").write_text("a caption")
    (root / "told.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up.jpg").symlink_to("../secret.jpg")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "circle.jpg").symlink_to("circle.jpg")
    (root / "inner.jpg").symlink_to("good.jpg")
    (root / "inner.txt").symlink_to("good.txt")
    (root / "chain.jpg").symlink_to("up.jpg")
    assert captions_of(root) == {"good.jpg": ("a caption",), "inner.jpg": ("a caption",)}
    out = "is a symbolic link out of the folder"
    nowhere = "is a symbolic link that leads nowhere"
    assert reasons(root) == {
        "up.jpg": out,
        "chain.jpg": out,
        "gone.jpg": nowhere,
        "circle.jpg": nowhere,
        "told.jpg": f"told.txt {out}",
    }
    (tmp_path / "link").symlink_to(root)  # the folder itself may be reached by a link
    assert captions_of(tmp_path / "link") == captions_of(root)
    (root / "captions.csv").symlink_to(tmp_path / "secret.txt")
    assert f"captions.csv: {out}; the captions should be a file in the folder itself" in fault_of(root)
    (root / "captions.csv").unlink()
    (root / "captions.jsonl").symlink_to(tmp_path / "secret.txt")
    assert f"captions.jsonl: {out}" in fault_of(root)
    (root / "captions.jsonl").unlink()
    (root / "elsewhere").symlink_to(tmp_path)
    assert "elsewhere: is a symbolic link to a folder outside of" in fault_of(root)


def test_what_is_called_a_picture_and_is_no_file(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "folder.jpg/b.jpg")
    (tmp_path / "a.txt").write_text("a caption")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "folder.jpg" / "b.txt")
    assert reasons(tmp_path) == {
        "folder.jpg": "is a folder",
        "pipe.jpg": "is a pipe, a socket or a device",
        "folder.jpg/b.jpg": "b.txt is a pipe, a socket or a device",
    }
    os.mkfifo(tmp_path / "captions.csv")
    assert "captions.csv: is a pipe, a socket or a device; the captions should be a file" in fault_of(tmp_path)


def test_a_subfolder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "a.txt").write_text("a caption")
    listed = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "sub":  # root may list everything, so that no right that is taken away would do
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert f"{tmp_path / 'sub'}: the folder cannot be listed: Permission denied" in fault_of(tmp_path)


def test_odd_file_names(tmp_path: Path) -> None:
    odd = ["new\nline.jpg", "tab\t.jpg", "\u202egpj.jpg", "-..jpg.jpg", "-rf.jpg", "a b;$(c).jpg", "\udcff.jpg"]
    pictures(tmp_path, *odd)
    lines = [{"file": name, "captions": ["a caption"]} for name in odd]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert captions_of(tmp_path).keys() == set(odd[:-1])
    # the name of the last, as JSON has it, is half of a character, and no file is called so
    assert reasons(tmp_path) == {
        "\\udcff.jpg": "its name is not UTF-8",
        " .jpg": "is described, but no such picture is there",
    }
    summary = prepare(unencoded(), tmp_path, tmp_path / "out", Options(workers=1, max_bad=0.3))
    assert sum(counts["images"] for counts in summary["counts"].values()) == 6


def unencoded() -> object:
    return load_data_recipe("folder", ["text.model=none", "images.size=8", "reader.val_share=0.0"])


def test_odd_captions_reach_the_shards_clean(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    texts = [
        "bell\x07 and\x00 nul",
        "\u200fright \u202eto left",
        "cut \ud83d emoji \ud83d\ude00 whole",
        "back\\ud83d",
        "b",
        "b",
    ]
    line = json.dumps({"file": "a.jpg", "captions": texts})
    (tmp_path / "captions.jsonl").write_text(f"{line}\n{line}\n")
    prepare(unencoded(), tmp_path, tmp_path / "out", Options(workers=1, max_bad=0.6))
    shard, row = ShardFolder(tmp_path / "out", "train").locate(0)
    assert [shard.text(number) for number in shard.captions(row)] == [
        "bell and nul",
        "right to left",
        "cut emoji \U0001f600 whole",
        "back\\ud83d",
        "b",
    ]
    left_out = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["what"], line["reason"]) for line in left_out] == [
        ("caption", "caption is there twice"),
        ("image", "is described twice; the first is kept"),
    ]


def test_captions_end_where_lines_end(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_bytes("one\r\ntwo\rstill two\x0cstill\u2028two\n".encode())
    (tmp_path / "b.txt").write_bytes(b"of an\rold Mac\r")
    assert captions_of(tmp_path)["a.jpg"] == ("one", "two\rstill two\x0cstill\u2028two")
    assert captions_of(tmp_path)["b.jpg"] == ("of an", "old Mac")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.jpg", "captions": ["one\u2028two"]}', encoding="utf-8")
    assert captions_of(tmp_path) == {"a.jpg": ("one\u2028two",)}


def test_a_line_of_100_mb_is_not_read(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    for name, begin in (
        ("captions.jsonl", '{"file": "a.jpg", "captions": ["'),
        ("captions.csv", 'file,caption\na.jpg,"'),
    ):
        with (tmp_path / name).open("w") as file:
            file.write('{"file": "a.jpg", "captions": ["one"]}\n' if name == "captions.jsonl" else "")
            file.write(begin)
            file.truncate(100_000_000)  # a hole: takes no disk
        tracemalloc.start()
        message = fault_of(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert f"{name}: line 2 is longer than 1,048,576 bytes; a line is of one picture" in message
        assert peak < 10_000_000
        (tmp_path / name).unlink()
    (tmp_path / "captions.csv").write_text("file,caption\na.jpg," + "x" * 200_000)
    assert "captions.csv: line 2: field larger than field limit (131072)" in fault_of(tmp_path)


def test_text_files_that_are_none(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "long.jpg", "latin.jpg")
    (tmp_path / "a.txt").write_text("a caption")
    (tmp_path / "long.txt").write_bytes(b"x" * (TEXT_LIMIT + 1))
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    assert reasons(tmp_path) == {
        "long.jpg": "long.txt is 1,048,577 bytes long; the captions of a picture may take 1,048,576",
        "latin.jpg": "latin.txt: byte 3 is not UTF-8; save the file as UTF-8 text",
    }


def test_csv_that_is_none(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    form = tmp_path / "captions.csv"
    form.write_text("file,caption\na.jpg,red, and round\n")
    assert "captions.csv: line 2 has more than the 2 columns of the first line; put captions" in fault_of(tmp_path)
    form.write_text('file,caption\na.jpg,one\na.jpg,"two\n')
    assert "captions.csv: line 3: unexpected end of data; is a quotation mark left open" in fault_of(tmp_path)
    form.write_bytes(b"file,caption\na.jpg,one\0\n")
    assert "captions.csv: line 2 holds a NUL; save the file as UTF-8 text, not as UTF-16" in fault_of(tmp_path)
    form.write_bytes(b"file,caption\na.jpg,one\na.jpg,\xff\n")
    assert "captions.csv: byte 29 is not UTF-8" in fault_of(tmp_path)
    form.write_bytes(b"\xef\xbb\xbffile,caption\r\na.jpg,one\r\na.jpg,one\r\n,two\r\na.jpg\r\n")
    assert captions_of(tmp_path) == {"a.jpg": ("one",)}
    assert reasons(tmp_path) == {"a.jpg": "caption is there twice", "": "is described, but no such picture is there"}


def test_a_class_too_large_for_a_shard(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.jpg", "captions": ["one"], "class": 2147483648}')
    assert "line 1: class: Input should be less than or equal to 2147483647" in fault_of(tmp_path)


NAMES = st.one_of(
    st.sampled_from(["a.jpg", "sub/b.png", "../a.jpg", "/etc/passwd", "sub/../a.jpg", "./a.jpg", "~", "", "..\\a.jpg"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.fixed_dictionaries(
    {"file": NAMES, "captions": st.lists(st.text(max_size=6) | st.just("\udfff\ud800"), max_size=3)},
    optional={"class": st.integers(-2, 2**33)},
)
JSON_LINES = st.one_of((OBJECTS | VALUES).map(json.dumps).map(str.encode), st.binary(max_size=40))
CSV_LINES = st.one_of(
    st.tuples(NAMES, st.text(max_size=8)).map(lambda row: ",".join(row).encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
    st.text(st.sampled_from('",\r\na'), max_size=9).map(str.encode),
)


def check(name: str, content: bytes) -> None:
    """A message, or pictures that are there, whatever the file of captions says."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        pictures(root, "a.jpg", "sub/b.png")
        pictures(Path(folder), "a.jpg")
        (root / name).write_bytes(content)
        try:
            source = read(Config(val_share=0.0), root, 0)
        except DataError:
            return
        assert {record.path for record in source.splits["train"]} <= {root / "a.jpg", root / "sub" / "b.png"}
        assert all(record.captions for record in source.splits["train"])
        json.dumps([source.left_out, [r.captions for r in source.splits["train"]]], ensure_ascii=False).encode()


@settings(max_examples=150, deadline=None)
@given(st.lists(JSON_LINES, max_size=4))
def test_any_jsonl(written: list[bytes]) -> None:
    check("captions.jsonl", b'{"file": "a.jpg", "captions": ["one"]}\n' + b"\n".join(written))


@settings(max_examples=150, deadline=None)
@given(st.lists(CSV_LINES, max_size=4), st.booleans())
def test_any_csv(written: list[bytes], with_header: bool) -> None:
    check("captions.csv", (b"file,caption\na.jpg,one\n" if with_header else b"") + b"\n".join(written))
