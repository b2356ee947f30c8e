"""``t2i data`` as a user meets it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from t2icli.cli.data import app
from t2icli.errors import DataError
from t2icli.evaluation.soa.caption_lists import read_lists

runner = CliRunner()


def captions(path: Path) -> Path:
    rows = [(1, 10, "a bus on a road"), (2, 20, "a dog by a bus on a road"), (2, 21, "two dogs.")]
    annotations = [{"image_id": image, "id": number, "caption": text} for image, number, text in rows]
    path.write_text(json.dumps({"annotations": annotations}), encoding="utf-8")
    return path


def test_a_line_a_label(tmp_path: Path) -> None:
    said = runner.invoke(app, ["soa-captions", str(captions(tmp_path / "c.json")), "--out", str(tmp_path / "lists")])
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert len(lines) == 81
    assert " ".join(lines[5].split()) == "5 bus 2 captions of 2 images (official lists: 4,027 captions)"
    assert lines[-1] == f"3 entries from 2 images with captions, in {tmp_path / 'lists'}"
    assert len(read_lists(tmp_path / "lists")) == 80


def test_one_json_object_and_a_list_of_images(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("COCO_val2014_000000000002\n3\n", encoding="utf-8")
    arguments = ["soa-captions", str(captions(tmp_path / "c.json")), "--out", str(tmp_path / "lists")]
    arguments += ["--images", str(tmp_path / "images.txt")]
    found = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    assert (found["images"], found["images_left_out"], found["images_without_captions"]) == (2, 1, 1)
    assert found["labels"][5] == {
        "label": 5,
        "name": "bus",
        "file": "label_05_bus.json",
        "captions": 1,
        "images": 1,
        "official_captions": 4027,
    }
    lines = runner.invoke(app, arguments).stdout.splitlines()
    assert lines[-1] == "--images left out 1 of these images and lists 1 that have no captions here"


def test_mistakes(tmp_path: Path) -> None:
    absent = runner.invoke(app, ["soa-captions", str(tmp_path / "c.json"), "--out", str(tmp_path)])
    assert isinstance(absent.exception, DataError) and "no such file" in str(absent.exception)
    assert runner.invoke(app, ["soa-captions", str(tmp_path / "c.json")]).exit_code == 2


def test_help_has_an_example() -> None:
    said = " ".join(runner.invoke(app, ["soa-captions", "--help"]).output.split())
    assert "Example: t2i data soa-captions" in said
