"""Captions of a folder of images that something else made."""

import json

import pytest
from small_shards import pictures, save

from t2icli.errors import DataError
from t2icli.evaluation.captions_file import NATURAL, captions_lying_in, find_captions, read_captions
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


def numbered(tmp_path, count, folder="many"):
    made = save(tmp_path / folder, pictures(count))
    for number in range(count):
        (made / f"{number:03}.png").rename(made / f"{number}.png")
    return made


def test_lines_go_to_pictures_in_natural_order_and_the_result_says_so(tmp_path):
    made = numbered(tmp_path, 12)
    text = "".join(f"number {n} \u2028\r\n" for n in range(12)) + "\r\n\r\n"
    found = read(written(tmp_path, "c.txt", text), made)
    assert [(path.name, said) for path, said in zip(found.paths, found.texts, strict=True)] == [
        (f"{n}.png", f"number {n} \u2028") for n in sorted(range(12), key=str)
    ]
    assert found.order == NATURAL
    assert found.notes == [
        "c.txt: its lines went to the pictures in the natural order of their names (line 3 to 2.png), which is not "
        "the order of their letters (10.png)"
    ]
    few = read(written(tmp_path, "d.txt", "a\nb\nc\n"), save(tmp_path / "few", pictures(3)))
    assert (few.order, list(few.notes)) == (NATURAL, [])


def test_names_in_other_forms_are_matched_and_counted(tmp_path, folder):
    lines = [{"file": name, "caption": "a"} for name in ("./000.png", "001.PNG", str(folder / "002.png"))]
    found = read(written(tmp_path, "c.jsonl", jsonl(*lines)), folder)
    assert list(found.texts) == ["a"] * 3
    assert found.notes == [
        "3 names in c.jsonl are written otherwise than the pictures' and were matched (2 by slashes, 1 by case), "
        "e.g. ./000.png for 000.png"
    ]


def test_captions_stay_as_they_are_written(tmp_path, folder):
    texts = [" a bus ", "a bus", "a\u2028bus "]
    lines = [{"file": name, "caption": text} for name, text in zip(NAMES, texts, strict=True)]
    for name, text in (
        ("c.jsonl", jsonl(*lines)),
        ("c.csv", "file,caption\n" + "".join(f"{n},{text}\n" for n, text in zip(NAMES, texts, strict=True))),
        ("c.txt", "\n".join(texts)),
    ):
        assert list(read(written(tmp_path, name, text), folder).texts) == texts


def test_of_several_captions_the_first_counts_and_the_result_says_so(tmp_path, folder):
    table = "file,caption\n" + "".join(f"{name},{which} of {name}\n" for name in NAMES for which in ("one", "two"))
    found = read(written(tmp_path, "c.csv", table), folder)
    assert list(found.texts) == [f"one of {name}" for name in NAMES]
    assert found.notes == [f"3 pictures of {folder} have several captions: the first of each counts"]


@pytest.mark.parametrize("ending", ["txt", "caption"])
def test_text_files_beside_pictures(folder, ending):
    assert captions_lying_in(folder, image_files(folder)) == (None, [])
    for name in NAMES[:2]:
        written(folder, f"{name[:3]}.{ending}", f"one of {name} \ntwo\n")
    found, notes = captions_lying_in(folder, image_files(folder))
    assert found is None
    assert notes == [
        f"2 of the 3 pictures of {folder} have captions in a text file beside them: as the others have none, captions "
        "are taken for unknown"
    ]
    written(folder, f"002.{ending}", "one of 002.png ")
    found, notes = captions_lying_in(folder, image_files(folder))
    assert list(found.texts) == [f"one of {name} " for name in NAMES] and notes == []
    assert (found.origin, found.order) == (folder, None)
    written(folder, f"002.{ending}", "\n")
    with pytest.raises(DataError, match=f"002.{ending}: holds no caption, or a blank one"):
        captions_lying_in(folder, image_files(folder))
    (folder / f"002.{ending}").write_bytes(b"\xff")
    with pytest.raises(DataError, match=f"002.png: 002.{ending}: byte 0 is not UTF-8; save the file as UTF-8 text"):
        captions_lying_in(folder, image_files(folder))


def test_lists_of_hugging_face_below_the_folder(tmp_path):
    for part, count in (("train", 2), ("test", 1)):
        made = save(tmp_path / "made" / part, pictures(count))
        lines = [{"file_name": f"{n:03}.png", "text": f"{part} {n}"} for n in range(count)]
        written(made, "metadata.jsonl", jsonl(*lines))
    folder = tmp_path / "made"
    found, notes = captions_lying_in(folder, image_files(folder))
    assert list(found.texts) == ["test 0", "train 0", "train 1"] and notes == []
    written(folder, "metadata.csv", "file_name,text\ntest/000.png,a\ntrain/000.png,b\ntrain/001.png,c\n")
    written(folder, "metadata.jsonl", jsonl({"file_name": "test/000.png", "text": "a"}))
    with pytest.raises(DataError, match=r"metadata.jsonl: 2 of the 3 pictures of .* have no caption, e.g. train/000"):
        captions_lying_in(folder, image_files(folder))
    (folder / "metadata.jsonl").rename(folder / "captions.jsonl")
    written(
        folder,
        "captions.jsonl",
        jsonl(*[{"file": f, "caption": "x"} for f in ("test/000.png", "train/000.png", "train/001.png")]),
    )
    assert captions_lying_in(folder, image_files(folder))[1] == [
        "captions.jsonl is read, and metadata.csv beside it not"
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "one\n \nthree\n", "c.txt: line 2 is blank, and the line of a picture"),
        ("c.txt", "one\ntwo\nthree\nfour\n", "holds 4 captions, one a line, for 3 pictures"),
        ("c.txt", "", "holds 0 captions, one a line, for 3 pictures"),
        (
            "c.jsonl",
            jsonl({"file": "made/000.png", "caption": "x"}),
            "e.g. made/000.png; for made/000.png: did you mean 000.png",
        ),
        (
            "c.jsonl",
            jsonl({"file": "../000.png", "caption": "x"}),
            "1 of 1 captions have no picture in .*, e.g. ../000.png$",
        ),
        ("c.jsonl", jsonl(*PLAIN, {"file": "./000.PNG", "caption": "x"}), "line 4: ./000.PNG is described twice"),
        ("c.jsonl", jsonl({"file": "000.png", "caption": 5}), "line 1: caption: Input should be a valid string"),
        ("c.csv", CSV.replace('"a ""blue"" bus, parked"', "a bus, parked"), "line 3 has more than the 2 columns"),
        ("c.json", "[]", "captions come as .jsonl lines like"),
    ],
)
def test_more_captions_that_do_not_fit(tmp_path, folder, name, text, message):
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, name, text), folder)
