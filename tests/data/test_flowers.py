"""Oxford flowers in their true layout, made up."""

from pathlib import Path

import pytest
from PIL import Image

from t2icli.data.readers.flowers import Config, read
from t2icli.errors import DataError

# class -> numbers of its images, which run across the classes as Oxford's do
CLASSES = {1: [6, 3], 2: [1], 5: [2, 8], 7: [4], 10: [5]}


def make(root: Path) -> Path:
    for number_of_class, numbers in CLASSES.items():
        for number in numbers:
            image = root / "jpg" / f"image_{number:05d}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 50), "red").save(image)
            text = root / "text_c10" / f"class_{number_of_class:05d}" / f"image_{number:05d}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("".join(f"flower {number} has petals {i}\n" for i in range(10)), encoding="utf-8")
    return root


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    return make(tmp_path / "flowers")


def numbers(root: Path, config: Config = Config()) -> dict[str, list[int]]:
    return {split: [record.id for record in records] for split, records in read(config, root, 0).splits.items()}


def test_split_by_the_list_of_classes(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (flowers / "text_c10", flowers):
        (folder / "testclasses.txt").write_text("class_00001\nclass_00007\n")
        assert numbers(flowers) == {"train": [1, 2, 5, 8], "test": [3, 4, 6]}
        (folder / "testclasses.txt").unlink()
    assert capsys.readouterr().err == ""
    assert numbers(flowers, Config(test_classes=(2,))) == {"train": [2, 3, 4, 5, 6, 8], "test": [1]}


def test_records(flowers: Path) -> None:
    record = read(Config(test_classes=(2,)), flowers, 0).splits["train"][1]
    assert (record.id, record.class_index, record.crop, record.boxes) == (3, 0, None, ())
    assert record.path == flowers / "jpg" / "image_00003.jpg"
    assert record.captions == tuple(f"flower 3 has petals {i}" for i in range(10))


def test_without_a_list_every_fifth_class_is_taken_and_it_is_said(
    flowers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert numbers(flowers) == {"train": [1, 3, 4, 6], "test": [2, 5, 8]}
    said = capsys.readouterr().err
    assert "no testclasses.txt says which 20 classes the field tests with" in said
    assert "every 5th class is taken, so scores compare with nothing published" in said


def test_what_cannot_be_used_is_left_out_with_its_reason(flowers: Path) -> None:
    (flowers / "jpg" / "image_00006.jpg").unlink()
    (flowers / "text_c10" / "class_00002" / "image_00001.txt").write_text(" \n")
    (flowers / "text_c10" / "class_00010" / "image_00005.txt").unlink()
    outside = flowers.parent / "elsewhere.jpg"
    (flowers / "jpg" / "image_00004.jpg").rename(outside)
    (flowers / "jpg" / "image_00004.jpg").symlink_to(outside)
    source = read(Config(test_classes=(1,)), flowers, 0)
    assert {(line["split"], line["image"], line["reason"]) for line in source.left_out} == {
        ("test", "image_00006.jpg", "has captions, but jpg/image_00006.jpg is not there"),
        ("train", "image_00001.jpg", "captions: image_00001.txt has no line that is not blank"),
        ("all", "image_00005.jpg", "has no captions in text_c10/, and so no class"),
        ("train", "image_00004.jpg", "has captions, but jpg/image_00004.jpg is a symbolic link out of the folder"),
    }


def test_other_files_are_passed_over(flowers: Path) -> None:
    (flowers / "text_c10" / "class_00001.h5").write_bytes(b"vectors")
    (flowers / "text_c10" / "class_00001" / "image_00003.h5").write_bytes(b"vectors")
    (flowers / "text_c10" / "class_00001" / "._image_00003.txt").write_bytes(b"hidden")
    (flowers / "jpg" / "Thumbs.db").write_bytes(b"no picture")
    source = read(Config(test_classes=(1,)), flowers, 0)
    assert sum(map(len, source.splits.values())) == 7 and not source.left_out


def test_faults_are_named(flowers: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"flowers: say where the raw data lies: --root DIR \(it holds jpg/"):
        read(Config(), None, 0)
    with pytest.raises(DataError, match=r"(?s)are not whole; missing:\n  jpg/: from 102flowers.tgz.*text_c10/: from"):
        read(Config(), tmp_path, 0)
    with pytest.raises(DataError, match=r"reader.test_classes: \[3\] are no classes of .*, which has 5"):
        read(Config(test_classes=(3,)), flowers, 0)
    (flowers / "testclasses.txt").write_text("class_00001 051.daisy\n")
    with pytest.raises(DataError, match=r"'051.daisy' is no class of flowers; it should be like class_00051"):
        read(Config(), flowers, 0)
    (flowers / "text_c10" / "class_00002" / "image_00003.txt").write_text("twice\n")
    with pytest.raises(DataError, match=r"image_00003.txt lies in class_00001 and in class_00002; it should be in one"):
        read(Config(), flowers, 0)
    (tmp_path / "empty" / "jpg").mkdir(parents=True)
    (tmp_path / "empty" / "text_c10").mkdir()
    with pytest.raises(DataError, match=r"text_c10: holds no captions; they should be like class_00001/image_06734"):
        read(Config(), tmp_path / "empty", 0)
    (tmp_path / "linked").mkdir()
    for name in ("jpg", "text_c10"):
        (tmp_path / "linked" / name).symlink_to(flowers / name)
    with pytest.raises(DataError, match="is a symbolic link that leads out of"):
        read(Config(), tmp_path / "linked", 0)
