"""The drawn data set: the same from the same seed, in COCO's layout, and what its captions say is what is there."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from killed import killed_at_every_step
from PIL import Image
from pycocotools.coco import COCO

from t2icli.data.readers import scenes as reader
from t2icli.data.scenes import CATEGORIES, COLOURS, PLACES, compose, describe, draw, one_scene, understand
from t2icli.errors import DataError


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw(tmp_path / name, 32, 6, 3, seed)
    assert files(tmp_path / "a") == files(tmp_path / "b") != files(tmp_path / "c")
    card = tmp_path / "a" / "scenes.json"
    card.write_text(card.read_text().replace('"complete": true', '"complete": false'))
    next((tmp_path / "a" / "train2014").iterdir()).unlink()
    draw(tmp_path / "a", 32, 6, 3, 0)  # what a kill left is finished
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_killed_at_any_step_the_same_command_goes_on(tmp_path: Path) -> None:
    draw(tmp_path / "whole", 32, 1, 1, 0)
    for folder in killed_at_every_step(lambda folder: draw(folder / "raw", 32, 1, 1, 0), tmp_path / "kills"):
        draw(folder / "raw", 32, 1, 1, 0)
        left = files(folder / "raw")
        assert {name: left[name] for name in left if ".tmp" not in name and ".part" not in name} == files(
            tmp_path / "whole"
        )


def test_remains_of_older_versions_and_other_data(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()  # version 0.1 made it before its card, and was killed or out of space
    (tmp_path / "annotations" / ".captions_train2014.json.0123.tmp").write_text("")
    draw(tmp_path, 32, 2, 1, 0)
    for damage in (b"", b"[", b"\xff", b"[" * 9000):
        (tmp_path / "scenes.json").write_bytes(damage)
        draw(tmp_path, 32, 2, 1, 0)
        assert json.loads((tmp_path / "scenes.json").read_text())["complete"]
    (tmp_path / "scenes.json").unlink()
    with pytest.raises(DataError, match="holds annotations but no scenes.json, so another data set lies there"):
        draw(tmp_path, 32, 2, 1, 0)


def test_the_world_is_as_wide_as_promised() -> None:
    assert len(CATEGORIES) >= 16
    assert len(COLOURS) == 8
    assert len(PLACES) == 6
    content = understand("a red bus on a street")
    assert content.place == "street"
    assert list(content.objects) == [("bus", "red")]


def test_pycocotools_reads_it_and_boxes_lie_inside(tmp_path: Path) -> None:
    draw(tmp_path, 64, 10, 2, 0)
    with contextlib.redirect_stdout(io.StringIO()):
        captions = COCO(str(tmp_path / "annotations" / "captions_train2014.json"))
        instances = COCO(str(tmp_path / "annotations" / "instances_train2014.json"))
    assert len(captions.imgs) == 10
    for number, image in captions.imgs.items():
        texts = [annotation["caption"] for annotation in captions.imgToAnns[number]]
        assert len(set(texts)) == len(texts) == 5
        with Image.open(tmp_path / "train2014" / image["file_name"]) as picture:
            assert picture.size == (64, 64)
        for annotation in instances.imgToAnns[number]:
            x, y, w, h = annotation["bbox"]
            assert 0 <= x < x + w <= 64
            assert 0 <= y < y + h <= 64
            assert instances.cats[annotation["category_id"]]["name"] in CATEGORIES


@pytest.mark.parametrize("seed", range(3))
def test_captions_say_what_is_there(seed: int) -> None:
    random = np.random.default_rng(seed)
    said_place = said_colour = total = 0
    for place in PLACES:
        for colour in COLOURS:
            category = str(random.choice(list(CATEGORIES)))
            for caption in describe(one_scene(place, category, colour, random), random):
                content = understand(caption)
                total += 1
                assert content.place in (place, None), caption
                assert {c for c, _ in content.objects} <= {category}, caption
                assert {c for _, c in content.objects} <= {colour, None}, caption
                said_place += content.place == place
                said_colour += (category, colour) in content.objects
    assert said_place / total > 0.8
    assert said_colour / total > 0.8


def test_several_objects_are_told_apart() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        scene = compose(random, 3)
        truth = {(thing.category, thing.colour) for thing in scene.things}
        for caption in describe(scene, random):
            for category, colour in understand(caption).objects:
                assert colour is None or (category, colour) in truth, caption


def test_the_reader_draws_what_is_missing(tmp_path: Path) -> None:
    config = reader.Config(size=32, train=4, val=2)
    source = reader.read(config, tmp_path / "raw", 0)
    assert source.dataset == "scenes"
    assert {split: len(records) for split, records in source.splits.items()} == {"train": 4, "val": 2}
    before = files(tmp_path / "raw")
    reader.read(config, tmp_path / "raw", 0)
    assert files(tmp_path / "raw") == before
    reader.read(reader.Config(size=32, train=5, val=2), tmp_path / "raw", 0)
    assert json.loads((tmp_path / "raw" / "scenes.json").read_text())["train"] == 5
