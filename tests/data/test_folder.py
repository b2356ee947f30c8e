"""A user's own pictures: three forms of captions, and what cannot be used."""

import json
from pathlib import Path

import pytest
from PIL import Image

from t2icli.data.readers.folder import Config, read
from t2icli.errors import DataError


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
