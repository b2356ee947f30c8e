"""A user's own pictures with captions: a folder, and the captions in one of three forms.

    captions.jsonl   {"file": "a.jpg", "captions": ["...", "..."], "class": 3}   one line a picture; class optional
    captions.csv     file,caption                                                a line a caption, with this header
    NAME.txt         beside NAME.jpg                                             one caption a line

The first that is there is taken. Splits are by the hash of the file's name, so that adding pictures moves none.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t2icli.data.source import Record, Source
from t2icli.errors import DataError
from t2icli.recipe import Section

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMS = "captions.jsonl, captions.csv, or NAME.txt beside each NAME.jpg"


class Config(Section):
    """The [reader] table."""

    val_share: float = Field(0.1, ge=0, lt=1, description="share of the pictures that become the val split")


class Line(BaseModel):
    """One line of captions.jsonl."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: str
    captions: list[str]
    class_index: int = Field(-1, alias="class", ge=-1)


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Every picture under ``root`` that has captions; what has none is left out with the reason."""
    if root is None:
        raise DataError("folder: --root DIR is needed: the folder with your pictures and their captions")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of pictures")
    pictures = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() in SUFFIXES}
    if not pictures:
        raise DataError(f"{root}: holds no pictures ({', '.join(SUFFIXES)})")
    source = Source("folder", {"train": [], "val": []})
    described: dict[str, Line] = {}
    for line in lines(root, pictures):
        reason = refusal(line, pictures, described)
        if reason is None:
            described[line.file] = line
        else:
            source.leave_out("all", line.file, reason)
    for name in sorted(pictures - described.keys()):
        source.leave_out("all", name, "has no caption")
    if not described:
        raise DataError(f"{root}: {len(pictures):,} pictures, and none has a caption; give {FORMS}")
    for number, (name, line) in enumerate(sorted(described.items()), start=1):
        split = "val" if place_of(name) < config.val_share else "train"
        captions = tuple(caption for caption in line.captions if caption.strip())
        source.splits[split].append(Record(number, root / name, captions, class_index=line.class_index))
    return source


def lines(root: Path, pictures: set[str]) -> Iterator[Line]:
    """What the folder says about its pictures."""
    if (root / "captions.jsonl").is_file():
        yield from from_jsonl(root / "captions.jsonl")
    elif (root / "captions.csv").is_file():
        yield from from_csv(root / "captions.csv")
    else:
        for name in sorted(pictures):
            beside = (root / name).with_suffix(".txt")
            if beside.is_file():
                yield Line(file=name, captions=text_of(beside).splitlines(), **{"class": -1})


def from_jsonl(path: Path) -> Iterator[Line]:
    """Lines of captions.jsonl; the first that cannot be understood ends the reading."""
    for number, text in enumerate(text_of(path).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            yield Line.model_validate_json(text)
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise DataError(
                f"{path}: line {number}: {where}: {first['msg']}; "
                'should be like {"file": "a.jpg", "captions": ["a red bus"]}'
            ) from None


def from_csv(path: Path) -> Iterator[Line]:
    """captions.csv, the captions of a picture gathered."""
    rows = csv.DictReader(io.StringIO(text_of(path), newline=""))
    header = rows.fieldnames or []
    if "file" not in header or "caption" not in header:
        raise DataError(f"{path}: its first line is {','.join(header)!r}; it should name the columns file and caption")
    gathered: dict[str, list[str]] = {}
    for row in rows:
        gathered.setdefault(row["file"] or "", []).append(row["caption"] or "")
    for name, captions in gathered.items():
        yield Line(file=name, captions=captions, **{"class": -1})


def text_of(path: Path) -> str:
    """A file's text; anything but UTF-8 is refused with the place."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DataError(f"{path}: byte {fault.start} is not UTF-8; save the captions as UTF-8 text") from None


def refusal(line: Line, pictures: set[str], described: dict[str, Line]) -> str | None:
    """Why a picture's captions cannot be used, if so."""
    name = PurePosixPath(line.file)
    if name.is_absolute() or ".." in name.parts:
        return "its name leads out of the folder"
    if line.file not in pictures:
        return "is described, but no such picture is there"
    if line.file in described:
        return "is described twice; the first is kept"
    if not any(caption.strip() for caption in line.captions):
        return "has no caption that is not blank"
    return None


def place_of(name: str) -> float:
    """A number in [0, 1) that depends on the file's name only."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
