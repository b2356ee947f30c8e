"""Localized Narratives over COCO and over Open Images: the true layout, what can be wrong in it, and hostile lines."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t2icli.data import narratives
from t2icli.data.narratives import parts, read_narratives
from t2icli.data.readers import ln_coco, ln_openimages
from t2icli.data.readers.ln_openimages import Pictures, id_of, list_images, number_of, read_images
from t2icli.data.source import Source
from t2icli.errors import DataError

COCO_TRAIN = [f"coco_train_localized_narratives-0000{part}-of-00004.jsonl" for part in range(4)]
OPEN_TRAIN = [f"open_images_train_v6_localized_narratives-0000{part}-of-00010.jsonl" for part in range(10)]
OPEN_VAL = "open_images_validation_localized_narratives.jsonl"
HOSTILE = ["../../outside", "/etc/passwd", "1\n2", "1\0", "\u202e1", "", "-1", "1" * 13, "١٢", "9" * 100_000]
IDS = ["0123456789abcdef", "f" * 16, "8000000000000000", "0" * 16]

fixed_folder = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def line(image_id: Any, caption: Any) -> dict[str, Any]:
    """A narrative as published, with what is not read."""
    return {
        "dataset_id": "mscoco_train2017",
        "image_id": image_id,
        "annotator_id": 93,
        "caption": caption,
        "timed_caption": [{"caption": "In this", "start_time": 0.0, "end_time": 0.4}],
        "traces": [[{"x": 0.2086, "y": -0.0533, "t": 0.022}]],
        "voice_recording": "coco_train/coco_train_0000000391895_93.ogg",
    }


def write(path: Path, *lines: dict[str, Any] | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{entry if isinstance(entry, str) else json.dumps(entry)}\n" for entry in lines)
    path.write_text(text, encoding="utf-8")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not looked into by a reader")


def make_coco(root: Path) -> Path:
    """Five pairs to train on, of four images, and one to validate."""
    for number in (9, 25, 391895, 7):
        picture(root / "train2017" / f"{number:012d}.jpg")
    picture(root / "val2017" / "000000000139.jpg")
    write(root / COCO_TRAIN[0], line("391895", "A man on a motorcycle."), line("9", "Food in boxes."))
    write(root / COCO_TRAIN[1], line("25", "Two giraffes."))
    write(root / COCO_TRAIN[2], line("391895", "Mountains behind a man."))
    write(root / COCO_TRAIN[3], line("7", " A room. "))
    write(root / "coco_val_localized_narratives.jsonl", line("139", "A living room."))
    return root


def make_open(root: Path) -> Path:
    """Images in folders of any depth: three to train on, one of them described twice, and one to validate."""
    picture(root / "train_a" / f"{IDS[0]}.jpg")
    picture(root / "deep" / "er" / f"{IDS[1]}.jpg")
    picture(root / f"{IDS[2]}.jpg")
    picture(root / "validation" / f"{IDS[3]}.jpg")
    picture(root / "train_a" / "readme.jpg")
    for part, name in enumerate(OPEN_TRAIN):
        write(root / "annotations" / name, line(f"{part:016x}", "Nobody has this image."))
    write(root / "annotations" / OPEN_TRAIN[0], line(IDS[0], "A dog."), line(IDS[1], "A cat."), line(IDS[2], "A bus."))
    write(root / "annotations" / OPEN_TRAIN[9], line(IDS[0], "A dog again."), line("9" * 16, "Nobody has this image."))
    write(root / "annotations" / OPEN_VAL, line(IDS[3], "A tree."))
    return root


def pairs(source: Source) -> dict[str, list[tuple[int, str]]]:
    return {split: [(r.id, *r.captions) for r in records] for split, records in source.splits.items()}


def read_coco(root: Path) -> Source:
    return ln_coco.read(ln_coco.Config(), root, 0)


def read_open(root: Path, **config: Any) -> Source:
    return ln_openimages.read(ln_openimages.Config(**config), root, 0)


# ---------------------------------------------------------------------------- lines


def test_published_names() -> None:
    assert list(parts("coco_train_localized_narratives", 4)) == COCO_TRAIN
    assert list(ln_openimages.NARRATIVES["train"]) == OPEN_TRAIN


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@fixed_folder
@given(
    entries=st.lists(st.tuples(st.dictionaries(st.text(), json_values, max_size=5), st.text(), st.text()), min_size=1),
    ascii_only=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_any_object_with_text_comes_back(
    tmp_path: Path, entries: list[tuple[dict[str, Any], str, str]], ascii_only: bool, ending: str
) -> None:
    lines = [{**more, "image_id": image, "caption": caption} for more, image, caption in entries]
    text = ending.join(json.dumps(entry, ensure_ascii=ascii_only) for entry in lines)
    (tmp_path / "a.jsonl").write_bytes(text.encode())
    found = [(narrative.image_id, narrative.caption) for narrative in read_narratives(tmp_path, "a.jsonl")]
    assert found == [(image, caption) for _, image, caption in entries]


@fixed_folder
@given(
    content=st.binary(max_size=300) | st.text(alphabet='{}[]":,\\u0 \n"image_idcaption', max_size=300).map(str.encode)
)
def test_bytes_of_any_kind_are_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    try:
        list(read_narratives(tmp_path, "a.jsonl"))
    except DataError as fault:
        assert f"{tmp_path / 'a.jsonl'}: " in str(fault)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"image_id": "9", "capt', "line: Invalid JSON: EOF.*was the download cut short"),
        (json.dumps({"image_id": "9"}), "caption: Field required; should be like"),
        (json.dumps({"caption": "a"}), "image_id: Field required"),
        (json.dumps(line(9, "a")), "image_id: Input should be a valid string"),
        (json.dumps(line("9", ["a"])), "caption: Input should be a valid string"),
        ("[]", "line: Input should be an object"),
        ("[" * 100_000, "line: Invalid JSON: recursion limit"),
        (r'{"image_id": "9", "caption": "\ud800"}', "line: Invalid JSON: .*hex escape"),
    ],
)
def test_broken_lines_are_errors_with_file_and_line(tmp_path: Path, bad: str, message: str) -> None:
    root = make_coco(tmp_path)
    write(root / COCO_TRAIN[2], line("9", "Fine."), "", bad)
    with pytest.raises(DataError, match=rf"{COCO_TRAIN[2]}: line 3: {message}"):
        read_coco(root)


def test_bytes_that_are_no_utf8_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"image_id": "9", "caption": "\xff"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl: byte 30 is not UTF-8; save the file as UTF-8 text"):
        list(read_narratives(tmp_path, "a.jsonl"))


def test_a_line_too_long_is_refused_before_it_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n" + b"x" * 40_000_000)
    monkeypatch.setattr(narratives, "LONGEST_LINE", 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"a\.jsonl: line 2 is longer than 1,000,000 bytes; .*line ends lost"):
            list(read_narratives(tmp_path, "a.jsonl"))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_of_a_line_is_100_megabytes() -> None:
    assert narratives.LONGEST_LINE == 100_000_000


def test_one_line_is_in_memory_at_a_time(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", *[line("9", "x" * 100_000)] * 200)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_narratives(tmp_path, "a.jsonl")) == 200
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # of 20 MB
    finally:
        tracemalloc.stop()


def test_files_without_narratives_and_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"a\.jsonl: holds no narrative; get it again from https://"):
        list(read_narratives(tmp_path, "a.jsonl"))
    with pytest.raises(DataError, match=r"holds no b\.jsonl; get it from https://.*/b\.jsonl"):
        list(read_narratives(tmp_path, "b.jsonl"))


def test_files_of_narratives_that_are_links_out_of_the_root(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "root")
    (root / COCO_TRAIN[1]).rename(tmp_path / "outside.jsonl")
    (root / COCO_TRAIN[1]).symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(DataError, match=f"{COCO_TRAIN[1]}: is a symbolic link that leads out of"):
        read_coco(root)


# ---------------------------------------------------------------------------- over COCO


def test_every_narrative_over_coco_is_a_pair_in_the_order_of_the_files(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    source = read_coco(root)
    assert pairs(source) == {
        "train": [
            (391895, "A man on a motorcycle."),
            (9, "Food in boxes."),
            (25, "Two giraffes."),
            (391895, "Mountains behind a man."),
            (7, " A room. "),
        ],
        "val": [(139, "A living room.")],
    }
    assert source.splits["train"][0].path == root / "train2017" / "000000391895.jpg"
    assert source.dataset == "ln-coco"
    assert source.published == {"train": 134_272, "val": 8_573}
    assert source.left_out == []


def test_narratives_without_an_image_are_left_out_one_by_one(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    (root / "train2017" / "000000391895.jpg").unlink()
    source = read_coco(root)
    assert len(source.splits["train"]) == 3
    assert [(entry["image"], entry["what"], entry["reason"]) for entry in source.left_out] == [
        ("000000391895.jpg", "image", f"listed in {file}, but there is no train2017/000000391895.jpg")
        for file in (COCO_TRAIN[0], COCO_TRAIN[2])
    ]


def test_what_is_missing_over_coco_is_named_file_by_file(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_coco(tmp_path)
    for part in ["train2017", "val2017", *COCO_TRAIN, "coco_val_localized_narratives.jsonl"]:
        assert f"\n  {part}: from http" in str(caught.value)
    assert "https://google.github.io/localized-narratives/" in str(caught.value)
    assert "https://cocodataset.org/#download" in str(caught.value)
    root = make_coco(tmp_path / "root")
    (root / COCO_TRAIN[3]).unlink()
    with pytest.raises(DataError, match=rf"missing:\n  {COCO_TRAIN[3]}: from .*{COCO_TRAIN[3]}\nimages are"):
        read_coco(root)
    with pytest.raises(DataError, match="--root DIR"):
        ln_coco.read(ln_coco.Config(), None, 0)


def test_a_folder_of_coco_that_is_a_link_out_of_the_root(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "root")
    (root / "val2017").rename(tmp_path / "val2017")
    (root / "val2017").symlink_to(tmp_path / "val2017")
    with pytest.raises(DataError, match="val2017: is a symbolic link that leads out of"):
        read_coco(root)


@fixed_folder
@given(
    image=st.text() | st.sampled_from(HOSTILE),
    caption=st.text(st.characters(exclude_categories=()), max_size=50)
    | st.sampled_from(["\u202eabc", "a\0b", "x" * 100_000, "\x1b[2J"]),
)
def test_hostile_lines_over_coco_neither_crash_nor_leave_the_root(tmp_path: Path, image: str, caption: str) -> None:
    root = make_coco(tmp_path / "root")
    write(root / COCO_TRAIN[1], line(image, caption))
    stay_inside(lambda: read_coco(root), root)


def stay_inside(read: Any, root: Path) -> None:
    """What is read lies in the root, what is not is told in lines that can be written as UTF-8, or all is refused."""
    try:
        source = read()
    except DataError as fault:
        assert len(str(fault)) < 2_000
        return
    for records in source.splits.values():
        assert all(record.path.resolve().is_relative_to(root.resolve()) for record in records)
        assert all(-(2**63) <= record.id < 2**63 for record in records)
    for entry in source.left_out:
        assert len(json.dumps(entry, ensure_ascii=False).encode()) < 2_000
        assert all(value.isprintable() for value in entry.values())


# ---------------------------------------------------------------------------- over Open Images


@given(number=st.integers(0, 2**64 - 1))
def test_ids_become_numbers_and_come_back(number: int) -> None:
    text = f"{number:016x}"
    assert id_of(number_of(text)) == text
    assert number_of(text) % 2**64 == number
    assert -(2**63) <= number_of(text) < 2**63


def test_images_are_found_in_any_folder(tmp_path: Path) -> None:
    root = make_open(tmp_path)
    source = read_open(root)
    assert pairs(source) == {
        "train": [
            (0x0123456789ABCDEF, "A dog."),
            (0x0123456789ABCDEF, "A dog again."),
            (-1, "A cat."),
            (-(2**63), "A bus."),
        ],
        "val": [(0, "A tree.")],
    }
    assert source.splits["train"][2].path == root / "deep" / "er" / f"{IDS[1]}.jpg"
    assert source.dataset == "ln-openimages"
    assert source.published == {"train": 507_444, "val": 41_691}


def test_images_that_one_does_not_have_are_listed_and_no_fault(tmp_path: Path) -> None:
    source = read_open(make_open(tmp_path))
    assert [entry["image"] for entry in source.left_out] == [f"{part:016x}" for part in range(1, 9)] + ["9" * 16]
    assert {entry["what"] for entry in source.left_out} == {"absent"}
    assert "there is no image of that name below the root" in source.left_out[0]["reason"]


def test_splits_can_be_chosen(tmp_path: Path) -> None:
    root = make_open(tmp_path)
    for name in OPEN_TRAIN:
        (root / "annotations" / name).unlink()
    write(root / "open_images_test_localized_narratives.jsonl", line(IDS[0], "A test."))
    source = read_open(root, splits=("val", "test", "val"))
    assert pairs(source) == {"val": [(0, "A tree.")], "test": [(0x0123456789ABCDEF, "A test.")]}
    assert source.published == {"val": 41_691, "test": 126_020}


def test_what_is_missing_over_open_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_open(tmp_path)
    for name in [*OPEN_TRAIN, OPEN_VAL]:
        assert f"\n  {name}: from https://" in str(caught.value)
    root = make_open(tmp_path / "root")
    for path in root.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match=r"no image of Open Images lies below it; they are called like .*\.jpg"):
        read_open(root)
    picture(root / "7777777777777777.jpg")
    with pytest.raises(DataError, match="1 images of Open Images, and no narrative is about any of them; .*train, val"):
        read_open(root)
    with pytest.raises(DataError, match="no such folder"):
        read_open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="--root DIR"):
        ln_openimages.read(ln_openimages.Config(), None, 0)


def test_links_out_of_the_root_are_no_images(tmp_path: Path) -> None:
    root = make_open(tmp_path / "root")
    there = root / "train_a" / f"{IDS[0]}.jpg"
    there.rename(tmp_path / "outside.jpg")
    there.symlink_to(tmp_path / "outside.jpg")
    (tmp_path / "folder").mkdir()
    picture(tmp_path / "folder" / "0000000000000001.jpg")
    (root / "linked").symlink_to(tmp_path / "folder")
    with pytest.raises(DataError, match="linked: is a symbolic link to a folder outside of"):
        read_open(root)
    (root / "linked").unlink()
    source = read_open(root)
    assert 1 not in [record.id for record in source.splits["train"]]
    refused = [entry for entry in source.left_out if entry["what"] == "image"]
    assert [(entry["image"], entry["reason"]) for entry in refused] == [
        (IDS[0], "is a symbolic link that leads out of the root")
    ]
    picture(root / "z" / f"{IDS[0]}.jpg")  # the same image, and this time a file
    assert read_open(root).splits["train"][0].path == root / "z" / f"{IDS[0]}.jpg"


def test_of_an_image_in_two_folders_the_first_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_open(tmp_path)
    for folder in ("b", "a/z", "c"):
        picture(root / folder / f"{IDS[3]}.jpg")
    assert read_open(root).splits["val"][0].path == root / "a" / "z" / f"{IDS[3]}.jpg"
    assert "3 images lie in more than one folder" in " ".join(capsys.readouterr().err.split())


def test_a_number_is_kept_of_an_image_and_no_path(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number:016x}.jpg").touch()
    tracemalloc.start()
    try:
        pictures = Pictures(tmp_path)
        assert tracemalloc.get_traced_memory()[0] / 2_000 < 120
    finally:
        tracemalloc.stop()
    assert pictures.path(7) == tmp_path / "0000000000000007.jpg"


@fixed_folder
@given(image=st.text() | st.sampled_from(HOSTILE) | st.sampled_from(IDS), caption=st.text(max_size=50))
def test_hostile_lines_over_open_images_neither_crash_nor_leave_the_root(
    tmp_path: Path, image: str, caption: str
) -> None:
    root = make_open(tmp_path / "root")
    write(root / "annotations" / OPEN_TRAIN[4], line(image, caption))
    stay_inside(lambda: read_open(root), root)


# ---------------------------------------------------------------------------- the list of images


def test_the_list_of_images_gives_the_same_pairs_again(tmp_path: Path) -> None:
    root = make_open(tmp_path / "root")
    first = read_open(root)
    (tmp_path / "images.txt").write_text(list_images(first))
    assert list_images(first) == (f"{IDS[0]}\ttrain\n{IDS[1]}\ttrain\n{IDS[2]}\ttrain\n{IDS[3]}\tval\n")
    picture(root / "0000000000000001.jpg")  # one more image, which the list does not know
    again = read_open(root, images=tmp_path / "images.txt")
    assert again.splits == first.splits
    assert again.left_out == []
    assert list_images(again) == list_images(first)


def test_an_image_with_narratives_in_two_splits_is_listed_with_each(tmp_path: Path) -> None:
    root = make_open(tmp_path / "root")
    write(root / "annotations" / OPEN_VAL, line(IDS[3], "A tree."), line(IDS[1], "A cat asleep."))
    first = read_open(root)
    write(tmp_path / "images.txt", list_images(first))
    assert list_images(first).endswith(f"{IDS[2]}\ttrain\n{IDS[3]}\tval\n{IDS[1]}\tval\n")
    again = read_open(root, images=tmp_path / "images.txt")
    assert again.splits == first.splits
    assert list_images(again) == list_images(first)
    write(root / "list.txt", f"{IDS[1]} val", f"{IDS[0]} train")
    assert pairs(read_open(root, images=Path("list.txt"))) == {
        "train": [(0x0123456789ABCDEF, "A dog."), (0x0123456789ABCDEF, "A dog again.")],
        "val": [(-1, "A cat asleep.")],
    }
    write(root / "list.txt", IDS[1])  # without a split: all of them
    assert pairs(read_open(root, images=Path("list.txt"))) == {
        "train": [(-1, "A cat.")],
        "val": [(-1, "A cat asleep.")],
    }
    write(root / "list.txt", f"{IDS[0]} train", f"{IDS[0]} val")
    with pytest.raises(DataError, match=f"1 of its 2 images are missing: {IDS[0]} has no narrative in val"):
        read_open(root, images=Path("list.txt"))


@fixed_folder
@given(told=st.dictionaries(st.sampled_from(IDS), st.sets(st.sampled_from(["train", "val"])), min_size=1))
def test_every_list_that_is_written_is_accepted(tmp_path: Path, told: dict[str, set[str]]) -> None:
    root = make_open(tmp_path / "root")
    for split, name in (("train", OPEN_TRAIN[9]), ("val", OPEN_VAL)):
        lines = [line(image, f"Of {split}.") for image, splits in told.items() if split in splits]
        write(root / "annotations" / name, line("9" * 16, "Nobody has this image."), *lines)
    first = read_open(root)
    (tmp_path / "images.txt").write_text(list_images(first))
    again = read_open(root, images=tmp_path / "images.txt")
    assert again.splits == first.splits and list_images(again) == list_images(first)


@fixed_folder
@given(
    chosen=st.permutations(range(4)).flatmap(lambda order: st.integers(1, 4).map(lambda count: order[:count])),
    named=st.booleans(),
)
def test_only_the_listed_images_are_taken_in_their_order(tmp_path: Path, chosen: list[int], named: bool) -> None:
    root = make_open(tmp_path / "root")
    splits = ["train", "train", "train", "val"]
    text = "\n".join(f"{IDS[place]} {splits[place] if named else ''}" for place in chosen)
    (root / "list.txt").write_text(text)
    source = read_open(root, images=Path("list.txt"))
    for split in ("train", "val"):
        taken = list(dict.fromkeys(id_of(record.id) for record in source.splits[split]))
        assert taken == [IDS[place] for place in chosen if splits[place] == split]


def test_every_missing_image_of_the_list_is_an_error(tmp_path: Path) -> None:
    root = make_open(tmp_path / "root")
    absent = [f"{part:016x}" for part in range(1, 5)]
    write(root / "list.txt", IDS[0], *absent)
    with pytest.raises(DataError) as caught:
        read_open(root, images=Path("list.txt"))
    assert "list.txt: 4 of its 5 images are missing: " in str(caught.value)
    assert f"{absent[0]} has no file; {absent[1]} has no file; {absent[2]} has no file; ...; put" in str(caught.value)
    write(root / "list.txt", f"{IDS[0]} train", f"{IDS[3]} train")
    with pytest.raises(DataError, match=f"1 of its 2 .*: {IDS[3]} has no narrative in train; put them below"):
        read_open(root, images=Path("list.txt"))
    picture(root / "7777777777777777.jpg")
    write(root / "list.txt", "7777777777777777")
    with pytest.raises(DataError, match="7777777777777777 has no narrative in the splits that are read"):
        read_open(root, images=Path("list.txt"))
    (root / "8888888888888888.jpg").symlink_to(tmp_path / "outside.jpg")
    write(root / "list.txt", "8888888888888888")
    with pytest.raises(DataError, match="8888888888888888 is a symbolic link that leads out of the root"):
        read_open(root, images=Path("list.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0123\n", "line 1 is 0123; should be 16 hexadecimal digits"),
        (f"{IDS[0]}\n\n{IDS[1]} dev\n", f"line 3 is {IDS[1]} dev; should be"),
        (f"{IDS[0]} train val\n", "line 1 is .*or nothing"),
        ("../../../etc/passwd\n", "line 1 is"),
        (f"{IDS[0]}\n{IDS[1]}\n{IDS[0]} val\n", f"line 3: {IDS[0]} is listed before"),
        (f"{IDS[0]} val\n{IDS[0]} train\n{IDS[0]}\n", f"line 3: {IDS[0]} is listed before"),
        (f"{IDS[0]} val\n{IDS[0]} train\n{IDS[0]} val\n", f"line 3: {IDS[0]} is listed before; every id .* splits"),
        ("\n", "lists no images"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=rf"list\.txt: {message}"):
        read_images(tmp_path / "list.txt")


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt: reader\.images cannot be read: No such file"):
        read_open(make_open(tmp_path), images=Path("gone.txt"))


@given(content=st.binary(max_size=200))
@fixed_folder
def test_lists_of_any_bytes_are_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_images(tmp_path / "list.txt")
    assert "list.txt: " in str(caught.value) and len(str(caught.value)) < 1_000


# ---------------------------------------------------------------------------- real photographs and captions


@pytest.mark.shared
def test_real_captions_as_narratives(shared: Path, tmp_path: Path) -> None:
    """Real photographs and sentences in the layout of COCO 2017, which has the same ids."""
    from t2icli.data.readers import coco

    real = coco.read(coco.Config(), shared / "data" / "coco-mini", 0)
    for split, records in real.splits.items():
        folder = tmp_path / f"{split}2017"
        folder.mkdir()
        for record in records:
            (folder / f"{record.id:012d}.jpg").write_bytes(record.path.read_bytes())
        lines = [line(str(record.id), caption) for record in records for caption in record.captions]
        files = ln_coco.NARRATIVES[split]
        for part, name in enumerate(files):
            share = -(-len(lines) // len(files))
            write(tmp_path / name, *lines[part * share : (part + 1) * share])
    source = read_coco(tmp_path)
    for split, records in real.splits.items():
        expected = [(record.id, caption) for record in records for caption in record.captions]
        assert pairs(source)[split] == expected
    assert source.left_out == []
