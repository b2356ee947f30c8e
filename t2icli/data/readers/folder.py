"""A folder of pictures with captions, loose ones and those in WebDataset tars alike.

Loose pictures have their captions in a list that lies in the folder, ``captions.jsonl`` or ``captions.csv``, or
``metadata.jsonl`` or ``metadata.csv`` as image folders of Hugging Face have them, or else in a text file beside each,
one caption a line: ``NAME.txt`` or ``NAME.caption`` (``t2icli/data/captions/``). The first of these that is there is
taken.

Tars bring their captions with them (``t2icli/data/tars.py``). Splits are by the hash of the file's name, or of the
tar's with the sample's key, so that adding pictures or tars moves none. Nothing outside the folder is read: symbolic
links inside it are followed, those to files out of it are left out, and one to a folder out of it ends the reading.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from t2icli.data.captions.folders import FORMS, beside, lists_in, passed_over
from t2icli.data.captions.lists import read_list
from t2icli.data.captions.names import Names, NotMatched
from t2icli.data.captions.text import captions_beside
from t2icli.data.picture_files import TAKEN, Found, find_pictures, in_words
from t2icli.data.places import OUT, encodable, no_file_inside
from t2icli.data.source import Record, Source
from t2icli.data.tars import ENDINGS, read_tar
from t2icli.errors import DataError
from t2icli.recipe import Section


class Config(Section):
    """The [reader] table."""

    val_share: float = Field(0.1, ge=0, lt=1, description="share of the pictures that become the val split")


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Every picture under ``root`` that has captions; what has none is left out with the reason."""
    if root is None:
        raise DataError("folder: --root DIR is needed: the folder with your pictures and their captions")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of pictures")
    source = Source("folder", {"train": [], "val": []})
    found = look(root, source)
    if not found.pictures and not found.others:
        seen = found.refused | dict.fromkeys(found.linked_out, OUT) | found.passed_over
        aside = f"; {in_words(seen)}" if seen else ""
        raise DataError(f"{root}: holds no pictures ({', '.join(TAKEN)}) and no .tar of them{aside}")
    records = loose(root, set(found.pictures), source)
    for tar in sorted(found.others):
        records |= packed(root, tar, source)
    if not records:
        where = f"{len(found.pictures):,} pictures" + (f" and {len(found.others):,} tars" if found.others else "")
        reasons = "".join(f"; {line['image']}: {line['reason']}" for line in source.left_out[:1])
        raise DataError(f"{root}: {where}, and none has a caption; give {FORMS}{reasons}")
    for number, (name, record) in enumerate(sorted(records.items()), start=1):
        split = "val" if place_of(name) < config.val_share else "train"
        source.splits[split].append(replace(record, id=number))
    return source


def look(root: Path, source: Source) -> Found:
    """Pictures and tars of a folder and its subfolders; a tar that is none, or lies elsewhere, ends the reading."""
    found = find_pictures(root, others=ENDINGS)
    for name in found.linked_out:
        source.leave_out("all", name, OUT)
    for name, reason in sorted(found.refused.items()):
        source.leave_out("all", name, reason)
    for name, reason in sorted(found.passed_over.items()):
        source.pass_over(name, reason)
    for name, fault in found.others.items():
        fault = fault or (None if encodable(name) == name else "its name is not UTF-8")
        if fault:
            raise DataError(
                f"{encodable(str(root / name))}: {fault}; a tar of pictures should lie in the folder itself"
            )
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
    lists = lists_in(root, pictures)
    refused = set() if lists else with_text_files(root, pictures, source, described)
    for path in lists:
        refused |= listed(root, path, pictures, source, described)
    source.notes += passed_over(root)
    for name in sorted(pictures - described.keys() - refused):
        source.leave_out("all", name, "has no caption")
    return described


def listed(root: Path, path: Path, pictures: set[str], source: Source, described: dict[str, Record]) -> set[str]:
    """Take up what a list says of the pictures below the folder that it lies in; gives those left out for it."""
    reason = no_file_inside(root, path, walked=True)
    if reason:
        raise DataError(f"{path}: {reason}; the captions should be a file in the folder itself")
    below = "" if path.parent == root else f"{path.parent.relative_to(root).as_posix()}/"
    names = Names(path.parent, (name.removeprefix(below) for name in pictures if name.startswith(below)))
    refused = set()
    for _, line in read_list(path):
        try:
            name = f"{below}{names.find(line.file)}"
        except NotMatched as fault:
            source.leave_out("all", f"{below}{line.file}", str(fault))
            continue
        if name in described:
            source.leave_out("all", name, "is described twice; the first is kept")
        elif not line.texts():
            refused.add(name)
            source.leave_out("all", name, "has no caption that is not blank")
        else:
            captions = unrepeated(line.texts(), name, source)
            described[name] = Record(0, root / name, captions, class_index=line.class_index)
    source.notes += names.note(f"{below}{path.name}")
    return refused - described.keys()


def with_text_files(root: Path, pictures: set[str], source: Source, described: dict[str, Record]) -> set[str]:
    """Take up what text files say of the pictures beside them; gives the pictures whose files cannot be used."""
    refused = set()
    for name in sorted(pictures):
        path = beside(root, name)
        if path is None:
            continue
        try:
            captions = captions_beside(root, path, walked=True)
            if not captions:
                raise DataError("has no caption that is not blank")
        except DataError as fault:
            refused.add(name)
            source.leave_out("all", name, str(fault))
        else:
            described[name] = Record(0, root / name, unrepeated(tuple(captions), name, source))
    return refused


def unrepeated(captions: tuple[str, ...], image: str, source: Source) -> tuple[str, ...]:
    """Captions without those that are there twice, which would be trained on twice as often."""
    kept = tuple(dict.fromkeys(captions))
    for _ in range(len(captions) - len(kept)):
        source.leave_out("all", image, "caption is there twice", caption=True)
    return kept


def place_of(name: str) -> float:
    """A number in [0, 1) that depends on the file's name only."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
