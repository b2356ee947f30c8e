"""CUB in its true layout, made up and real."""

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from t2icli.data.decoding import ImageError
from t2icli.data.images import cut_out
from t2icli.data.manifest import TextIdentity
from t2icli.data.places import TEXT_LIMIT
from t2icli.data.prepare import Options, prepare
from t2icli.data.readers.cub import Config, read, square
from t2icli.data.shard_folder import ShardFolder
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
    assert len(record.captions) == 10 and record.captions[0] == "this bird 1 has a caf beak 0"
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
    (birds / "text" / f"{NAMES[3]}.txt").write_text("\n \n\ufffd\ufffd\n")
    with (birds / "CUB_200_2011" / "images.txt").open("a") as file:
        file.write("90 ../../etc/passwd.jpg\n91 001.Bird_1/unboxed.jpg\n92 001.Bird_1/unlabelled.jpg\n")
    with (birds / "CUB_200_2011" / "image_class_labels.txt").open("a") as file:
        file.write("90 1\n91 1\n")
    with (birds / "CUB_200_2011" / "bounding_boxes.txt").open("a") as file:
        file.write("90 0 0 1 1\n92 0 0 1 1\n")
    source = read(Config(), birds, 0)
    reasons = {(line["image"], line["reason"]) for line in source.left_out}
    text = [Path(name).name + ".txt" for name in NAMES]
    assert reasons == {
        (f"{NAMES[0]}.jpg", f"listed in images.txt, but CUB_200_2011/images/{NAMES[0]}.jpg is not there"),
        (f"{NAMES[1]}.jpg", f"captions: {text[1]} is not there"),
        (f"{NAMES[2]}.jpg", f"captions: {text[2]}: byte 3 is not UTF-8; save the file as UTF-8 text"),
        (f"{NAMES[3]}.jpg", f"captions: {text[3]} has no line that is not blank"),
        ("../../etc/passwd.jpg", "its name is not a path inside the image folder"),
        ("001.Bird_1/unboxed.jpg", "has no line in bounding_boxes.txt"),
        ("001.Bird_1/unlabelled.jpg", "has no line in image_class_labels.txt"),
    }
    assert len(source.left_out) == 7


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


# ---------------------------------------------------------------------------- hostile folders


def fault_of(root: Path, config: Config | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(config or Config(), root, 0)
    message = str(caught.value)
    assert len(message) < 1_000 and message.replace("\n", "").isprintable()
    return message


def reasons(root: Path) -> dict[str, str]:
    source = read(Config(), root, 0)
    for line in source.left_out:
        assert len(json.dumps(line, ensure_ascii=False).encode()) < 1_000
        assert all(value.isprintable() for value in line.values())
    for records in source.splits.values():
        assert all(record.path.resolve().is_relative_to(root.resolve()) for record in records)
        assert all(record.captions and "secret" not in "".join(record.captions) for record in records)
    return {line["image"]: line["reason"] for line in source.left_out}


@pytest.mark.parametrize(
    ("file", "row", "like"),
    [
        ("bounding_boxes", "3 1 1 9", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 1 1 9 9 9", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 a 1 9 9", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 nan 1 9 9", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 1 1 9 inf", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 1 1 9 1e300", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 1 1 0 9", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3 1 1 9 -9", "1 60.0 27.0 325.0 304.0"),
        ("bounding_boxes", "3", "1 60.0 27.0 325.0 304.0"),
        ("image_class_labels", "3 x", "1 1"),
        ("image_class_labels", "3 0", "1 1"),
        ("image_class_labels", "3 -1", "1 1"),
        ("image_class_labels", "3 1.5", "1 1"),
        ("image_class_labels", "3 2147483648", "1 1"),
        ("image_class_labels", "3 \u0663", "1 1"),
        ("images", "three 001.Bird_1/a.jpg", "1 001.Black_footed_Albatross/NAME.jpg"),
        ("images", "3", "1 001.Black_footed_Albatross/NAME.jpg"),
        ("images", "99999999999999999999 a.jpg", "1 001.Black_footed_Albatross/NAME.jpg"),
        ("images", "\u202e3 \x1b[2J.jpg", "1 001.Black_footed_Albatross/NAME.jpg"),
        ("images", "x" * 1_000_000, "1 001.Black_footed_Albatross/NAME.jpg"),
    ],
)
def test_rows_that_are_not_cubs(birds: Path, file: str, row: str, like: str) -> None:
    path = birds / "CUB_200_2011" / f"{file}.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], row, *lines[3:]]), encoding="utf-8")
    message = fault_of(birds)
    assert f"{file}.txt: line 3 is " in message and f"; it should be like {like}" in message


@pytest.mark.parametrize("file", ["images", "bounding_boxes", "image_class_labels"])
def test_a_number_that_is_given_twice_is_refused(birds: Path, file: str) -> None:
    path = birds / "CUB_200_2011" / f"{file}.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "", lines[1]]))
    assert f"{file}.txt: line 18: the number 2 is given twice; it should be there once" in fault_of(birds)


def test_a_name_that_is_given_twice_is_refused(birds: Path) -> None:
    with (birds / "CUB_200_2011" / "images.txt").open("a") as file:
        file.write(f"90 {NAMES[4]}.jpg\n")
    assert f"images.txt: {NAMES[4]}.jpg has the numbers 5 and 90; it should be there once" in fault_of(birds)


def test_lists_of_attngans_that_contradict(birds: Path) -> None:
    filenames(birds, [*NAMES[:3], "009.Bird_9/gone", "\u202e\ud800"])
    assert reasons(birds) == {
        "009.Bird_9/gone.jpg": "listed in test/filenames.pickle, but not in images.txt",
        r"'\u202e\ud800.jpg'": "listed in test/filenames.pickle, but not in images.txt",
    }
    (birds / "train" / "filenames.pickle").write_bytes(pickle.dumps(NAMES, 2))
    message = f"test/filenames.pickle: {NAMES[0]} is in train/filenames.pickle too; it should be in one of them"
    assert message in fault_of(birds)


def test_nothing_outside_the_root_is_read(birds: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    Image.new("RGB", (9, 9)).save(away / "secret.jpg")
    (away / "secret.txt").write_text("a secret")
    images, texts = birds / "CUB_200_2011" / "images", birds / "text"
    for name, ending in ((NAMES[0], ".txt"), (NAMES[1], ".jpg"), (NAMES[2], ".txt"), (NAMES[3], ".jpg")):
        path = (texts if ending == ".txt" else images) / f"{name}{ending}"
        path.rename(path.with_name(f"kept{ending}"))
        path.symlink_to(away / f"secret{ending}" if name in NAMES[:2] else f"kept{ending}")
    for number, kind in ((2, texts), (3, images)):  # whole classes
        folder = kind / Path(NAMES[2 * number]).parent
        folder.rename(away / folder.name)
        folder.symlink_to(away / folder.name)
    inner = texts / Path(NAMES[8]).parent
    inner.rename(birds / "elsewhere")
    inner.symlink_to(birds / "elsewhere")  # a link that stays inside is fine
    out = "is a symbolic link out of the folder"
    text = [Path(name).name + ".txt" for name in NAMES]
    assert reasons(birds) == {
        f"{NAMES[0]}.jpg": f"captions: {text[0]} {out}",
        f"{NAMES[1]}.jpg": f"listed in images.txt, but CUB_200_2011/images/{NAMES[1]}.jpg {out}",
        f"{NAMES[4]}.jpg": f"captions: {text[4]} {out}",
        f"{NAMES[5]}.jpg": f"captions: {text[5]} {out}",
        f"{NAMES[6]}.jpg": f"listed in images.txt, but CUB_200_2011/images/{NAMES[6]}.jpg {out}",
        f"{NAMES[7]}.jpg": f"listed in images.txt, but CUB_200_2011/images/{NAMES[7]}.jpg {out}",
    }


@pytest.mark.parametrize(
    "name",
    [
        "text",
        "CUB_200_2011/images",
        "CUB_200_2011/images.txt",
        "CUB_200_2011/bounding_boxes.txt",
        "CUB_200_2011/image_class_labels.txt",
        "testclasses.txt",
        "test/filenames.pickle",
    ],
)
def test_files_and_folders_that_are_links_out_of_the_root(birds: Path, tmp_path: Path, name: str) -> None:
    if name.startswith("test/"):
        filenames(birds, NAMES[:3])
    (birds / "testclasses.txt").write_text("002.Bird_2\n")
    (birds / name).rename(tmp_path / "outside")
    (birds / name).symlink_to(tmp_path / "outside")
    assert f"{name}: is a symbolic link that leads out of" in fault_of(birds)


def test_files_that_are_not_what_they_should_be(birds: Path) -> None:
    for file in ("images", "bounding_boxes", "image_class_labels"):
        path = birds / "CUB_200_2011" / f"{file}.txt"
        whole = path.read_text()
        path.write_bytes(whole.encode() + b"\xff")
        assert f"{file}.txt: byte {len(whole)} is not UTF-8; save the file as UTF-8 text" in fault_of(birds)
        path.write_text("1 \0")
        assert f"{file}.txt: line 1 holds a NUL" in fault_of(birds)
        path.write_text("\n")
        assert f"{file}.txt: is empty; its lines should be like 1 " in fault_of(birds)
        with path.open("w") as hole:
            hole.write("1 ")
            hole.truncate(100_000_000)
        assert f"{file}.txt: line 1 is longer than 1,048,576 bytes" in fault_of(birds)
        path.unlink()
        assert f"missing:\n  CUB_200_2011/{file}.txt: from CUB_200_2011.tgz" in fault_of(birds)
        path.mkdir()
        assert f"missing:\n  CUB_200_2011/{file}.txt: from CUB_200_2011.tgz" in fault_of(birds)
        path.rmdir()
        path.write_text(whole)
    (birds / "testclasses.txt").write_bytes(b"\xff")
    assert "testclasses.txt: byte 0 is not UTF-8" in fault_of(birds)
    (birds / "testclasses.txt").write_text("\u202e" * 1_000)
    assert "is no class of CUB" in fault_of(birds)
    (birds / "text").rename(birds / "texts")
    (birds / "text").write_text("")
    assert "missing:\n  text: from AttnGAN's birds.zip" in fault_of(birds)


def test_captions_and_pictures_that_are_no_files(birds: Path) -> None:
    paths = [birds / "text" / f"{name}.txt" for name in NAMES]
    for path in (*paths[:4], birds / "CUB_200_2011" / "images" / f"{NAMES[4]}.jpg"):
        path.unlink()
    paths[0].mkdir()
    os.mkfifo(paths[1])
    paths[2].symlink_to(paths[2].name)
    paths[3].write_bytes(b"x" * (TEXT_LIMIT + 1))
    (birds / "CUB_200_2011" / "images" / f"{NAMES[4]}.jpg").mkdir()
    paths[5].write_text("\u202ea \x1b[2J bird\n" + "long " * 100_000, encoding="utf-8")
    assert reasons(birds) == {
        f"{NAMES[0]}.jpg": f"captions: {paths[0].name} is a folder",
        f"{NAMES[1]}.jpg": f"captions: {paths[1].name} is a pipe, a socket or a device",
        f"{NAMES[2]}.jpg": f"captions: {paths[2].name} is a symbolic link that leads nowhere",
        f"{NAMES[3]}.jpg": f"captions: {paths[3].name} is 1,048,577 bytes long; the captions of a picture may take "
        "1,048,576",
        f"{NAMES[4]}.jpg": f"listed in images.txt, but CUB_200_2011/images/{NAMES[4]}.jpg is a folder",
    }


ODD = [
    "a\x1b[2J.jpg",
    "\u202egpj.jpg",
    "x" * 5_000,
    "..",
    ".",
    "...",
    "/etc/passwd",
    "C:a.jpg",
    "a\\..\\b",
    "~",
    "a\u2028",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ODD) | st.text(max_size=9), min_size=1, max_size=4))
def test_any_names(birds: Path, names: list[str]) -> None:
    folder = birds / "CUB_200_2011"
    rows = {"images": names, "bounding_boxes": ["1 1 9 9"] * len(names), "image_class_labels": ["1"] * len(names)}
    for file, values in rows.items():
        text = "".join(f"{number} {value}\n" for number, value in enumerate(values, start=1))
        (folder / f"{file}.txt").write_text(text, encoding="utf-8")
    try:
        assert read(Config(), birds, 0).splits == {"train": [], "test": []}
    except DataError:
        fault_of(birds)
    else:
        reasons(birds)


def test_shards_hold_the_bird_its_class_and_no_vectors(birds: Path, tmp_path: Path) -> None:
    recipe = load_data_recipe("cub", ["images.size=32"])
    prepare(recipe, birds, tmp_path / "out", Options(workers=1))
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
    prepare(recipe, shared / "data" / "cub-mini", tmp_path / "out", Options(workers=2))
    folder = ShardFolder(tmp_path / "out", "test")
    shard, row = folder.locate(0)
    with Image.open(io.BytesIO(shard.image_bytes(row))) as picture:
        assert min(picture.size) == 304
    assert sorted(set(shard.classes.tolist())) == [1, 4]
