"""Caption lists: official pickles and our files, damaged ones, and what is built against the official lists."""

import json
import pickle
from collections import Counter
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from t2icli.errors import DataError, UserError
from t2icli.evaluation.soa.caption_lists import Entry, plan, read_captions, read_images, read_lists, write_lists
from t2icli.evaluation.soa.labels import LABELS

# As Python 2 wrote it: protocol 0, byte strings, a long integer.
OLD_PICKLE = (
    b"(lp0\n(dp1\nS'image_id'\np2\nI542079\nsS'id'\np3\nL225849L\nsS'idx'\np4\n(lp5\nI7\naI2\nasS'caption'\np6\n"
    b"VA bus at a caf\xe9.\np7\nsa."
)


def coco(path: Path, rows: list[tuple[int, int, str]]) -> Path:
    annotations = [{"image_id": image, "id": number, "caption": text} for image, number, text in rows]
    path.write_text(json.dumps({"annotations": annotations}), encoding="utf-8")
    return path


def own(folder: Path, label: int, rows: list[list[Any]], name: str = "") -> Path:
    path = folder / (name or f"label_{label:02}_any.json")
    table = {"label": label, "file": "made", "columns": ["image_id", "caption_id", "caption"], "rows": rows}
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def test_official_pickles(tmp_path: Path) -> None:
    (tmp_path / "label_05_bus.pkl").write_bytes(OLD_PICKLE)
    (tmp_path / "label_16_dog.pkl").write_bytes(b"(lp0\n.")
    assert read_lists(tmp_path) == {5: [Entry(542079, 225849, "A bus at a café.")], 16: []}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = [(9, 31, "a dog by a bus on a road"), (4, 12, 'a "dog" sign \u2028 and a dog here'), (4, 11, "A Bus here")]
    written = write_lists(coco(tmp_path / "captions.json", rows), tmp_path / "lists" / "new")
    lists = read_lists(tmp_path / "lists" / "new")
    assert list(lists) == list(range(80))
    assert lists[5] == [Entry(4, 11, "A Bus here"), Entry(9, 31, rows[0][2])]
    assert lists[16] == [Entry(4, 12, rows[1][2]), Entry(9, 31, rows[0][2])]
    assert {label: count for label, count in written.captions.items() if count} == {5: 2, 16: 2}
    assert {label: count for label, count in written.images.items() if count} == {5: 2, 16: 2}
    assert (written.all_images, written.left_out, written.absent) == (2, 0, 0)
    assert json.loads((tmp_path / "lists/new/label_05_bus.json").read_text(encoding="utf-8"))["rows"][0][0] == 4


@pytest.mark.parametrize("as_pickle", [False, True])
def test_a_list_of_images_says_which_and_in_what_order(tmp_path: Path, as_pickle: bool) -> None:
    captions = coco(tmp_path / "c.json", [(1, 1, "a bus on"), (2, 2, "a bus on"), (3, 3, "a bus on")])
    names = ["COCO_val2014_000000000003", "COCO_val2014_000000000001.jpg", "77"]
    images = tmp_path / ("names.pickle" if as_pickle else "names.txt")
    images.write_bytes(pickle.dumps(names, 0) if as_pickle else "\n".join(names).encode())
    written = write_lists(captions, tmp_path / "lists", images)
    assert [entry.image_id for entry in read_lists(tmp_path / "lists")[5]] == [3, 1]
    assert (written.all_images, written.left_out, written.absent) == (3, 1, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_captions_a_line(tmp_path: Path, count: int) -> None:
    lines = [{"dataset_id": "val", "image_id": str(100 + n), "caption": f"a bus \u2028 on {n}."} for n in range(count)]
    path = tmp_path / "narratives.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")
    assert read_captions(path) == [Entry(100 + n, n, f"a bus \u2028 on {n}.") for n in range(count)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_captions_and_images_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    """And the space at a caption's end, which alone makes it one of a bus, is still there."""
    rows = [{"image_id": 7, "id": 1, "caption": "a café bus "}, {"image_id": 8, "id": 2, "caption": "a café bus"}]
    for name, text in (("c.json", json.dumps({"annotations": rows})), ("c.jsonl", "\r\n".join(map(json.dumps, rows)))):
        (tmp_path / name).write_bytes(text.encode(encoding))
        (tmp_path / "images.txt").write_bytes("8\r\n7\r\n".encode(encoding))
        write_lists(tmp_path / name, tmp_path / "lists", tmp_path / "images.txt")
        assert read_lists(tmp_path / "lists")[5] == [Entry(7, 1, "a café bus ")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"not valid JSON"),
        ("[]", r"holds no captions"),
        ('{"annotations": []}', r"holds no captions"),
        ('{"annotations": {}}', r"not a file of captions; expected annotations with image_id, id and caption"),
        ("3", r"not a file of captions"),
        ('{"annotations": [{"image_id": "1f", "caption": "x"}]}', r"caption 1 is damaged: .*whole number"),
        ('{"annotations": [{"image_id": 1, "caption": null}]}', r"caption 1 is damaged"),
        ('{"annotations": [{"image_id": 1.5, "caption": "a"}]}', r"caption 1 is damaged: .*whole number"),
        ('{"annotations": [{"image_id": true, "caption": "a"}]}', r"caption 1 is damaged"),
        ('{"image_id": 1, "caption": "a"}\n{"image_id": NaN, "caption": "a"}', r"not valid JSON .NaN is no number"),
        ("[" * 100_000, r"not valid JSON .it is nested too deeply"),
        ("version https://git-lfs.github.com/spec/v1\n", r"should be text: it is a Git LFS pointer"),
        ('{"annotations": [{"image_id": 1, "caption": "a"}, 4]}', r"caption 2 is damaged: 4; expected image_id"),
    ],
)
def test_captions_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "captions.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        write_lists(path, tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


def test_captions_that_are_absent(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"captions\.json: no such file; expected captions as COCO's"):
        write_lists(tmp_path / "captions.json", tmp_path / "lists")
    with pytest.raises(UserError, match=r"captions\.json: is a file, and no folder can be made there"):
        write_lists(coco(tmp_path / "captions.json", [(1, 1, "a")]), tmp_path / "captions.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"holds no list of images"),
        (b"\xff\xfe", r"holds no list of images; expected their names or ids, one a line"),
        (b"7\n\xe9", r"images\.txt: byte 2 is not UTF-8; save the file as UTF-8 text"),
        (b"COCO_val2014_000000000001\nbus\n", r"'bus' does not end in an image's number"),
        (b"7\n0007.jpg\n", r"lists image 7 more than once"),
    ],
)
def test_lists_of_images_that_are_none(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "images.txt"
    with pytest.raises(DataError, match="no such file"):
        read_images(path)
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_images(path)


def test_folders_without_lists(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"holds no caption lists; expected label_00_person to label_79_toothbrush"):
            read_lists(folder)


def test_a_label_twice(tmp_path: Path) -> None:
    own(tmp_path, 5, [], "label_05_bus.json")
    (tmp_path / "label_05_bus.pkl").write_bytes(OLD_PICKLE)
    with pytest.raises(DataError, match=r"label 5 comes twice: label_05_bus\.json and label_05_bus\.pkl; keep one"):
        read_lists(tmp_path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, r"damaged; expected a list of tables with image_id, id, caption"),
        ([[7, 2]], r"damaged; expected a list of tables"),
        ([{"image_id": 3, "id": 4}], r"row 1 is damaged: \[3, 4, None\]; expected two whole numbers and a caption"),
    ],
)
def test_damaged_pickles(tmp_path: Path, value: object, message: str) -> None:
    (tmp_path / "label_05_bus.pkl").write_bytes(pickle.dumps(value, 0))
    with pytest.raises(DataError, match=message):
        read_lists(tmp_path)


def test_pickles_that_would_run_code_and_unnamed_ones(tmp_path: Path) -> None:
    path = tmp_path / "label_05_bus.pkl"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"refused: asks for os\.system"):
        read_lists(tmp_path)
    path.rename(tmp_path / "label_bus.pkl")
    with pytest.raises(DataError, match=r"its name does not say a label; expected e\.g\. label_05_bus\.pkl"):
        read_lists(tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    path = own(tmp_path, 5, [[1, 2, "a bus "], [1, "2", "a bus "]])
    with pytest.raises(DataError, match=r"row 2 is damaged: \[1, '2', 'a bus '\]"):
        read_lists(tmp_path)
    own(tmp_path, 5, [[1]])
    with pytest.raises(DataError, match=r"label_05_any\.json: damaged .*; expected a JSON object with label, columns"):
        read_lists(tmp_path)
    path.write_text('{"label": 5, "rows"', encoding="utf-8")
    with pytest.raises(DataError, match=r"damaged .*JSONDecodeError"):
        read_lists(tmp_path)
    own(tmp_path, 80, [], "label_05_any.json")
    with pytest.raises(DataError, match=r"label 80 does not exist; the labels are 0 to 79"):
        read_lists(tmp_path)


def test_plan_of_lists_of_the_official_sizes() -> None:
    lists = {label.id: [Entry(row, row, "") for row in range(label.captions)] for label in LABELS}
    wanted = plan(lists, seed=3)
    assert len(wanted) == 420_372
    assert Counter(label for label, _ in wanted) == {label.id: label.images_to_generate for label in LABELS}
    persons = [entry.image_id for label, entry in wanted if label == 0]
    assert len(set(persons)) == 30_000 and persons == sorted(persons)
    assert abs(sum(persons) / 30_000 - 61_585 / 2) < 300  # three standard errors of a uniform draw
    assert Counter(Counter(entry for label, entry in wanted if label == 78).values()) == {3: 35}
    assert plan(lists, seed=3) == wanted and plan(lists, seed=4) != wanted


def test_plan_of_small_lists() -> None:
    lists = {0: [Entry(1, 1, "man "), Entry(2, 2, "men ")], 5: [Entry(3, 3, "bus ")]}
    assert plan(lists, images_per_caption=2) == [(0, lists[0][0]), (0, lists[0][1]), (5, lists[5][0]), (5, lists[5][0])]
    assert [label for label, _ in plan(lists, person_captions=1)] == [0, 5, 5, 5]
    assert plan({0: []}) == []


@pytest.fixture(scope="module")
def official(shared: Path) -> dict[int, list[Entry]]:
    """Twelve of the authors' lists."""
    return read_lists(shared / "data" / "soa")


def merged(lists: dict[int, list[Entry]]) -> list[int]:
    """Images in an order that all lists agree with."""
    before: dict[int, set[int]] = {}
    for entries in lists.values():
        images = list(dict.fromkeys(entry.image_id for entry in entries))
        before.setdefault(images[0], set())
        for first, second in pairwise(images):
            before.setdefault(second, set()).add(first)
    return list(TopologicalSorter(before).static_order())


@pytest.mark.shared
def test_official_lists_come_out_row_for_row(shared: Path, official: dict[int, list[Entry]], tmp_path: Path) -> None:
    """Given the order of AttnGAN's images, and COCO's own caption ids, which the captions at hand have for a part."""
    theirs: dict[tuple[int, str], set[int]] = {}
    for entries in official.values():
        for e in entries:
            theirs.setdefault((e.image_id, e.caption), set()).add(e.caption_id)
    found = read_captions(shared / "data" / "coco-captions" / "captions_val2014.json")
    assert sum(e.caption_id in theirs.get((e.image_id, e.caption), ()) for e in found) > 3000
    order = merged(official)
    kept = set(order)
    rows = []
    for e in found:
        if e.image_id in kept:  # an image may have the same caption twice
            numbers = theirs.get((e.image_id, e.caption), set()) - {number for _, number, _ in rows[-7:]}
            rows.append((e.image_id, min(numbers, default=e.caption_id), e.caption))
    (tmp_path / "images.txt").write_text("\n".join(map(str, order)), encoding="utf-8")
    write_lists(coco(tmp_path / "captions.json", rows), tmp_path / "lists", tmp_path / "images.txt")
    made = read_lists(tmp_path / "lists")
    for label, entries in official.items():
        assert made[label] == entries, LABELS[label].name


@pytest.mark.slow
@pytest.mark.shared
def test_what_differs_without_the_list_of_images(
    shared: Path, official: dict[int, list[Entry]], tmp_path: Path
) -> None:
    """All 40,504 images give the official captions and those of images that AttnGAN's list lacks, 34 at most."""
    written = write_lists(shared / "data" / "coco-captions" / "captions_val2014.json", tmp_path)
    made = read_lists(tmp_path)
    more, images = {}, set()
    for label, entries in official.items():
        theirs = Counter((e.image_id, e.caption) for e in entries)
        ours = Counter((e.image_id, e.caption) for e in made[label])
        assert not theirs - ours, LABELS[label].name
        more[label] = (ours - theirs).total()
        images |= {image for image, _ in ours - theirs}
    assert {label: count for label, count in more.items() if count} == {11: 2, 16: 1, 46: 4, 52: 1, 60: 6, 74: 5}
    assert not images & {e.image_id for entries in official.values() for e in entries}
    assert written.all_images == 40_504
    assert sum(written.captions[label.id] - label.captions for label in LABELS[1:]) == 117
    assert written.captions[0] - LABELS[0].captions == 49
    assert all(0 <= written.images[label.id] - label.images <= 34 for label in LABELS)
