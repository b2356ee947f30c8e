"""Captions of a folder of images that something else made: which picture was drawn for which caption.

    captions.jsonl   {"file": "a.png", "caption": "...", "image": 42, "class": 3, "boxes": [["bus", .1, .2, .3, .4]]}
    captions.csv     file,caption                          also with the columns image and class
    captions.txt     one caption a line, in the order of the pictures' names

``image`` says to which real picture a caption belongs (pictures of one real image are no negatives of each other),
``class`` likewise for CUB, ``boxes`` where a layout told the model to draw what (name, x, y, width, height in shares).
All but file and caption may be left out. ``"captions": [...]``, as ``t2i sample`` writes it, means its first.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t2icli.data.places import not_utf8
from t2icli.errors import DataError

FORMS = '.jsonl lines like {"file": "a.png", "caption": "a red bus"}, .csv with the columns file and caption, or .txt'
NAMED = 3  # examples in a message


class Line(BaseModel):
    """What is said of one picture."""

    model_config = ConfigDict(extra="forbid")

    file: str
    caption: str = ""
    captions: list[str] = Field(default_factory=list)
    image: int | str | None = None
    class_index: int = Field(-1, alias="class", ge=-1)
    boxes: list[tuple[str, float, float, float, float]] | None = None

    def text(self) -> str:
        """Its caption."""
        return (self.caption or next(iter(self.captions), "")).strip()


@dataclass(frozen=True)
class Described:
    """Pictures with their captions, in the order of the pictures' paths."""

    paths: Sequence[Path]
    texts: Sequence[str]
    images: Sequence[int]  # equal numbers belong to one real image
    classes: Sequence[int]  # -1: none
    boxes: Sequence[Sequence[tuple[str, float, float, float, float]]] | None


def find_captions(folder: Path) -> Path | None:
    """The captions that lie in a folder of images themselves."""
    return next((folder / name for name in ("captions.jsonl", "captions.csv") if (folder / name).is_file()), None)


def read_captions(file: Path, folder: Path, pictures: Sequence[Path]) -> Described:
    """The captions of all pictures; ``DataError`` where one has none, or a caption has no picture."""
    if not file.is_file():
        raise DataError(f"--captions {file}: no such file; it should hold {FORMS}")
    ordered = sorted(pictures)
    described: dict[str, Line] = {}
    for line in lines(file, [path.relative_to(folder).as_posix() for path in ordered]):
        if line.file in described:
            raise DataError(f"{file}: {line.file} is described twice; each picture was drawn for one caption")
        if not line.text():
            raise DataError(f"{file}: {line.file} has no caption, or a blank one")
        described[line.file] = line
    names = [path.relative_to(folder).as_posix() for path in ordered]
    check(file, folder, names, described)
    rows = [described[name] for name in names]
    numbers: dict[int | str, int] = {}
    keys: list[int | str] = [f"file {row.file}" if row.image is None else row.image for row in rows]
    told = [row.boxes or [] for row in rows]
    return Described(
        ordered,
        [row.text() for row in rows],
        [numbers.setdefault(key, len(numbers)) for key in keys],
        [row.class_index for row in rows],
        told if any(told) else None,
    )


def check(file: Path, folder: Path, names: Sequence[str], described: dict[str, Line]) -> None:
    """Every picture has a caption, and every caption a picture."""
    without = sorted(set(described) - set(names))
    if without:
        raise DataError(
            f"{file}: {len(without):,} of {len(described):,} captions have no picture in {folder}, e.g. {some(without)}"
        )
    silent = sorted(set(names) - set(described))
    if silent:
        raise DataError(
            f"{file}: {len(silent):,} of the {len(names):,} pictures of {folder} have no caption, e.g. {some(silent)}"
        )


def some(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:NAMED])


def lines(file: Path, names: Sequence[str]) -> Iterator[Line]:
    """What a file says, line by line; ``names`` are the pictures, for a file that is in their order."""
    text = text_of(file)
    if file.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield checked(file, number, line)
    elif file.suffix == ".csv":
        yield from from_csv(file, text)
    elif file.suffix == ".txt":
        captions = text.splitlines()
        if len(captions) != len(names):
            raise DataError(f"{file}: holds {len(captions):,} captions, one a line, for {len(names):,} pictures")
        for name, caption in zip(names, captions, strict=True):
            yield Line(file=name, caption=caption, **{"class": -1})
    else:
        raise DataError(f"{file}: captions come as {FORMS}")


def checked(file: Path, number: int, text: str) -> Line:
    """A line of JSON."""
    try:
        return Line.model_validate_json(text)
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"])) or "line"
        like = '{"file": "a.png", "caption": "a red bus"}'
        raise DataError(f"{file}: line {number}: {where}: {first['msg']}; should be like {like}") from None


def from_csv(file: Path, text: str) -> Iterator[Line]:
    """A table with a header."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    header = rows.fieldnames or []
    if "file" not in header or "caption" not in header:
        raise DataError(f"{file}: its first line is {','.join(header)!r}; it should name the columns file and caption")
    for row in rows:
        number = row.get("class") or "-1"
        if not number.lstrip("-").isdigit():
            raise DataError(f"{file}: line {rows.line_num}: class {number!r} should be a whole number")
        yield Line(file=row["file"] or "", caption=row["caption"] or "", image=row.get("image") or None,
                   **{"class": int(number)})  # fmt: skip


def text_of(path: Path) -> str:
    """A file's text; anything but UTF-8 is refused with the place."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise not_utf8(path, fault.start) from None
