"""A folder of pictures with captions, loose ones and those in WebDataset tars alike.

Loose pictures have their captions in one of three forms, of which the first that is there is taken:

    captions.jsonl   {"file": "a.jpg", "captions": ["...", "..."], "class": 3}   one line a picture; class optional
    captions.csv     file,caption                                                a line a caption, with this header
    NAME.txt         beside NAME.jpg                                             one caption a line

Tars bring their captions with them (``t2icli/data/tars.py``). Splits are by the hash of the file's name, or of the
tar's with the sample's key, so that adding pictures or tars moves none. Nothing outside the folder is read: symbolic
links to files inside it are followed, those out of it are left out, and those to folders are passed over.
"""

import csv
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t2icli.data.images import SUFFIXES
from t2icli.data.places import (
    captions_beside,
    climbs_out,
    encodable,
    no_file_inside,
    numbered_lines,
    refuse_unlisted,
)
from t2icli.data.source import Record, Source
from t2icli.data.tars import CLASS_LIMIT, ENDINGS, read_tar, without_lone_surrogates
from t2icli.errors import DataError
from t2icli.recipe import Section

FORMS = "captions.jsonl, captions.csv, or NAME.txt beside each NAME.jpg"


class Config(Section):
    """The [reader] table."""

    val_share: float = Field(0.1, ge=0, lt=1, description="share of the pictures that become the val split")


class Line(BaseModel):
    """One line of captions.jsonl."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: str
    captions: list[str]
    class_index: int = Field(-1, alias="class", ge=-1, le=CLASS_LIMIT)


@dataclass
class Found:
    """What lies in a folder, by the paths inside it."""

    pictures: set[str] = field(default_factory=set)
    tars: list[str] = field(default_factory=list)


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Every picture under ``root`` that has captions; what has none is left out with the reason."""
    if root is None:
        raise DataError("folder: --root DIR is needed: the folder with your pictures and their captions")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of pictures")
    source = Source("folder", {"train": [], "val": []})
    found = look(root, source)
    if not found.pictures and not found.tars:
        raise DataError(f"{root}: holds no pictures ({', '.join(SUFFIXES)}) and no .tar of them")
    records = loose(root, found.pictures, source)
    for tar in sorted(found.tars):
        records |= packed(root, tar, source)
    if not records:
        where = f"{len(found.pictures):,} pictures" + (f" and {len(found.tars):,} tars" if found.tars else "")
        reasons = "".join(f"; {line['image']}: {line['reason']}" for line in source.left_out[:1])
        raise DataError(f"{root}: {where}, and none has a caption; give {FORMS}{reasons}")
    for number, (name, record) in enumerate(sorted(records.items()), start=1):
        split = "val" if place_of(name) < config.val_share else "train"
        source.splits[split].append(replace(record, id=number))
    return source


def look(root: Path, source: Source) -> Found:
    """Pictures and tars of a folder and its subfolders; a tar that is none, or lies elsewhere, ends the reading."""
    found = Found()
    for folder, subfolders, files in os.walk(root, onerror=refuse_unlisted):
        inside = Path(folder).relative_to(root)
        for file in (*files, *subfolders):
            is_tar = file.lower().endswith(ENDINGS) and file not in subfolders
            if not is_tar and not file.lower().endswith(SUFFIXES):
                continue
            path, name = Path(folder, file), (inside / file).as_posix()
            reason = no_file_inside(root, path, walked=True) or (
                None if encodable(name) == name else "its name is not UTF-8"
            )
            if reason and is_tar:
                raise DataError(f"{encodable(str(path))}: {reason}; a tar of pictures should lie in the folder itself")
            if reason:
                source.leave_out("all", encodable(name), reason)
            elif is_tar:
                found.tars.append(name)
            else:
                found.pictures.add(name)
    return found


def packed(root: Path, tar: str, source: Source) -> dict[str, Record]:
    """What a tar holds, by the tar's name and the sample's key."""
    path = root / tar
    return {
        f"{tar}/{sample.key}": Record(
            0,
            path,
            unrepeated(sample.captions, f"{tar}/{sample.member}", source),
            class_index=sample.class_index,
            part=sample.part,
            member=sample.member,
        )
        for sample in read_tar(path, lambda member, reason: source.leave_out("all", f"{tar}/{member}", reason))
    }


def loose(root: Path, pictures: set[str], source: Source) -> dict[str, Record]:
    """What is said of loose pictures, by their names; those of which nothing is said are left out."""
    described: dict[str, Record] = {}
    refused: set[str] = set()
    for line in lines(root, pictures, source, refused):
        reason = refusal(line, pictures, described)
        if reason is None:
            captions = unrepeated(tuple(filter(str.strip, line.captions)), line.file, source)
            described[line.file] = Record(0, root / line.file, captions, class_index=line.class_index)
        else:
            source.leave_out("all", line.file, reason)
    for name in sorted(pictures - described.keys() - refused):
        source.leave_out("all", name, "has no caption")
    return described


def unrepeated(captions: tuple[str, ...], image: str, source: Source) -> tuple[str, ...]:
    """Captions without those that are there twice, which would be trained on twice as often."""
    kept = tuple(dict.fromkeys(captions))
    for _ in range(len(captions) - len(kept)):
        source.leave_out("all", image, "caption is there twice", caption=True)
    return kept


def lines(root: Path, pictures: set[str], source: Source, refused: set[str]) -> Iterator[Line]:
    """What the folder says about its loose pictures; ``refused`` gets those whose NAME.txt cannot be used."""
    for name, form in (("captions.jsonl", from_jsonl), ("captions.csv", from_csv)):
        path = root / name
        if os.path.lexists(path):
            reason = no_file_inside(root, path, walked=True)
            if reason:
                raise DataError(f"{path}: {reason}; the captions should be a file in the folder itself")
            yield from form(path)
            return
    for name in sorted(pictures):
        beside = (root / name).with_suffix(".txt")
        if not os.path.lexists(beside):
            continue
        try:
            yield Line(file=name, captions=captions_beside(root, beside, walked=True), **{"class": -1})
        except DataError as fault:
            refused.add(name)
            source.leave_out("all", name, str(fault))


def from_jsonl(path: Path) -> Iterator[Line]:
    """Lines of captions.jsonl; the first that cannot be understood ends the reading."""
    for number, text in numbered_lines(path):
        if not text.strip():
            continue
        try:
            yield Line.model_validate_json(without_lone_surrogates(text))
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise DataError(
                f"{path}: line {number}: {where}: {first['msg']}; "
                'should be like {"file": "a.jpg", "captions": ["a red bus"]}'
            ) from None


def from_csv(path: Path) -> Iterator[Line]:
    """captions.csv, the captions of a picture gathered."""
    rows = csv.DictReader((text for _, text in numbered_lines(path)), strict=True)
    gathered: dict[str, list[str]] = {}
    try:
        header = rows.fieldnames or []
        if "file" not in header or "caption" not in header:
            found = ",".join(header)
            raise DataError(f"{path}: its first line is {found!r}; it should name the columns file and caption")
        for row in rows:
            if None in row:
                raise DataError(
                    f"{path}: line {rows.line_num} has more than the {len(header)} columns of the first line; "
                    "put captions with a comma between quotation marks"
                )
            gathered.setdefault(row["file"] or "", []).append(row["caption"] or "")
    except csv.Error as fault:
        raise DataError(
            f"{path}: line {rows.reader.line_num}: {fault}; is a quotation mark left open before it?"
        ) from None
    for name, captions in gathered.items():
        yield Line(file=name, captions=captions, **{"class": -1})


def refusal(line: Line, pictures: set[str], described: dict[str, Record]) -> str | None:
    """Why a picture's captions cannot be used, if so."""
    if climbs_out(line.file):
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
