"""Every data set that comes from the web, in its true layout, by its own recipe, from raw files to checked shards."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import test_coco
import test_flowers
import test_narratives
from PIL import Image

from t2icli.data.parts import Part
from t2icli.data.prepare import Options
from t2icli.data.report import prepare_and_report
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.verify import verify

Pairs = dict[str, list[tuple[int, list[str]]]]  # split -> pictures by their ids, with their captions


@dataclass(frozen=True)
class Case:
    """How the files are laid out, the recipe, what shards must hold, and what ``prepare`` must print."""

    make: Callable[[Path], Path]
    recipe: str
    pairs: Pairs
    lines: tuple[str, ...]


def two(number: int) -> tuple[int, list[str]]:
    """A picture of COCO's fixture."""
    return number, ["caption 0", "caption 1"]


def karpathys(number: int) -> tuple[int, list[str]]:
    """A picture of the fixture of Karpathy's split."""
    return number, [f"A bus {number}.", f"Bus {number}"]


CASES = {
    "coco": Case(
        test_coco.make,
        "coco",
        {"train": [two(1), two(2)], "val": [two(11), two(12)]},
        ("train: 2 images, 4 captions of 413,915 published", "val: 2 images, 4 captions of 202,520 published"),
    ),
    "coco-karpathy": Case(
        test_coco.make_karpathy,
        "coco-karpathy",
        {"train": [karpathys(1), karpathys(11)], "val": [karpathys(12)], "test": [karpathys(2)]},
        (
            "train: 2 images, 4 captions of 566,435 published",
            "val: 1 images, 2 captions of 25,000 published",
            "test: 1 images, 2 captions of 25,000 published",
        ),
    ),
    "flowers": Case(
        test_flowers.make,
        "flowers",
        {
            "train": [(number, [f"flower {number} has petals {i}" for i in range(10)]) for number in (1, 3, 4, 6)],
            "test": [(number, [f"flower {number} has petals {i}" for i in range(10)]) for number in (2, 5, 8)],
        },
        ("train: 4 images, 40 captions", "test: 3 images, 30 captions"),
    ),
    "ln-coco": Case(
        test_narratives.make_coco,
        "ln-coco",
        {
            "train": [
                (7, [" A room. "]),
                (9, ["Food in boxes."]),
                (25, ["Two giraffes."]),
                (391895, ["A man on a motorcycle."]),
                (391895, ["Mountains behind a man."]),
            ],
            "val": [(139, ["A living room."])],
        },
        ("train: 5 images, 5 captions of 134,272 published", "val: 1 images, 1 captions of 8,573 published"),
    ),
    "ln-openimages": Case(
        test_narratives.make_open,
        "ln-openimages",
        {
            "train": [
                (-(2**63), ["A bus."]),
                (-1, ["A cat."]),
                (0x0123456789ABCDEF, ["A dog again."]),
                (0x0123456789ABCDEF, ["A dog."]),
            ],
            "val": [(0, ["A tree."])],
        },
        (
            "train: 4 images, 4 captions of 507,444 published",
            "val: 1 images, 1 captions of 41,691 published",
            "left out: 0 images, 0 captions, 9 that are not there",
        ),
    ),
}


def pairs_in(shards: Path, splits: Pairs) -> Pairs:
    """What shards hold, sorted; that a picture can be read is seen to as well."""
    found: Pairs = {}
    for split in splits:
        folder = ShardFolder(shards, split)
        for shard, row in map(folder.locate, range(len(folder))):
            assert shard.image_bytes(row)
            texts = [shard.text(number) for number in shard.captions(row)]
            found.setdefault(split, []).append((int(shard.ids[row]), texts))
    return {split: sorted(rows) for split, rows in found.items()}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """One data set after the other."""
    return CASES[request.param]


@pytest.fixture
def made(case: Case, tiny_bert: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Prepare the case's files, which hold small pictures, into a folder of the name given."""
    root = case.make(tmp_path / "root")
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        Image.new("RGB", (20 + number, 14), (20 * number, 90, 60)).save(path)

    def run(name: str, *keys: str, **options: Any) -> dict[str, Any]:
        settings = [f"text.model={tiny_bert}", "images.size=8", "images_per_shard=2", *keys]
        return prepare_and_report(case.recipe, root, tmp_path / name, settings, Options(workers=1, **options))

    return run


def test_from_raw_files_to_checked_shards(case: Case, made, tmp_path: Path, capsys) -> None:
    made("out")
    said = capsys.readouterr().err
    assert all(f"  {line}" in said for line in case.lines)
    assert pairs_in(tmp_path / "out", case.pairs) == case.pairs
    assert verify(tmp_path / "out")["verified"]


def test_by_parts_the_same_bytes(made, tmp_path: Path) -> None:
    made("whole")
    for number in (2, 1):
        made("parts", part=Part(number, 2))
    made("parts", merge=True)
    whole, parts = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != ".lock"}
        for name in ("whole", "parts")
    )
    assert whole.keys() == {name for name in parts if not name.startswith(".")}
    assert all(parts[name] == content for name, content in whole.items())


@pytest.mark.parametrize("case", [CASES["ln-openimages"]])
def test_the_list_of_images_makes_the_same_shards_elsewhere(case: Case, made, tmp_path: Path) -> None:
    made("out")
    assert (tmp_path / "out" / "images.txt").read_text().splitlines() == [
        "0123456789abcdef\ttrain",
        "ffffffffffffffff\ttrain",
        "8000000000000000\ttrain",
        "0000000000000000\tval",
    ]
    made("again", f"reader.images={tmp_path / 'out' / 'images.txt'}")
    assert pairs_in(tmp_path / "again", case.pairs) == case.pairs
