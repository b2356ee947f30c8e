"""What sample writes: names that are new, grids of a sensible shape, folders that are true at every moment."""

import errno
import json
import os
import re
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_up import made_up_text
from PIL import Image
from torch import Tensor

from t2icli import drawing
from t2icli.batch import Text
from t2icli.data.readers.folder import Config
from t2icli.data.readers.folder import read as prepare_folder
from t2icli.drawing import BLOCK, Order, columns_of, refuse_order, refuse_place, sample, sample_to_files, slug
from t2icli.ending import ending
from t2icli.errors import UserError
from t2icli.evaluation.captions_file import read_captions

SIZE = 8


class StandInRun:
    """Draws a picture whose first pixel tells its number and whose second tells its seed, and counts what is alive."""

    def __init__(self, size: int = SIZE) -> None:
        self.folder, self.images, self.weights_sha256 = Path("runs/x"), 16, "abc"
        self.recipe = SimpleNamespace(data=SimpleNamespace(image_size=size), system="made-up")
        self.reader = SimpleNamespace(captions=self.read)
        self.alive: list[weakref.ref[Tensor]] = []
        self.most_alive = 0
        self.stop_at: int | None = None
        self.read_captions: list[str] = []

    def read(self, captions: Sequence[str]) -> Text:
        self.read_captions += captions
        return made_up_text(len(captions))

    def draw(self, text: Text, indices: Sequence[int], seed: int) -> Tensor:
        assert len(text.words) == len(indices) <= BLOCK
        if self.stop_at is not None and indices[-1] >= self.stop_at:
            raise KeyboardInterrupt
        size = self.recipe.data.image_size
        pictures = torch.zeros(len(indices), 3, size, size, dtype=torch.uint8)
        for picture, index in zip(pictures, indices, strict=True):
            picture[:, 0, 0] = torch.tensor([index // 65536, index // 256 % 256, index % 256], dtype=torch.uint8)
            picture[:, 0, 1] = seed % 256
        self.alive = [one for one in self.alive if one() is not None] + [weakref.ref(pictures)]
        self.most_alive = max(self.most_alive, len(self.alive))
        return pictures


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return StandInRun()


def number(picture: Image.Image, x: int = 0, y: int = 0) -> int:
    red, green, blue = np.asarray(picture.convert("RGB"))[y, x].tolist()
    return red * 65536 + green * 256 + blue


# ---------------------------------------------------------------------------- default names

LONG = "a very large red bus stands on a long street beside an old stone house with a"


def test_default_names_carry_caption_and_seed_and_never_overwrite(run: Any) -> None:
    asked = [
        Order(["a red bus"], 1, 0),
        Order(["a red bus"], 1, 1),
        Order(["a red bus"], 2, 0),
        Order(["a red bus"], 1, 0),
        Order([f"{LONG} dog"], 1, 0),
        Order([f"{LONG} cat"], 1, 0),
        Order(["A red bus!"], 1, 0),
    ]
    written = [sample(order, run, None, False) for order in asked]
    assert [path.name for path in written] == [
        "a-red-bus-seed0.png",
        "a-red-bus-seed1.png",
        "a-red-bus-seed0-2.png",
        "a-red-bus-seed0-3.png",
        "a-very-large-red-bus-stands-on-a-long-street-beside-an-old-s-seed0.png",
        "a-very-large-red-bus-stands-on-a-long-street-beside-an-old-s-seed0-2.png",
        "a-red-bus-seed0-4.png",
    ]
    for path, order in zip(written, asked, strict=True):
        with Image.open(path) as found:
            assert found.text["caption"] == order.captions[0]  # type: ignore[attr-defined]
            assert found.text["seed"] == str(order.seed)  # type: ignore[attr-defined]
    folders = [sample(Order(["a red bus"], 1, seed), run, None, True).name for seed in (0, 0, 1)]
    assert folders == ["a-red-bus-seed0", "a-red-bus-seed0-2", "a-red-bus-seed1"]


def test_whatever_has_the_name_stays(run: Any) -> None:
    Path("a-seed0.png").symlink_to("/dev/null")
    Path("a-seed0-2.png").mkdir()
    Path("a-seed0-3.png").symlink_to("nothing")
    assert sample(Order(["a"], 1, 0), run, None, False) == Path("a-seed0-4.png")
    assert Path("a-seed0.png").is_symlink() and not Path("nothing").exists()
    Path("b-seed0").write_text("a file")
    assert sample(Order(["b"], 1, 0), run, None, True) == Path("b-seed0-2")


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("...", "picture"),
        ("../../etc/passwd", "etc-passwd"),
        ("/", "picture"),
        ("-n 5", "n-5"),
        ("NUL", "nul"),
        ("a\0b\nc", "a-b-c"),
        ("🚌🚌", "picture"),
        ("红色的公共汽车", "红色的公共汽车"),
        ("Ein Übergang", "ein-übergang"),
        ("cafe\u0301", "café"),
        ("κόκκινο λεωφορείο", "κόκκινο-λεωφορείο"),
        ("a" * 500, "a" * 60),
        ("ü" * 500, "ü" * 50),
        ("车" * 500, "车" * 33),
        ("𠀀" * 500, "𠀀" * 25),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_slugs(run: Any, caption: str, name: str) -> None:
    assert slug(caption) == name
    for single in (False, True):
        written = sample(Order([caption], 1, 2**63 - 1), run, None, single)
        assert written.parent == Path() and written.exists()
        assert len(os.fsencode(written.name)) < 143  # eCryptfs has the shortest names


# ---------------------------------------------------------------------------- --out FILE


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("deep/er/a.webp", "WEBP")])
def test_out_names_the_file_and_its_format(run: Any, name: str, kind: str) -> None:
    for seed in (3, 4):  # the second replaces the first: the user named it
        assert sample(Order(["a red bus"], 1, seed), run, Path(name), False) == Path(name)
        with Image.open(name) as found:
            assert found.format == kind
            if kind != "JPEG":
                assert np.asarray(found.convert("RGB"))[0, 1].tolist() == [seed] * 3


def test_out_follows_a_link_and_leaves_a_device(run: Any) -> None:
    Path("disk").mkdir()
    Path("a.png").symlink_to("disk/real.png")
    sample(Order(["a"], 1, 0), run, Path("a.png"), False)
    assert Path("a.png").is_symlink() and Image.open("disk/real.png").format == "PNG"
    sample(Order(["a"], 1, 0), run, Path("/dev/null"), False)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("out", "single", "message"),
    [
        ("a.bmp", False, "--out a.bmp: pictures are written as .png, .jpg, .jpeg or .webp"),
        ("a", False, "--out a: pictures are written as"),
        ("folder", False, "--out folder: is a folder; name a file in it, or give --single to fill a folder"),
        ("file/a.png", False, "file: is a file, and no folder can be made there"),
        ("lost.png", False, "lost.png: is a link to gone/a.png, whose folder is not there"),
        ("file", True, "--out file: is a file or a file's name; with --single, --out names the pictures' folder"),
        ("a.png", True, "--out a.png: is a file or a file's name"),
        ("file/a", True, "file: is a file, and no folder can be made there"),
        ("/dev/null", True, "--out /dev/null: is a file or a file's name"),
        ("used", True, "used: is not empty, it holds 000000.png and 1 more; name a new folder with --out"),
        ("listed", True, "listed: is not empty, it holds captions.jsonl; name a new folder with --out"),
    ],
)
def test_places_are_refused_before_anything_is_loaded(
    run: Any, monkeypatch: pytest.MonkeyPatch, out: str, single: bool, message: str
) -> None:
    for name in ("folder", "used", "listed"):
        Path(name).mkdir()
    for name in ("file", "used/000000.png", "used/notes.txt"):
        Path(name).write_text("x")
    Path("listed/captions.jsonl").write_text("{}\n")
    Path("lost.png").symlink_to("gone/a.png")
    monkeypatch.setattr("t2icli.sampling.open_run", lambda *_: pytest.fail("a network was loaded"))
    with pytest.raises(UserError, match=re.escape(message)):
        sample_to_files("a", None, None, 1, 0, Path(out), single, [], False)
    assert not Path("gone").exists() and not Path("a").exists()


def test_empty_folders_and_hidden_files_are_no_obstacle(run: Any) -> None:
    for name in ("empty", "hidden", "begun"):
        Path(name).mkdir()
    Path("hidden/.DS_Store").write_text("x")
    Path("begun/captions.jsonl").write_text("")  # a kill before the first picture
    for name in ("empty", "hidden", "begun", "new/er"):
        refuse_place(Path(name), True)
        assert sample(Order(["a"], 2, 0), run, Path(name), True) == Path(name)
        assert len(Path(name, "captions.jsonl").read_text().splitlines()) == 2


def test_captions_that_cannot_be_drawn() -> None:
    with pytest.raises(UserError, match="caption 2 of 2 is empty; write what the picture should show"):
        refuse_order(Order(["a", " \n"], 1, 0), False)
    with pytest.raises(UserError, match="caption 1 of 1: letter 4 is not UTF-8"):
        refuse_order(Order([os.fsdecode(b"caf\xe9")], 1, 0), False)


# ---------------------------------------------------------------------------- grids


@pytest.mark.parametrize(
    ("captions", "count", "columns"),
    [
        (1, 1, 1), (1, 3, 3), (1, 8, 8), (1, 9, 8), (1, 64, 8), (1, 65, 9), (1, 256, 16),
        (6, 6, 6), (2, 3, 3), (3, 50, 50), (2, 1, 1), (4, 1, 2), (100, 1, 10), (256, 1, 16), (40, 2, 8), (64, 4, 16),
    ],
)  # fmt: skip
def test_grids_have_a_sensible_shape(captions: int, count: int, columns: int) -> None:
    assert columns_of(captions, count) == columns
    rows = -(-captions * count // columns)
    assert max(columns, rows) <= max(8, count) or max(columns, rows) / min(columns, rows) <= 2
    assert columns % count == 0 or captions == 1  # a caption's pictures are never torn apart


def test_a_grid_holds_every_picture_in_its_place(run: Any) -> None:
    with Image.open(sample(Order(["a"], 70, 0), run, None, False)) as grid:
        assert grid.size == (9 * (SIZE + 2) + 2, 8 * (SIZE + 2) + 2)
        for index in (0, 8, 9, 69):
            assert number(grid, 2 + index % 9 * 10, 2 + index // 9 * 10) == index
        assert number(grid, 0, 0) == number(grid, 2 + 8 * 10, 2 + 7 * 10) == 0  # the frame, and an empty place
    assert run.read_captions == ["a"]  # once, not once a picture


def test_too_many_pictures_for_a_grid(run: Any) -> None:
    said = "10,000 pictures are too many for one grid, which shows 256; --single writes each to a file of its own"
    with pytest.raises(UserError, match=said):
        sample_to_files("a", None, None, 10_000, 0, None, False, [], False)
    wide = StandInRun(size=256)
    with pytest.raises(UserError, match="a grid of 100 x 2 pictures would have 25,802 x 518 pixels, and 16,000 a side"):
        sample(Order(["a", "b"], 100, 0), wide, None, False)  # type: ignore[arg-type]
    assert list(Path().iterdir()) == [] and wide.most_alive == 0


# ---------------------------------------------------------------------------- a file each


def test_the_list_of_singles_is_read_by_both_verbs_whatever_the_captions_hold(run: Any) -> None:
    captions = ["a bus ", "a\u2028bus\x85", 'a "bus"; two,\nlines']
    folder = sample(Order(captions, 1, 0), run, Path("odd"), True)
    pictures = sorted(folder.glob("*.png"))
    assert list(read_captions(folder / "captions.jsonl", folder, pictures).texts) == captions
    records, _ = prepare_folder(Config(val_share=0.0), folder, 0).splits.values()
    assert [record.captions for record in records] == [(text,) for text in captions]


def test_singles_are_named_listed_and_readable(run: Any) -> None:
    folder = sample(Order(["a bus", 'a "blue" dög\u2028on the sea'], BLOCK, 7), run, Path("many"), True)
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{i:06d}.png" for i in range(2 * BLOCK)), "captions.jsonl"]
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_bytes().split(b"\n")[:-1]]
    assert lines[BLOCK - 1] == {"file": "000031.png", "captions": ["a bus"]}
    assert lines[BLOCK] == {"file": "000032.png", "captions": ['a "blue" dög\u2028on the sea']}
    for index in (0, BLOCK, 2 * BLOCK - 1):
        with Image.open(folder / f"{index:06d}.png") as found:
            assert number(found) == index
            assert found.text["index"] == str(index)  # type: ignore[attr-defined]


def test_memory_does_not_grow_with_the_number(run: Any) -> None:
    sample(Order(["a", "b"], 6 * BLOCK, 0), run, Path("many"), True)
    assert run.most_alive <= 2  # the block that is written and the one that is drawn


@pytest.mark.parametrize("stopped", ["drawing", "writing", "full"])
def test_what_was_written_before_an_end_is_whole_and_listed(
    run: Any, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    if stopped == "drawing":
        run.stop_at = 2 * BLOCK
    else:
        monkeypatch.setattr(drawing, "write_picture", failing_after(40, stopped == "full"))
    with pytest.raises(SystemExit) as end, ending():
        sample(Order(["a"], 100, 0), run, Path("many"), True)
    assert end.value.code == (8 if stopped == "full" else 130)
    pictures = sorted(path.name for path in Path("many").glob("*.png"))
    listed = [json.loads(line)["file"] for line in Path("many/captions.jsonl").read_text().splitlines()]
    assert listed == pictures and len(listed) == (64 if stopped == "drawing" else 40)
    for name in pictures:
        Image.open(Path("many", name)).load()
    with pytest.raises(UserError, match="many: is not empty, it holds 000000.png"):
        refuse_place(Path("many"), True)


def failing_after(count: int, full: bool) -> Any:
    right, left = drawing.write_picture, iter(range(count))

    def write(*arguments: Any) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device") if full else KeyboardInterrupt
        right(*arguments)

    return write


def test_half_a_line_is_taken_away_again(tmp_path: Path) -> None:
    class Full:
        def __init__(self) -> None:
            self.file = (tmp_path / "list").open("ab", buffering=0)

        def tell(self) -> int:
            return self.file.tell()

        def truncate(self, size: int) -> int:
            return self.file.truncate(size)

        def write(self, text: bytes) -> int:
            if len(text) < 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(text[:-3])

    full: Any = Full()
    full.file.write(b"whole\n")
    with pytest.raises(OSError, match="No space"):
        drawing.add_line(full, "another line")
    full.file.close()
    assert (tmp_path / "list").read_bytes() == b"whole\n"


def test_two_commands_do_not_mix_in_one_folder(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins while the first draws its first block, so the folder looked empty to both."""
    again: Iterator[bool] = iter([True])
    draw = run.draw

    def drawing_twice(*arguments: Any) -> Tensor:
        if next(again, False):
            sample(Order(["b"], 1, 1), run, Path("many"), True)
        return draw(*arguments)

    monkeypatch.setattr(run, "draw", drawing_twice)
    with pytest.raises(UserError, match=r"000000.png: is there already; another command writes into this folder"):
        sample(Order(["a"], 1, 0), run, Path("many"), True)
    assert Path("many/captions.jsonl").read_text() == '{"file": "000000.png", "captions": ["b"]}\n'
