"""Folders with WebDataset tars: how they are read, and that prepare stores their pictures as it stores loose ones."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pytest
from small_tars import RED, make_tar

from t2icli.data.prepare import Options, prepare
from t2icli.data.readers.folder import Config, read
from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError
from t2icli.recipe_files import load_data_recipe


def test_a_folder_of_loose_pictures_and_tars(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(RED)
    (tmp_path / "b.txt").write_text("loose")
    make_tar(tmp_path / "deep" / "er" / "c.TAR", [("1.png", RED), ("1.txt", b"one"), ("2.png", RED)])
    make_tar(tmp_path / "a.tar", [("1.png", RED), ("1.txt", b"two\ntwo\n"), ("1.json", b'{"class": 5}')])
    (tmp_path / "unpacked.tar.gz").mkdir()  # a folder may be called what it likes
    source = read(Config(val_share=0.0), tmp_path, 0)
    assert [(r.id, r.name, r.captions, r.class_index, r.part is None) for r in source.splits["train"]] == [
        (1, "a.tar/1.png", ("two",), 5, False),
        (2, "b.png", ("loose",), -1, True),
        (3, "c.TAR/1.png", ("one",), -1, False),
    ]
    assert [(line["image"], line["what"], line["reason"]) for line in source.left_out] == [
        ("a.tar/1.png", "caption", "caption is there twice"),
        ("deep/er/c.TAR/2.png", "image", "has no caption"),
    ]


def test_a_tar_with_nothing_to_use_says_why(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", [("1.png", RED), ("1.txt", b"\xff")])
    with pytest.raises(
        DataError, match=r"0 pictures and 1 tars, and none has a caption.*1\.txt: byte 0 is not UTF-8; save"
    ):
        read(Config(), tmp_path, 0)


def test_adding_tars_moves_no_sample_between_splits(tmp_path: Path) -> None:
    members = [member for i in range(60) for member in ((f"{i}.png", RED), (f"{i}.txt", b"a caption"))]
    make_tar(tmp_path / "b.tar", members)
    before = {r.member for r in read(Config(val_share=0.3), tmp_path, 0).splits["val"]}
    assert 5 < len(before) < 30
    make_tar(tmp_path / "a.tar", members)
    after = read(Config(val_share=0.3), tmp_path, 1).splits["val"]
    assert {r.member for r in after if r.path.name == "b.tar"} == before
    assert {r.member for r in after if r.path.name == "a.tar"} != before  # for each tar has a name of its own


def test_a_tar_must_lie_in_the_folder(tmp_path: Path) -> None:
    outside = make_tar(tmp_path / "outside.tar", [("1.png", RED), ("1.txt", b"one")])
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.tar").symlink_to(outside)
    with pytest.raises(DataError, match=r"a\.tar: is a symbolic link out of the folder; a tar of pictures should lie"):
        read(Config(), root, 0)
    (root / "a.tar").unlink()
    os.mkfifo(root / "a.tar")
    with pytest.raises(DataError, match=r"a\.tar: is a pipe, a socket or a device; a tar of pictures"):
        read(Config(), root, 0)


def test_compressed_tars_are_refused(tmp_path: Path) -> None:
    plain = make_tar(tmp_path / "a.tar", [("1.png", RED), ("1.txt", b"one")]).read_bytes()
    for name, kind, content in (
        ("b.tar.gz", "gzip", gzip.compress(plain)),
        ("c.tgz", "gzip", gzip.compress(plain)),
        ("d.tar", "bzip2", bz2.compress(plain)),
        ("e.tar.xz", "xz", lzma.compress(plain)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            read(Config(), tmp_path, 0)
        assert f"{name}: is compressed ({kind}), so pictures in it cannot be found by their place" in str(caught.value)
        (tmp_path / name).unlink()


# ---------------------------------------------------------------------------- prepared


def prepared(root: Path, out: Path, **options: Any) -> dict[int, tuple[bytes, list[str]]]:
    """Every stored picture and its captions, by the image's number."""
    recipe = load_data_recipe("folder", ["text.model=none", "images.size=64", "reader.val_share=0.3"])
    summary = prepare(recipe, root, out, Options(workers=1, **options))
    found = {}
    for split in summary["counts"]:
        folder = ShardFolder(out, split)
        for number in range(len(folder)):
            shard, row = folder.locate(number)
            captions = [shard.text(caption) for caption in shard.captions(row)]
            found[int(shard.ids[row])] = (bytes(shard.image_bytes(row)), captions)
    return found


def test_real_photographs_are_stored_the_same_from_a_tar(shared: Path, tmp_path: Path) -> None:
    coco = shared / "data" / "coco-mini"
    annotations = json.loads((coco / "annotations" / "captions_val2014.json").read_text())
    captions: dict[int, list[str]] = {}
    for annotation in annotations["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
    loose, members = tmp_path / "loose", []
    loose.mkdir()
    for image in annotations["images"][:12]:
        name, texts = image["file_name"], list(dict.fromkeys(captions[image["id"]]))
        content = (coco / "val2014" / name).read_bytes()
        (loose / name).write_bytes(content)
        (loose / name).with_suffix(".txt").write_text("\n".join(texts))
        described = json.dumps({"captions": texts}) if image["id"] % 2 else "\n".join(texts)
        ending = ".json" if image["id"] % 2 else ".txt"
        members += [(name, content), (str(Path(name).with_suffix(ending)), described.encode())]
    make_tar(tmp_path / "packed" / "val.tar", members)
    from_files = prepared(loose, tmp_path / "out")
    from_tar = prepared(tmp_path / "packed", tmp_path / "out-tar")
    assert len(from_files) == 12
    assert from_tar == from_files
    again = {path.name: path.read_bytes() for path in (tmp_path / "out-tar").glob("*.*")}
    (tmp_path / "out-tar" / "manifest.json").unlink()
    prepared(tmp_path / "packed", tmp_path / "out-tar")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out-tar").glob("*.*")} == again


def test_a_bad_member_is_named_in_the_quarantine(tmp_path: Path) -> None:
    members = [("1.png", RED), ("1.txt", b"one"), ("sub/2.png", b"no picture"), ("sub/2.txt", b"two")]
    make_tar(tmp_path / "raw" / "a.tar", members)
    prepared(tmp_path / "raw", tmp_path / "out", max_bad=0.5)
    (line,) = map(json.loads, (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines())
    assert (line["image"], line["reason"]) == ("a.tar/sub/2.png", "not an image that Pillow knows")


def test_a_picture_that_moves_or_changes_its_size_makes_another_plan(tmp_path: Path) -> None:
    make_tar(tmp_path / "raw" / "a.tar", [("1.png", RED), ("1.txt", b"one")])
    prepared(tmp_path / "raw", tmp_path / "out")
    make_tar(tmp_path / "raw" / "a.tar", [("1.txt", b"one"), ("1.png", RED)])
    prepared(tmp_path / "raw", tmp_path / "out")  # the same picture at another place in its tar
    make_tar(tmp_path / "raw" / "a.tar", [("1.txt", b"one"), ("1.png", RED + b"more")])
    with pytest.raises(DataError, match="raw data: not the same"):
        prepared(tmp_path / "raw", tmp_path / "out")
    make_tar(tmp_path / "raw" / "a.tar", [("2.txt", b"one"), ("2.png", RED)])
    with pytest.raises(DataError, match="raw data: not the same"):
        prepared(tmp_path / "raw", tmp_path / "out")
