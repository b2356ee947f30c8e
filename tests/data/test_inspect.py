"""``t2i data inspect``: counts known in advance, duplicates that were put there, odd captions."""

import errno
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_shards import IDENTITY, pictures, write_shards
from typer.testing import CliRunner

from t2icli.cli.data import app
from t2icli.data import inspect_shards
from t2icli.data.inspect_shards import average_hash, groups, in_words, inspect, lengths, printable
from t2icli.data.manifest import ShardEntry
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.data.source import Box
from t2icli.errors import DataError, UserError
from t2icli.storage import sha256

runner = CliRunner()
ODD = ["une étoile", "赤いバスが走る", "‮ backwards \n\r\x00 and lines", "🦜" * 60, "x" * 400]


def encoded(picture, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(out, kind, **options)
    return out.getvalue()


def write_folder(folder: Path, splits: dict[str, list[tuple[StoredImage, list[str]]]], report=None) -> Path:
    """A shard a split; every caption has as many tokens as it has words, and two."""
    folder.mkdir()
    entries = []
    for split, rows in splits.items():
        captions = [
            StoredCaption(row, text, np.arange(n, dtype=np.int32), np.zeros((n, 4), np.float16))
            for row, (_, texts) in enumerate(rows)
            for text in texts
            for n in [len(text.split()) + 2]
        ]
        path = folder / f"{split}-00000-of-00001.h5"
        attributes = {"split": split} if report is None else {"split": split, "report": json.dumps(report)}
        write_shard(path, ShardContent([image for image, _ in rows], captions, 4, ("bus", "dog")), attributes)
        tokens = sum(len(caption.tokens) for caption in captions)
        counts = (len(rows), len(captions), tokens, path.stat().st_size)
        entries.append(asdict(ShardEntry(path.name, split, *counts, sha256(path))))
    recipe = {"images": {"size": 32, "fit": "squash"}, "text": {"pad_sum": False, "embeddings": "stored"}}
    manifest = {"schema": 2, "dataset": "made-up", "shards": entries, "text": asdict(IDENTITY), "recipe": recipe}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Two splits: one picture in both, one in train again with another quality, one without a caption."""
    many = pictures(6)
    box = Box("bus", 0, 0, 5, 5)

    def image(number: int, data: bytes, class_index: int = -1, boxes: tuple[Box, ...] = ()) -> StoredImage:
        return StoredImage(number, data, 32, 32, class_index, boxes)

    train = [
        (image(10, encoded(many[0]), 0, (box, box)), ["a red bus", "a bus"]),
        (image(11, encoded(many[1], "JPEG", quality=95), 0), ["a dog on the grass by a dog"]),
        (image(12, encoded(many[1], "JPEG", quality=85), 1, (box,)), ["A dog!"]),
        (image(13, encoded(many[2]), 0), []),
    ]
    val = [
        (image(20, encoded(many[3])), ODD),
        (image(21, encoded(many[0])), ["the same bus"]),
        (image(22, encoded(many[4])), ["a sea"]),
    ]
    return write_folder(tmp_path / "known", {"train": train, "val": val}, report={"truncated_captions": 1})


def test_everything_that_was_put_in_is_counted(known: Path) -> None:
    result = inspect(known)
    train, val = result["splits"]["train"], result["splits"]["val"]
    assert (train["images"], train["captions"], train["tokens"]) == (4, 4, 3 + 2 + 8 + 2 + 4 * 2)
    assert train["bytes"] == (known / "train-00000-of-00001.h5").stat().st_size
    assert (train["images_without_captions"], val["images_without_captions"]) == (1, 0)
    assert (train["truncated_captions"], train["truncated_share"]) == (1, 0.25)
    words = train["words_per_caption"]
    assert (words["mean"], words["median"], words["percentile_95"], words["max"]) == (3.75, 2, 8, 8)
    assert train["vocabulary"]["words"] == len({"a", "red", "bus", "dog", "on", "the", "grass", "by"})
    assert train["vocabulary"]["most_frequent"][:3] == [
        {"word": "a", "count": 5},
        {"word": "dog", "count": 3},
        {"word": "bus", "count": 2},
    ]
    assert train["vocabulary"]["once_examples"] == ["by", "grass", "on", "red", "the"]
    assert train["vocabulary"]["once"] == 5
    assert train["classes"] == {
        "classes": 2,
        "images_without_class": 0,
        "min": 1,
        "median": 2.0,
        "max": 3,
        "fewest": [{"class": 1, "images": 1}, {"class": 0, "images": 3}],
    }
    assert train["objects"] == {"boxes": 3, "images_with_boxes": 2, "categories": {"bus": 3, "dog": 0}}
    assert val["classes"] is None and val["objects"] is None
    assert json.loads(json.dumps(result)) == result


def test_duplicates_are_named_and_leaks_come_first(known: Path) -> None:
    found = inspect(known)["duplicates"]
    leak = [{"split": "train", "id": 10}, {"split": "val", "id": 21}]
    assert found["exact"] == {"groups": 1, "images": 2, "groups_across_splits": 1, "listed": [leak]}
    alike = [{"split": "train", "id": 11}, {"split": "train", "id": 12}]
    assert found["near"] == {"groups": 1, "images": 2, "groups_across_splits": 0, "listed": [alike]}
    assert inspect(known, split="train")["duplicates"]["exact"]["groups"] == 0


def test_rows_that_are_equal() -> None:
    rows = np.array([[1, 2], [3, 4], [1, 2], [1, 3], [3, 4], [1, 2], [9, 9]], np.uint64)
    assert sorted(group.tolist() for group in groups(rows)) == [[0, 2, 5], [1, 4]]
    assert groups(rows[:2]) == [] and groups(rows[:0]) == []


def test_the_average_hash_sees_the_picture_and_not_its_size() -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:32] = 200
    assert average_hash(Image.fromarray(half)) == 0xFFFFFFFF00000000
    assert average_hash(Image.fromarray(half[:, ::2])) == 0xFFFFFFFF00000000
    assert average_hash(Image.fromarray(half[::-1].copy())) == 0x00000000FFFFFFFF


def test_lengths_agree_with_numpy() -> None:
    values = np.random.default_rng(0).integers(3, 90, 1001)
    found = lengths({int(v): int((values == v).sum()) for v in values})
    assert found["mean"] == pytest.approx(values.mean())
    assert found["median"] == np.median(values)
    assert found["percentile_95"] == np.quantile(values, 0.95, method="inverted_cdf")
    assert len(found["bins"]) <= 16 and sum(part["captions"] for part in found["bins"]) == 1001
    for part in found["bins"]:
        assert part["captions"] == ((values >= part["from"]) & (values <= part["to"])).sum()
    assert lengths({}) is None


def test_the_contact_sheet_shows_the_pictures(known: Path) -> None:
    inspect(known)
    sheet = np.asarray(Image.open(known / "inspect-train.png").convert("RGB"))
    assert sheet.shape[1] == 6 * 192
    first = np.asarray(Image.open(io.BytesIO(ShardFolder(known, "train").shard(0).image_bytes(0))))
    assert np.array_equal(sheet[80:112, 80:112], first)  # a picture of 32 px in the middle of its 192
    below = sheet[192:252, :192]
    assert (below < 100).any()  # its caption, dark on white
    before = (known / "inspect-train.png").read_bytes()
    inspect(known)
    assert (known / "inspect-train.png").read_bytes() == before


def test_no_character_breaks_a_caption_s_line() -> None:
    assert printable("a\n\x00\u202eb\u200fc\u2028d") == "a   b c d"
    assert printable("赤い étoile 🦜") == "赤い étoile 🦜"


def test_prepared_scenes(tiny_shards: Path, tmp_path: Path) -> None:
    said = runner.invoke(
        app, ["inspect", str(tiny_shards), "--split", "val", "--sheet", str(tmp_path / "s.png"), "--json"]
    )
    assert said.exit_code == 0, said.output
    result = json.loads(said.stdout)
    folder = ShardFolder(tiny_shards, "val")
    val = result["splits"]["val"]
    assert list(result["splits"]) == ["val"] and val["images"] == len(folder) == 12
    assert val["tokens"] == sum(entry.tokens for entry in folder.entries)
    assert val["captions"] == sum(entry.captions for entry in folder.entries)
    assert val["truncated_captions"] is not None
    assert val["sheet"] == str(tmp_path / "s.png") and (tmp_path / "s.png").is_file()
    assert not (tiny_shards / "inspect-val.png").exists()


def test_words_for_people(known: Path, tmp_path: Path) -> None:
    said = runner.invoke(app, ["inspect", str(known)])
    assert said.exit_code == 0, said.output
    for line in (
        "train: 4 images, 4 captions",
        "images without a caption: 1",
        "captions truncated: 1 (25.0%)",
        "words per caption: mean 3.8, median 2, 95 % have no more than 8, max 8",
        f"          2 {'#' * 40} 2 (50.0%)",
        "vocabulary: 8 words, 5 of them occur once",
        "classes: 2, with 1 to 3 images (median 2); fewest: class 1: 1, class 0: 3",
        "objects: 3 boxes in 2 images",
        "exact duplicates (equal bytes): 2 images in 1 groups",
        "1 groups lie in more than one split: a test image is a leak",
        "train 10 = val 21",
        "train 11 = train 12",
        f"contact sheet: {known / 'inspect-val.png'}",
    ):
        assert line in said.stdout, line
    plain = inspect(write_shards(tmp_path / "plain"))
    assert plain["splits"]["val"]["truncated_captions"] is None
    assert "truncated" not in in_words(plain) and "classes" not in in_words(plain)
    same = [(StoredImage(i, encoded(pictures(1)[0]), 32, 32), []) for i in range(30)]
    many = inspect(write_folder(tmp_path / "same", {"train": same}))
    assert "30 images in 1 groups" in in_words(many)
    assert many["splits"]["train"]["words_per_caption"] is None


def test_more_groups_than_are_shown_are_counted(tmp_path: Path) -> None:
    rows = [(StoredImage(i, encoded(pictures(12)[i % 12]), 32, 32), ["a"]) for i in range(24)]
    text = in_words(inspect(write_folder(tmp_path / "twice", {"train": rows})))
    assert "24 images in 12 groups" in text and "and 2 more groups; --json lists 1,000" in text


def test_real_birds(shared: Path, tmp_path: Path) -> None:
    from t2icli.data.prepare import Options, prepare
    from t2icli.recipe_files import load_data_recipe

    settings = ["reader.test_classes=[2, 5]", "text.model=none", "images.size=64"]
    prepare(load_data_recipe("cub", settings), shared / "data" / "cub-mini", tmp_path / "out", Options(workers=1))
    result = inspect(tmp_path / "out")
    assert {name: split["images"] for name, split in result["splits"].items()} == {"train": 219, "test": 104}
    assert result["splits"]["train"]["classes"]["classes"] == 4
    assert result["splits"]["test"]["tokens_per_caption"] is None
    assert result["duplicates"]["exact"]["groups"] == 0


def test_mistakes(known: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"one file for the splits train, val of .*; add --split NAME"):
        inspect(known, sheet=tmp_path / "s.png")
    with pytest.raises(DataError, match="no such folder; make it with 't2i prepare"):
        inspect(tmp_path / "absent")
    with pytest.raises(DataError, match="there is no split 'test'; available: train, val"):
        inspect(known, split="test")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: is a file, and no folder can be made there"):
        inspect(known, split="val", sheet=tmp_path / "file" / "s.png")
    shard = known / "train-00000-of-00001.h5"
    whole = shard.read_bytes()
    picture = ShardFolder(known, "train").shard(0).image_bytes(1)
    shard.write_bytes(whole.replace(picture, picture[:-1] + b"x"))
    with pytest.raises(DataError, match=r"train-00000-of-00001.h5: image 1 \(id 11\): damaged, its crc32"):
        inspect(known)
    shard.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"train-00000-of-00001.h5: has \d+ bytes instead of"):
        inspect(known)
    (known / "manifest.json").unlink()
    with pytest.raises(DataError, match="preparation was not finished; run the same 't2i prepare' again"):
        inspect(known)
    odd = write_folder(tmp_path / "odd", {"val": [(StoredImage(5, b"no picture", 1, 1), ["a"])]})
    with pytest.raises(DataError, match=r"val-00000-of-00001.h5: image 0 \(id 5\): not an image that Pillow knows"):
        inspect(odd)


def test_a_place_for_the_sheet_is_found_before_pictures_are_read(known: Path, tmp_path: Path, monkeypatch) -> None:
    def refused(path: Path, *of: object) -> None:
        raise OSError(errors[0], os.strerror(errors[0]))

    read: list[object] = []
    errors = [errno.EROFS]
    monkeypatch.setattr(inspect_shards, "read_split", lambda *arguments: read.append(arguments))
    monkeypatch.setattr(inspect_shards, "write_picture", refused)
    told = r"inspect-train.png: the contact sheet cannot be written \(Read-only file system\); choose another place"
    with pytest.raises(UserError, match=f"{told} for it, a split at a time: --split train --sheet FILE.png"):
        inspect(known)
    errors[0] = errno.ENOSPC  # which is a mistake of another kind, with its own exit code
    with pytest.raises(OSError, match="No space left"):
        inspect(known)
    with pytest.raises(UserError, match=r"--sheet .*manifest.json: pictures are written as .png, .jpg"):
        inspect(known, split="val", sheet=known / "manifest.json")
    assert not read


def test_help_has_an_example() -> None:
    said = " ".join(runner.invoke(app, ["inspect", "--help"]).output.split())
    assert "Example: t2i data inspect data/coco --split val" in said
