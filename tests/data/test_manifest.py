"""manifest.json: what is wrong with a damaged one is said, by everything that reads it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from small_shards import write_shards

from t2icli.data.inspect_shards import inspect
from t2icli.data.manifest import SCHEMA, entries, read_manifest
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.verify import verify
from t2icli.errors import DataError

ABSENT = object()


def changed(manifest: dict[str, Any], where: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A manifest with one value replaced or removed."""
    manifest = copy.deepcopy(manifest)
    inner: Any = manifest
    for key in where[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    return manifest


@pytest.mark.parametrize(
    ("where", "value", "fault"),
    [
        (("shards",), ABSENT, "lacks shards"),
        (("dataset",), ABSENT, "lacks dataset"),
        (("shards",), [], "shards: List should have at least 1 item"),
        (("shards",), {}, "shards: Input should be a valid list"),
        (("shards", 1), None, r"shards\.1: Input should be"),
        (("shards", 1, "sha256"), ABSENT, r"lacks shards\.1\.sha256"),
        (("shards", 0, "bytes"), "12", r"shards\.0\.bytes: Input should be a valid integer"),
        (("shards", 0, "images"), True, r"shards\.0\.images: Input should be a valid integer"),
        (("shards", 0, "images"), -1, r"shards\.0\.images: Input should be greater than or equal to 0"),
        (("shards", 0, "tokens"), 10**30, r"shards\.0\.tokens: "),
        (("shards", 0, "captions"), 10**12, r"shards\.0: Value error, .* counts more than its [\d,]+ bytes can hold"),
        (("shards", 0, "file"), "../val-00000-of-00002.h5", r"shards\.0\.file: "),
        (("shards", 0, "file"), "/tmp/val-00000-of-00002.h5", r"shards\.0\.file: "),
        (("shards", 0, "file"), "deeper/a.h5", r"shards\.0\.file: "),
        (("shards", 0, "file"), "a\0.h5", r"shards\.0\.file: "),
        (("shards", 0, "file"), "..", r"shards\.0\.file: "),
        (("shards", 0, "file"), "manifest.json", r"shards\.0\.file: "),
        (("shards", 0, "file"), "val-00001-of-00002.h5", "shards: val-00001-of-00002.h5 and .* are the same file"),
        (("text", "dim"), None, r"text\.dim: Input should be a valid integer"),
        (("text", "dim"), 10**9, r"text\.dim: "),
        (("recipe", "text", "pad_sum"), ABSENT, r"lacks recipe\.text\.pad_sum"),
        (("recipe", "images", "size"), 10**9, r"recipe\.images\.size: "),
        (("recipe",), "coco", "recipe: Input should be"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, where: tuple[str | int, ...], value: object, fault: str) -> None:
    folder = write_shards(tmp_path / "shards")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(changed(manifest, where, value)))
    for reading in (read_manifest, verify, inspect):
        with pytest.raises(DataError, match=f"manifest.json: damaged: {fault}.*; run the same 't2i prepare' again"):
            reading(folder)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"schema": ' + "1" * 5000 + "}", b"\xff".decode("latin-1")])
def test_no_json_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"manifest.json: (damaged, not valid JSON|should be UTF-8 text)"):
        read_manifest(tmp_path)


def test_links_stay_inside_the_folder(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    first, second = sorted(folder.glob("*.h5"))
    whole = tmp_path / "link"
    whole.symlink_to(folder)
    assert read_manifest(whole)["dataset"] == "scenes"  # the folder itself may lie anywhere
    second.rename(tmp_path / "elsewhere.h5")
    second.symlink_to(tmp_path / "elsewhere.h5")
    with pytest.raises(DataError, match=f"{second.name}: damaged: is a link to .*elsewhere.h5, outside its folder"):
        read_manifest(folder)
    second.unlink()
    second.symlink_to(first)
    with pytest.raises(DataError, match="are the same file"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("where", "value", "fault"),
    [
        (("shards", 0, "images"), 4, "counts 4 images in val-00000-of-00002.h5, which holds 5"),
        (("shards", 0, "captions"), 3, "counts 3 captions in .*, which holds 15"),
        (("shards", 0, "tokens"), 0, "counts 0 tokens in .*, which holds 45"),
        (("text", "dim"), 8, "counts 8 numbers in a word vector in .*, which holds 4"),
    ],
)
def test_counts_that_a_shard_does_not_have(
    tmp_path: Path, where: tuple[str | int, ...], value: int, fault: str
) -> None:
    folder = write_shards(tmp_path / "shards")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(changed(manifest, where, value)))
    with pytest.raises(DataError, match=fault):
        ShardFolder(folder, "val").locate(0)


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}"])
def test_json_of_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=f"schema None, and this t2i reads schema {SCHEMA}; prepare the data again"):
        read_manifest(tmp_path)


def test_keys_of_a_later_version_do_no_harm(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards")
    manifest = read_manifest(folder)
    for where in (("later",), ("text", "later"), ("shards", 0, "later")):
        (folder / "manifest.json").write_text(json.dumps(changed(manifest, where, 1)))
        assert entries(read_manifest(folder)) == entries(manifest)
