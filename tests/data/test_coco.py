"""COCO's layout, whole and not whole."""

import json
from pathlib import Path

import pytest
from PIL import Image

from t2icli.data.readers.coco import Config, read
from t2icli.errors import DataError


def make(root: Path, instances: bool = True) -> Path:
    """Two pictures a split."""
    (root / "annotations").mkdir(parents=True)
    for first, split in ((1, "train"), (11, "val")):
        (root / f"{split}2014").mkdir()
        images, captions, boxes = [], [], []
        for number in (first, first + 1):
            name = f"COCO_{split}2014_{number:012d}.jpg"
            Image.new("RGB", (20, 10), "blue").save(root / f"{split}2014" / name)
            images.append({"id": number, "file_name": name, "height": 10, "width": 20})
            captions += [{"id": 10 * number + i, "image_id": number, "caption": f"caption {i}"} for i in range(2)]
            boxes.append({"id": number, "image_id": number, "category_id": 6, "bbox": [1, 2, 3, 4], "area": 12})
        (root / "annotations" / f"captions_{split}2014.json").write_text(
            json.dumps({"images": images, "annotations": captions})
        )
        if instances:
            categories = [{"id": 6, "name": "bus"}]
            (root / "annotations" / f"instances_{split}2014.json").write_text(
                json.dumps({"images": images, "annotations": boxes, "categories": categories})
            )
    return root


def change(root: Path, name: str, edit) -> None:
    path = root / "annotations" / name
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_pictures_captions_and_boxes(tmp_path: Path, capfd) -> None:
    source = read(Config(), make(tmp_path / "coco"), 0)
    assert {split: [r.id for r in records] for split, records in source.splits.items()} == {
        "train": [1, 2],
        "val": [11, 12],
    }
    first = source.splits["train"][0]
    assert first.captions == ("caption 0", "caption 1")
    assert [(b.category, b.x, b.y, b.w, b.h) for b in first.boxes] == [("bus", 1, 2, 3, 4)]
    assert source.categories == ("bus",)
    assert source.left_out == []
    assert capfd.readouterr().out == ""  # pycocotools talks, and stdout is data


def test_boxes_are_optional(tmp_path: Path) -> None:
    source = read(Config(), make(tmp_path / "coco", instances=False), 0)
    assert source.splits["val"][0].boxes == ()


def test_missing_files_are_named_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(Config(), tmp_path, 0)
    message = str(caught.value)
    for part in ("train2014: from train2014.zip", "val2014: from val2014.zip", "cocodataset.org/#download"):
        assert part in message
    assert "annotations/captions_val2014.json: from annotations_trainval2014.zip" in message
    with pytest.raises(DataError, match="--root DIR"):
        read(Config(), None, 0)


def test_what_cannot_be_used_is_left_out_with_a_reason(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")

    def spoil(content: dict) -> None:
        content["images"][0]["file_name"] = "../../etc/passwd"
        content["images"][1]["file_name"] = "gone.jpg"
        content["images"].append({"id": 3, "file_name": 5})

    change(root, "captions_train2014.json", spoil)
    change(root, "captions_val2014.json", lambda c: c["annotations"][0].update(caption=" "))
    change(root, "captions_val2014.json", lambda c: c["annotations"][1].update(caption=None))
    source = read(Config(), root, 0)
    assert source.splits["train"] == []
    assert source.splits["val"][0].captions == ()
    reasons = " | ".join(line["reason"] for line in source.left_out)
    assert "not a path inside the image folder" in reasons
    assert "there is no train2014/gone.jpg" in reasons
    assert "caption is empty" in reasons
    assert "caption is null, not text" in reasons


def test_files_that_are_not_cocos(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")
    path = root / "annotations" / "captions_train2014.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match="not valid JSON .*cut short"):
        read(Config(), root, 0)
    path.write_text('{"images": []}')
    with pytest.raises(DataError, match=r"captions_train2014\.json"):
        read(Config(), root, 0)


@pytest.mark.shared
def test_real_photographs(shared: Path) -> None:
    source = read(Config(), shared / "data" / "coco-mini", 0)
    assert {split: len(records) for split, records in source.splits.items()} == {"train": 60, "val": 150}
    assert all(len(record.captions) >= 5 for records in source.splits.values() for record in records)
    assert sum(bool(record.boxes) for records in source.splits.values() for record in records) == 169
