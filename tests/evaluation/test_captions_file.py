"""Captions of a folder of images that something else made."""

import json

import pytest
from small_shards import pictures, save

from t2icli.errors import DataError
from t2icli.evaluation.captions_file import find_captions, read_captions
from t2icli.evaluation.images import image_files


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "made", pictures(3))


def read(file, folder):
    return read_captions(file, folder, image_files(folder))


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def jsonl(*lines):
    return "\n".join(json.dumps(line) for line in lines) + "\n"


NAMES = ("000.png", "001.png", "002.png")
CSV = 'file,caption\n000.png,a red bus\n001.png,"a ""blue"" bus, parked"\n002.png,a bus\n'
PLAIN = [{"file": name, "caption": f"picture {name}"} for name in NAMES]


def test_all_forms_say_the_same(tmp_path, folder):
    texts = ["a red bus", 'a "blue" bus, parked', "a bus"]
    lines = [{"file": name, "caption": text} for name, text in zip(NAMES, texts, strict=True)]
    forms = [
        written(tmp_path, "c.jsonl", jsonl(*reversed(lines))),
        written(tmp_path, "c.csv", CSV),
        written(tmp_path, "c.txt", "\n".join(texts)),
    ]
    for form in forms:
        found = read(form, folder)
        assert [path.name for path in found.paths] == list(NAMES)
        assert list(found.texts) == texts
        assert list(found.images) == [0, 1, 2]
        assert list(found.classes) == [-1, -1, -1]
        assert found.boxes is None


def test_what_sample_writes_is_read_where_it_lies(folder):
    assert find_captions(folder) is None
    lines = [{"file": name, "captions": [f"picture {name}"]} for name in NAMES]
    file = written(folder, "captions.jsonl", jsonl(*lines))
    assert find_captions(folder) == file
    assert list(read(file, folder).texts) == [f"picture {name}" for name in NAMES]


def test_images_and_classes_group_captions(tmp_path, folder):
    lines = [{**line, "image": image, "class": 7} for line, image in zip(PLAIN, (42, 42, "x"), strict=True)]
    found = read(written(tmp_path, "c.jsonl", jsonl(*lines)), folder)
    assert list(found.images) == [0, 0, 1]
    assert list(found.classes) == [7, 7, 7]
    table = "file,caption,image,class\n000.png,a,5,1\n001.png,b,5,2\n002.png,c,6,2\n"
    found = read(written(tmp_path, "c.csv", table), folder)
    assert list(found.images) == [0, 0, 1]
    assert list(found.classes) == [1, 2, 2]


def test_boxes_of_a_layout(tmp_path, folder):
    lines = [{**PLAIN[0], "boxes": [["bus", 0.1, 0.2, 0.3, 0.4]]}, *PLAIN[1:]]
    found = read(written(tmp_path, "c.jsonl", jsonl(*lines)), folder)
    assert found.boxes == [[("bus", 0.1, 0.2, 0.3, 0.4)], [], []]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.jsonl", jsonl(*PLAIN, {"file": "9.png", "caption": "x"}), "1 of 4 captions have no picture .* e.g. 9.png"),
        ("c.jsonl", jsonl(*PLAIN[:2]), "1 of the 3 pictures of .* have no caption, e.g. 002.png"),
        ("c.jsonl", jsonl(*PLAIN, PLAIN[0]), "000.png is described twice"),
        ("c.jsonl", jsonl({"file": "000.png", "caption": "  "}), "000.png has no caption, or a blank one"),
        ("c.jsonl", '{"file": 3}', "line 1: file: .*should be like"),
        ("c.jsonl", jsonl({**PLAIN[0], "size": 1}), "line 1: size: .*should be like"),
        ("c.jsonl", "{", "line 1: line: .*should be like"),
        ("c.csv", "name,text\na,b\n", "its first line is 'name,text'; it should name the columns file and caption"),
        ("c.csv", "file,caption,class\n000.png,a,bird\n", "line 2: class 'bird' should be a whole number"),
        ("c.txt", "one\ntwo\n", "holds 2 captions, one a line, for 3 pictures"),
        ("c.xml", "<a/>", "captions come as .jsonl lines like"),
    ],
)
def test_captions_that_do_not_fit(tmp_path, folder, name, text, message):
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, name, text), folder)


def test_captions_that_are_not_there(tmp_path, folder):
    with pytest.raises(DataError, match=r"--captions .*c.csv: no such file; it should hold .jsonl lines"):
        read(tmp_path / "c.csv", folder)
    (tmp_path / "bytes.csv").write_bytes(b"file,caption\n000.png,\xff\n")
    with pytest.raises(DataError, match="byte 21 is not UTF-8"):
        read(tmp_path / "bytes.csv", folder)
