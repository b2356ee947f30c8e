"""manifest.json: what is wrong with a damaged one is said, by everything that reads it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from small_shards import write_shards

from t2icli.data.inspect_shards import inspect
from t2icli.data.manifest import SCHEMA, entries, read_manifest
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
        (("shards",), [], "shards: names none"),
        (("shards",), {}, "shards: should be a list"),
        (("shards", 1), None, r"shards\[1\]: should be a table"),
        (("shards", 1, "sha256"), ABSENT, r"lacks shards\[1\]\.sha256"),
        (("shards", 0, "bytes"), "12", r"shards\[0\]\.bytes: should be a whole number"),
        (("text", "dim"), None, r"text\.dim: should be a whole number"),
        (("recipe", "text", "pad_sum"), ABSENT, r"lacks recipe\.text\.pad_sum"),
        (("recipe",), "coco", "recipe: should be a table"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, where: tuple[str | int, ...], value: object, fault: str) -> None:
    folder = write_shards(tmp_path / "shards")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(changed(manifest, where, value)))
    for reading in (read_manifest, verify, inspect):
        with pytest.raises(DataError, match=f"manifest.json: damaged: {fault}; run the same 't2i prepare' again"):
            reading(folder)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"schema": ' + "1" * 5000 + "}", b"\xff".decode("latin-1")])
def test_no_json_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"manifest.json: damaged, not valid JSON"):
        read_manifest(tmp_path)


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
