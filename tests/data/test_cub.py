"""CUB in its true layout, made up and real."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2icli.data.images import ImageError, cut_out
from t2icli.data.manifest import TextIdentity
from t2icli.data.prepare import prepare
from t2icli.data.readers.cub import Config, read, square
from t2icli.data.shards import ShardFolder
from t2icli.errors import DataError
from t2icli.recipe_files import load_data_recipe
from t2icli.vocabulary import Vocabulary, words_of

NAMES = [f"{c:03d}.Bird_{c}/Bird_{c}_{i:04d}" for c in range(1, 9) for i in range(2)]


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Eight classes of two birds; each bird's box is red, the rest blue."""
    root = tmp_path / "birds"
    images = root / "CUB_200_2011" / "images"
    rows: dict[str, list[str]] = {"images": [], "bounding_boxes": [], "image_class_labels": []}
    for number, name in enumerate(NAMES, start=1):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (100, 80), "blue")
        picture.paste("red", (40, 30, 60, 50))
        picture.save(images / f"{name}.jpg", quality=95)
        text = root / "text" / f"{name}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(
            "".join(f"this bird {number} has a caf\ufffd\ufffd beak {i}\n" for i in range(10)), encoding="utf-8"
        )
        rows["images"].append(f"{number} {name}.jpg")
        rows["bounding_boxes"].append(f"{number} 40.0 30.0 20.0 20.0")
        rows["image_class_labels"].append(f"{number} {int(name[:3])}")
    for file, lines in rows.items():
        (root / "CUB_200_2011" / f"{file}.txt").write_text("\n".join(lines) + "\n")
    return root


def filenames(root: Path, test: list[str]) -> None:
    for split, names in (("train", [n for n in NAMES if n not in test]), ("test", test)):
        (root / split).mkdir()
        (root / split / "filenames.pickle").write_bytes(pickle.dumps(names, 2))


def test_square_is_attngans_rule() -> None:
    # by hand: 0.75 x 304 = 228 around (60 + 325 / 2, 27 + 304 / 2)
    assert square(60, 27, 325, 304) == (222 - 243, 179 - 243, 222 + 243, 179 + 243)
    assert square(40, 30, 20, 20) == (35, 25, 65, 55)
    assert square(0, 0, 3, 5) == (-2, -1, 4, 5)


def test_cut_out_is_clipped_by_the_image() -> None:
    image = Image.new("RGB", (100, 80))
    assert cut_out(image, (-10, 5, 50, 200)).size == (50, 75)
    with pytest.raises(ImageError, match="lies outside of its 100 x 80 pixels"):
        cut_out(image, (100, 0, 120, 20))


def test_split_by_every_fourth_class_is_said(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = read(Config(), birds, 0)
    assert {split: len(records) for split, records in source.splits.items()} == {"train": 12, "test": 4}
    assert {record.class_index for record in source.splits["test"]} == {3, 7}
    assert "every 4th class is taken, so scores compare with nothing published" in capsys.readouterr().err
    record = source.splits["train"][0]
    assert record.crop == (35, 25, 65, 55) and record.boxes[0].category == "bird"
    assert len(record.captions) == 10 and record.captions[0] == "this bird 1 has a caf  beak 0"
    assert read(Config(crop=False), birds, 0).splits["train"][0].crop is None


def test_split_by_attngans_lists(birds: Path) -> None:
    filenames(birds, NAMES[:3])
    source = read(Config(), birds, 0)
    assert [record.path.stem for record in source.splits["test"]] == [Path(name).name for name in NAMES[:3]]
    assert len(source.splits["train"]) == 13
    by_class = read(Config(split="classes", test_classes=(1,)), birds, 0)
    assert [record.class_index for record in by_class.splits["test"]] == [0, 0]


def test_split_by_the_list_of_classes(birds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (birds / "testclasses.txt").write_text("002.Bird_2\n005.Bird_5\n")
    source = read(Config(), birds, 0)
    assert {record.class_index for record in source.splits["test"]} == {1, 4}
    assert capsys.readouterr().err == ""


def test_what_cannot_be_used_is_left_out_with_its_reason(birds: Path) -> None:
    (birds / "CUB_200_2011" / "images" / f"{NAMES[0]}.jpg").unlink()
    (birds / "text" / f"{NAMES[1]}.txt").unlink()
    (birds / "text" / f"{NAMES[2]}.txt").write_bytes(b"caf\xe9\n")
    (birds / "text" / f"{NAMES[3]}.txt").write_text("\n \n")
    with (birds / "CUB_200_2011" / "images.txt").open("a") as file:
        file.write("90 ../../etc/passwd.jpg\n91 001.Bird_1/unboxed.jpg\n")
    with (birds / "CUB_200_2011" / "image_class_labels.txt").open("a") as file:
        file.write("90 1\n91 1\n")
    with (birds / "CUB_200_2011" / "bounding_boxes.txt").open("a") as file:
        file.write("90 0 0 1 1\n")
    source = read(Config(), birds, 0)
    reasons = {(line["image"], line["reason"]) for line in source.left_out}
    assert (f"{NAMES[0]}.jpg", f"listed in images.txt, but there is no CUB_200_2011/images/{NAMES[0]}.jpg") in reasons
    assert (f"{NAMES[1]}.jpg", "has no caption") in reasons
    assert (f"{NAMES[2]}.jpg", "captions: byte 3 is not UTF-8") in reasons
    assert (f"{NAMES[3]}.jpg", "has no caption") in reasons
    assert ("../../etc/passwd.jpg", "its name leads out of the folder") in reasons
    assert ("001.Bird_1/unboxed.jpg", "has no line in bounding_boxes.txt") in reasons


def test_faults_in_words(birds: Path) -> None:
    with pytest.raises(DataError, match="say where the raw data lies"):
        read(Config(), None, 0)
    with pytest.raises(DataError, match=r"(?s)missing:.*text: from AttnGAN's birds\.zip.*data\.caltech\.edu"):
        read(Config(), birds / "CUB_200_2011", 0)
    with pytest.raises(DataError, match="needs train/filenames.pickle and test/filenames.pickle"):
        read(Config(split="filenames"), birds, 0)
    with pytest.raises(DataError, match=r"\[99\] are no classes of"):
        read(Config(test_classes=(1, 99)), birds, 0)
    (birds / "testclasses.txt").write_text("albatross\n")
    with pytest.raises(DataError, match="'albatross' is no class of CUB"):
        read(Config(), birds, 0)
    for split in ("train", "test"):
        (birds / split).mkdir()
        (birds / split / "filenames.pickle").write_bytes(pickle.dumps([1, 2], 2))
    with pytest.raises(DataError, match="should be a list of names"):
        read(Config(), birds, 0)
    (birds / "CUB_200_2011" / "images.txt").write_text("one\n")
    with pytest.raises(DataError, match=r"images\.txt: line 1 is 'one'"):
        read(Config(), birds, 0)


def test_shards_hold_the_bird_its_class_and_no_vectors(birds: Path, tmp_path: Path) -> None:
    recipe = load_data_recipe("cub", ["images.size=32"])
    prepare(recipe, birds, tmp_path / "out", workers=1)
    folder = ShardFolder(tmp_path / "out", "test")
    shard, row = folder.locate(0)
    assert shard.classes.tolist() == [3, 3, 7, 7] and folder.word_dim == 0
    assert shard.tokens(0).size == 0 and shard.embedding(0).shape == (0, 0)
    assert shard.text(0) == "this bird 7 has a caf beak 0"
    assert shard.objects(row)[0].w == 20
    with Image.open(io.BytesIO(shard.image_bytes(row))) as picture:
        pixels = np.asarray(picture)
    red = (pixels[..., 0] > 128).mean()  # a box of 20 in a square of 30
    assert pixels.shape == (32, 32, 3) and 0.38 < red < 0.5
    assert folder.text_identity == TextIdentity("none", "none", "", "", 24, 0)
    words = folder.vocabulary
    assert {"this", "bird", "beak", "1", "16"} <= set(words)  # of both splits
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["vocabulary"] == {"words": len(words), "sha256": Vocabulary(words).sha256}


def test_words() -> None:
    assert words_of("A Red-breasted bird's\ufffd\ufffdbeak, naïve!") == [
        "a",
        "red",
        "breasted",
        "bird",
        "s",
        "beak",
        "nave",
    ]
    vocabulary = Vocabulary(["a", "bird"])
    assert vocabulary.read("a zebra and a bird") == [1, 1, 2] and len(vocabulary) == 3
    assert vocabulary.write([2, 1, 0, 2]) == "bird a"


def test_real_birds(shared: Path, tmp_path: Path) -> None:
    source = read(Config(), shared / "data" / "cub-mini", 0)
    assert {split: len(records) for split, records in source.splits.items()} == {"train": 263, "test": 60}
    assert not source.left_out
    first = source.splits["train"][0]
    assert first.id == 1 and first.crop == square(60, 27, 325, 304) and len(first.captions) == 10
    recipe = load_data_recipe("cub", ["reader.test_classes=[2, 5]"])
    prepare(recipe, shared / "data" / "cub-mini", tmp_path / "out", workers=2)
    folder = ShardFolder(tmp_path / "out", "test")
    shard, row = folder.locate(0)
    with Image.open(io.BytesIO(shard.image_bytes(row))) as picture:
        assert min(picture.size) == 304
    assert sorted(set(shard.classes.tolist())) == [1, 4]
