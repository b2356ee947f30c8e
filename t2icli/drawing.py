"""What ``t2i sample`` writes: one grid, or a folder with a file for each picture.

Everything that can be refused is refused before torch is imported. Pictures are drawn in blocks; those of a folder are
written and forgotten block by block, so that any number takes the same memory and a kill leaves whole files only.
"""

import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count as from_number
from pathlib import Path
from typing import IO, TYPE_CHECKING

from PIL import Image

from t2icli.console import progress, say
from t2icli.data.captions.lists import captions_alone
from t2icli.errors import UserError
from t2icli.picture_formats import FORMATS, SIDE_LIMIT, refuse_no_picture, write_picture
from t2icli.storage import is_stream, make_folder, refuse_no_folder, write_new

if TYPE_CHECKING:
    from torch import Tensor

    from t2icli.sampling import TrainedRun

BLOCK = 32  # pictures drawn together
GRID_LIMIT = 256  # pictures in one grid
ROW = 8  # pictures that stand side by side before a second row is begun
GAP = 2  # black pixels between the pictures of a grid, and round it
SLUG_LETTERS, SLUG_BYTES = 60, 100  # of a caption in a name; file systems admit 143 to 255 bytes in all
LIST = "captions.jsonl"


@dataclass(frozen=True)
class Order:
    """Which pictures are to be drawn: ``count`` for each caption; picture i's noise is a function of (seed, i)."""

    captions: Sequence[str]
    count: int
    seed: int

    def __len__(self) -> int:
        return len(self.captions) * self.count

    def caption(self, index: int) -> str:
        """What picture ``index`` should show."""
        return self.captions[index // self.count]


def sample_to_files(
    caption: str | None,
    file: Path | None,
    run: Path | None,
    count: int,
    seed: int,
    out: Path | None,
    single: bool,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """What ``t2i sample`` does: draw, write, and print the path."""
    if (caption is None) == (file is None):
        raise UserError('give either a caption, e.g. t2i sample "a red bus on a street", or --file CAPTIONS')
    if out is not None:
        refuse_place(out, single)
    captions = captions_alone(file) if file is not None else [caption or ""]
    order = Order(captions, count, seed)
    refuse_order(order, single)
    from t2icli.sampling import open_run  # from here on torch is needed

    opened = open_run(run, overrides)
    where = sample(order, opened, out, single)
    say(f"{len(order):,} pictures by {opened.recipe.system} after {opened.images:,} images, {opened.folder}")
    if as_json:
        paths = [where / file_name(number) for number in range(len(order))] if single else [where]
        print(json.dumps({"paths": [str(path) for path in paths], "run": str(opened.folder)}))
    elif not is_stream(where):  # a pipe or a device has been given a picture, and nothing is to be mixed into it
        print(where)


def sample(order: Order, run: "TrainedRun", out: Path | None, single: bool) -> Path:
    """Draw pictures and write them: one grid, or a file for each picture in a folder; returns the grid or the folder.

    A file named by ``out`` is replaced if it is there; a name made here is always a new one.
    """
    refuse_order(order, single)
    facts = {"run": str(run.folder), "images": run.images, "weights": run.weights_sha256, "seed": order.seed}
    return (write_singles if single else write_grid)(order, run, facts, out)


# ---------------------------------------------------------------------------- what is refused


def refuse_place(out: Path, single: bool) -> None:
    """Refuse an ``--out`` that cannot hold what is to be drawn."""
    if not single:
        if out.is_dir():
            raise UserError(f"--out {out}: is a folder; name a file in it, or give --single to fill a folder")
        refuse_no_picture(out, "--out")
        return
    if (out.exists() and not out.is_dir()) or out.suffix.lower() in FORMATS:
        raise UserError(f"--out {out}: is a file or a file's name; with --single, --out names the pictures' folder")
    refuse_no_folder(out)
    refuse_used(out)


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds something already, so that pictures of two commands are never mixed."""
    there = sorted(path.name for path in visible(folder))
    if there and not only_an_empty_list(folder, there):
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise UserError(f"{folder}: is not empty, it holds {there[0]}{more}; name a new folder with --out")


def visible(folder: Path) -> list[Path]:
    """What a folder holds besides hidden files."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def only_an_empty_list(folder: Path, names: list[str]) -> bool:
    """Whether all that a killed command left in a folder is its list, without an entry."""
    return names == [LIST] and (folder / LIST).stat().st_size == 0


def refuse_order(order: Order, single: bool) -> None:
    """Refuse captions that cannot be drawn, and more pictures than one grid shows."""
    for number, caption in enumerate(order.captions, start=1):
        if not caption.strip():
            raise UserError(f"caption {number} of {len(order.captions)} is empty; write what the picture should show")
        try:
            caption.encode()
        except UnicodeEncodeError as fault:
            raise UserError(
                f"caption {number} of {len(order.captions)}: letter {fault.start + 1} is not UTF-8; the terminal or "
                "script that gave it uses another encoding"
            ) from None
    if not single and len(order) > GRID_LIMIT:
        raise UserError(
            f"{len(order):,} pictures are too many for one grid, which shows {GRID_LIMIT}; --single writes each to a "
            "file of its own"
        )


# ---------------------------------------------------------------------------- drawing


def blocks(order: Order, run: "TrainedRun") -> Iterator[tuple[range, "Tensor"]]:
    """All pictures in their order, some at a time: their numbers, and pixels uint8 ``(n, 3, S, S)``."""
    from t2icli.batch import Text

    here, text = range(0), None  # the captions that were read last
    with progress("Drawing", len(order), "pictures") as advance:
        for start in range(0, len(order), BLOCK):
            numbers = range(start, min(start + BLOCK, len(order)))
            needed = range(numbers[0] // order.count, numbers[-1] // order.count + 1)
            if text is None or needed != here:
                here, text = needed, run.reader.captions([order.captions[i] for i in needed])
            rows = [i // order.count - here[0] for i in numbers]
            repeated = Text(text.words[rows], text.sentence[rows], text.mask[rows], text.tokens[rows])
            yield numbers, run.draw(repeated, numbers, order.seed)
            advance(len(numbers))


def as_image(picture: "Tensor") -> Image.Image:
    """A picture uint8 ``(3, H, W)`` for Pillow."""
    return Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())


# ---------------------------------------------------------------------------- one grid


def write_grid(order: Order, run: "TrainedRun", facts: dict[str, object], out: Path | None) -> Path:
    """All pictures in one; a single picture stands without a frame."""
    columns = columns_of(len(order.captions), order.count)
    cell = run.recipe.data.image_size + GAP
    rows = math.ceil(len(order) / columns)
    width, height = columns * cell + GAP, rows * cell + GAP
    if max(width, height) > SIDE_LIMIT:
        raise UserError(
            f"a grid of {columns} x {rows} pictures would have {width:,} x {height:,} pixels, and {SIDE_LIMIT:,} a "
            "side is the limit; --single writes each picture to a file of its own"
        )
    grid = Image.new("RGB", (width, height))
    image = grid
    for numbers, pictures in blocks(order, run):
        for number, picture in zip(numbers, pictures, strict=True):
            row, column = divmod(number, columns)
            image = as_image(picture)
            grid.paste(image, (column * cell + GAP, row * cell + GAP))
    facts = {"caption": "\n".join(order.captions), **facts}
    shown = grid if len(order) > 1 else image
    if out is not None:
        write_picture(out, shown, facts)
        return out
    for path in free_names(f"{slug(order.captions[0])}-seed{order.seed}", ".png"):
        with suppress(FileExistsError):
            write_picture(path, shown, facts, write_new)
            return path
    raise AssertionError("names do not end")


def columns_of(captions: int, count: int) -> int:
    """Pictures side by side: as near to a square as rows of whole captions allow.

    Up to eight pictures of one caption stand in one row. Several captions have a row each, or a few of them share one
    where there would be many short rows.
    """
    if captions == 1:
        return min(count, max(ROW, math.ceil(math.sqrt(count))))
    return count * max(1, round(math.sqrt(captions / count)))


# ---------------------------------------------------------------------------- a file each


def write_singles(order: Order, run: "TrainedRun", facts: dict[str, object], out: Path | None) -> Path:
    """A PNG for every picture, and a list of what each shows, for ``t2i evaluate`` and ``t2i prepare folder``.

    A line is added to the list when its picture is there, so that the list is true at every moment.
    """
    folder = out or new_folder(f"{slug(order.captions[0])}-seed{order.seed}")
    make_folder(folder)
    refuse_used(folder)
    with (folder / LIST).open("ab", buffering=0) as entries:
        for numbers, pictures in blocks(order, run):
            for number, picture in zip(numbers, pictures, strict=True):
                path = folder / file_name(number)
                caption = order.caption(number)
                known = {"caption": caption, "index": number, **facts}
                try:
                    write_picture(path, as_image(picture), known, write_new)
                except FileExistsError:
                    raise UserError(f"{path}: is there already; another command writes into this folder") from None
                add_line(entries, json.dumps({"file": path.name, "captions": [caption]}, ensure_ascii=False))
        os.fsync(entries.fileno())
    return folder


def file_name(number: int) -> str:
    """What the file of a picture is called."""
    return f"{number:06d}.png"


def add_line(entries: IO[bytes], line: str) -> None:
    """Add a line in one call; half a line, where a disk is full, is taken away again."""
    before, whole = entries.tell(), f"{line}\n".encode()
    try:
        written = entries.write(whole)
        if written < len(whole):
            entries.write(whole[written:])  # which says why
    except OSError:
        entries.truncate(before)
        raise


# ---------------------------------------------------------------------------- names


def new_folder(stem: str) -> Path:
    """A folder that was not there before."""
    for path in free_names(stem, ""):
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("names do not end")


def free_names(stem: str, ending: str) -> Iterator[Path]:
    """The plain name, then the same with 2, 3, ...; whoever takes one finds out whether it is free."""
    yield Path(f"{stem}{ending}")
    for number in from_number(2):
        yield Path(f"{stem}-{number}{ending}")


def slug(caption: str) -> str:
    """A file name made of a caption's words, in any alphabet."""
    words = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFC", caption.lower())).strip("-")
    cut = words[:SLUG_LETTERS].encode()[:SLUG_BYTES].decode(errors="ignore")
    return cut.rstrip("-") or "picture"
