"""The layout of COCO, whole and not whole, split by COCO and by Karpathy."""

import json
import os
from collections.abc import Callable
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


def test_ids_that_repeat_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")
    change(root, "captions_val2014.json", lambda c: c["annotations"][3].update(id=c["annotations"][1]["id"]))
    with pytest.raises(DataError, match=r"captions_val2014\.json: annotations: 1 ids .* more than once, first 111"):
        read(Config(), root, 0)
    root = make(tmp_path / "again")
    change(root, "instances_train2014.json", lambda c: c["annotations"].append(c["annotations"][1]))
    with pytest.raises(DataError, match=r"instances_train2014\.json: annotations: .* first 2; .*files joined"):
        read(Config(), root, 0)
    root = make(tmp_path / "images")
    change(root, "captions_train2014.json", lambda c: c["images"].append(c["images"][0]))
    with pytest.raises(DataError, match=r"captions_train2014\.json: images: 1 ids .* first 1;"):
        read(Config(), root, 0)


@pytest.mark.parametrize("number", ["1", None, 1.5, True, 2**63, [1]])
def test_ids_that_are_no_numbers_are_refused(tmp_path: Path, number) -> None:
    root = make(tmp_path / "coco")
    change(root, "captions_train2014.json", lambda c: c["images"][0].update(id=number))
    with pytest.raises(DataError, match="images: the id .* should be a whole number of at most 64 bits"):
        read(Config(), root, 0)


def test_json_that_is_nested_without_end(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")
    (root / "annotations" / "captions_train2014.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match=r"captions_train2014\.json: not valid JSON"):
        read(Config(), root, 0)


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")
    names = sorted((root / "train2014").iterdir())
    names[0].rename(tmp_path / "outside.jpg")
    names[0].symlink_to(tmp_path / "outside.jpg")
    names[1].rename(root / "elsewhere.jpg")
    names[1].symlink_to("../elsewhere.jpg")  # inside of the root: that is fine
    (root / "train2014" / "circle.jpg").symlink_to("circle.jpg")
    source = read(Config(), root, 0)
    assert [record.id for record in source.splits["train"]] == [2]
    assert source.left_out == [
        {
            "split": "train",
            "image": names[0].name,
            "what": "image",
            "reason": "is a symbolic link that leads out of the root",
        }
    ]


@pytest.mark.parametrize("name", ["val2014", "annotations/captions_val2014.json", "annotations/instances_val2014.json"])
def test_folders_and_files_that_are_links_out_of_the_root(tmp_path: Path, name: str) -> None:
    root = make(tmp_path / "coco")
    (root / name).rename(tmp_path / "outside")
    (root / name).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=f"{name}: is a symbolic link that leads out of .*give --root the folder"):
        read(Config(), root, 0)


def test_a_root_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    make(tmp_path / "coco")
    (tmp_path / "link").symlink_to(tmp_path / "coco")
    source = read(Config(), tmp_path / "link", 0)
    assert [len(records) for records in source.splits.values()] == [2, 2]


def test_published_counts(tmp_path: Path) -> None:
    assert read(Config(), make(tmp_path / "coco"), 0).published == {"train": 413_915, "val": 202_520}


@pytest.mark.parametrize(
    "box",
    [
        [float("nan"), 1, 1, 1],
        [1, float("inf"), 1, 1],
        [10**400, 1, 1, 1],
        [1, 1, -(10**400), 1],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [1, 2, 3, "4"],
        [1, 2, 3, None],
        "1234",
        {"x": 1},
        None,
    ],
)
def test_boxes_that_are_none(tmp_path: Path, box) -> None:
    root = make(tmp_path / "coco")
    change(root, "instances_val2014.json", lambda c: c["annotations"][1].update(bbox=box))
    with pytest.raises(DataError, match=r"instances_val2014\.json: the bbox .* should be x, y, width and height in"):
        read(Config(), root, 0)


def test_captions_of_images_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")

    def spoil(content: dict) -> None:
        content["annotations"][1]["image_id"] = 77
        content["annotations"][3]["image_id"] = "\u202e2\n"
        content["annotations"].append({"id": 1, "image_id": 77, "caption": "lost"})

    change(root, "captions_train2014.json", spoil)
    source = read(Config(), root, 0)
    assert [record.captions for record in source.splits["train"]] == [("caption 0",), ("caption 0",)]
    reason = "caption of an image_id that is not among the images of captions_train2014.json"
    assert source.left_out == [
        {"split": "train", "image": image, "what": "caption", "reason": reason}
        for image in ("77", "77", r"'\u202e2\n'")
    ]


def not_there(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def utf16(path: Path) -> None:
    path.write_text(path.read_text(), encoding="utf-16")


@pytest.mark.parametrize("harm", [not_there, empty, a_folder, a_pipe, utf16])
@pytest.mark.parametrize("name", ["captions_train2014.json", "instances_val2014.json"])
def test_harmed_files_end_in_a_message(tmp_path: Path, name: str, harm: Callable[[Path], None]) -> None:
    root = make(tmp_path / "coco")
    harm(root / "annotations" / name)
    if name.startswith("instances") and harm in (not_there, a_folder, a_pipe):
        assert read(Config(), root, 0).splits["val"][0].boxes == ()  # boxes are optional
        return
    with pytest.raises(DataError, match=name):
        read(Config(), root, 0)


@pytest.mark.parametrize("harm", [not_there, a_folder, a_pipe])
def test_harmed_pictures_are_left_out(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    root = make(tmp_path / "coco")
    harm(root / "val2014" / "COCO_val2014_000000000011.jpg")
    source = read(Config(), root, 0)
    assert [record.id for record in source.splits["val"]] == [12]
    assert [line["image"] for line in source.left_out] == ["COCO_val2014_000000000011.jpg"]


def test_hostile_text_is_told_in_lines_that_can_be_written(tmp_path: Path) -> None:
    root = make(tmp_path / "coco")
    names = ["\u202egpj.jpg", "a\x1b[2J.jpg", "\ud800.jpg", "x" * 100_000 + ".jpg", "/".join("x" * 3000) + ".jpg"]

    def spoil(content: dict) -> None:
        content["images"] = [{"id": number, "file_name": name} for number, name in enumerate(names, start=100)]
        content["images"].append({"id": 1, "file_name": "\u202ehere.jpg"})
        content["annotations"][0]["caption"] = ["\ud800" * 100_000]
        content["annotations"][1]["caption"] = "\u202ea\0b\x1b[2J" + "c" * 1_000_000

    change(root, "captions_train2014.json", spoil)
    Image.new("RGB", (20, 10)).save(root / "train2014" / "\u202ehere.jpg")
    source = read(Config(), root, 0)
    assert [record.id for record in source.splits["train"]] == [1]
    assert len(source.left_out) == len(names) + 1 + 2  # the captions of image 2, too, which is not listed any more
    for line in source.left_out:
        assert len(json.dumps(line, ensure_ascii=False).encode()) < 1_000
        assert all(value.isprintable() for value in line.values())


@pytest.mark.parametrize("name", [5, None, "\ud800", "a\nb"])
def test_categories_that_are_no_names(tmp_path: Path, name) -> None:
    root = make(tmp_path / "coco")
    change(root, "instances_val2014.json", lambda c: c["categories"][0].update(name=name))
    with pytest.raises(DataError, match=r"instances_val2014\.json: the category .* should be a name"):
        read(Config(), root, 0)


# ---------------------------------------------------------------------------- Karpathy's split


def karpathy_entry(split: str, folder: str, number: int) -> dict:
    """An image as dataset_coco.json has it."""
    sentence = {"tokens": ["a", "bus"], "raw": f"A bus {number}.", "imgid": 0, "sentid": number}
    return {
        "filepath": folder,
        "sentids": [number],
        "filename": f"COCO_{folder}_{number:012d}.jpg",
        "imgid": 0,
        "split": split,
        "sentences": [sentence, {**sentence, "raw": f"Bus {number}"}],
        "cocoid": number,
    }


def make_karpathy(root: Path) -> Path:
    """The same four pictures, split otherwise: two to train on, one of them from val2014."""
    make(root)
    images = [
        karpathy_entry("restval", "val2014", 11),
        karpathy_entry("val", "val2014", 12),
        karpathy_entry("train", "train2014", 1),
        karpathy_entry("test", "train2014", 2),
    ]
    (root / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    for split in ("train", "val"):
        (root / "annotations" / f"captions_{split}2014.json").unlink()  # captions are in Karpathy's own file
    return root


def change_karpathy(root: Path, edit) -> None:
    content = json.loads((root / "dataset_coco.json").read_text())
    edit(content["images"])
    (root / "dataset_coco.json").write_text(json.dumps(content))


KARPATHY = Config(split="karpathy")


def test_karpathys_split(tmp_path: Path) -> None:
    root = make_karpathy(tmp_path / "coco")
    source = read(KARPATHY, root, 0)
    assert {split: [r.id for r in records] for split, records in source.splits.items()} == {
        "train": [1, 11],
        "val": [12],
        "test": [2],
    }
    second = source.splits["train"][1]
    assert second.captions == ("A bus 11.", "Bus 11")
    assert second.path == root / "val2014" / "COCO_val2014_000000000011.jpg"
    assert [box.category for box in second.boxes] == ["bus"]  # of instances_val2014.json
    assert source.published == {"train": 566_435, "val": 25_000, "test": 25_000}
    assert source.left_out == []


def test_karpathys_file_may_lie_anywhere(tmp_path: Path) -> None:
    root = make_karpathy(tmp_path / "coco")
    (root / "dataset_coco.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match=r"missing:\n  dataset_coco\.json: from https://.*caption_datasets\.zip"):
        read(KARPATHY, root, 0)
    source = read(Config(split="karpathy", karpathy=tmp_path / "elsewhere.json"), root, 0)
    assert len(source.splits["train"]) == 2


def test_what_karpathys_file_lists_and_is_not_there_is_left_out(tmp_path: Path) -> None:
    root = make_karpathy(tmp_path / "coco")

    def spoil(images: list) -> None:
        images[0]["filename"] = "../annotations/instances_val2014.json"
        images[1]["filename"] = "gone.jpg"
        images[2]["sentences"][0]["raw"] = " "

    change_karpathy(root, spoil)
    source = read(KARPATHY, root, 0)
    assert source.splits["val"] == [] and source.splits["train"][0].captions == ("Bus 1",)
    assert [(line["split"], line["what"], line["reason"]) for line in source.left_out] == [
        ("train", "caption", "caption is empty"),
        ("train", "image", "the file name is not a path inside the image folder"),
        ("val", "image", "listed in dataset_coco.json, but there is no val2014/gone.jpg"),
    ]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda images: images[1].update(split="dev"), r"images\.1\.split: .*'restval'"),
        (lambda images: images[2].update(filepath="/etc"), r"images\.2\.filepath: .*'train2014' or 'val2014'"),
        (lambda images: images[0].pop("cocoid"), r"images\.0\.cocoid: Field required; is it dataset_coco\.json"),
        (lambda images: images[0].update(cocoid=2**63), r"images\.0\.cocoid: "),
        (lambda images: images[3]["sentences"][1].update(raw=None), r"images\.3\.sentences\.1\.raw: .*valid string"),
        (lambda images: images[3].update(cocoid=1), r"images\.3: the cocoid 1 is given twice"),
        (lambda images: images.clear(), r"not Karpathy's file of COCO; it should be like"),
    ],
)
def test_files_that_are_not_karpathys(tmp_path: Path, edit, message: str) -> None:
    root = make_karpathy(tmp_path / "coco")
    change_karpathy(root, edit)
    with pytest.raises(DataError, match=rf"dataset_coco\.json: {message}"):
        read(KARPATHY, root, 0)
