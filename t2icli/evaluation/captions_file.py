"""Captions of a folder of images that something else made: which picture was drawn for which caption.

The forms are those of every verb (t2icli/data/captions/lists.py); of several captions of a picture the first counts.
Lists without names give line k to the k-th picture in the natural order of names, 2.png before 10.png.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from t2icli.data.captions.folders import beside, lists_in, passed_over
from t2icli.data.captions.lists import FORMS, Line, Numbered, is_list_of_names, read_list
from t2icli.data.captions.names import Names, NotMatched, in_natural_order
from t2icli.data.captions.text import captions_beside, numbered_lines
from t2icli.data.places import shown
from t2icli.errors import DataError

NAMED = 3  # examples in a message
NATURAL = "natural order of names"


@dataclass(frozen=True)
class Described:
    """Pictures with their captions, in the order of the pictures' paths."""

    paths: Sequence[Path]
    texts: Sequence[str]
    images: Sequence[int]  # equal numbers belong to one real image
    classes: Sequence[int]  # -1: none
    boxes: Sequence[Sequence[tuple[str, float, float, float, float]]] | None
    origin: Path  # the list, or the folder whose pictures have a text file each
    order: str | None = None  # by which captions without names were given to pictures
    notes: Sequence[str] = ()


def find_captions(folder: Path) -> Path | None:
    """The list of captions that lies in a folder of images itself."""
    return next((path for path in lists_in(folder, ()) if path.is_file()), None)


def read_captions(file: Path, folder: Path, pictures: Sequence[Path]) -> Described:
    """The captions of all pictures; ``DataError`` where one has none, or a caption has no picture."""
    if not file.is_file():
        raise DataError(f"--captions {file}: no such file; it should hold {FORMS}")
    if file.suffix.lower() == ".txt":
        return in_order(file, folder, pictures)
    if not is_list_of_names(file):
        raise DataError(f"{file}: captions come as {FORMS}")
    return by_name([(file, folder)], folder, pictures)


def captions_lying_in(folder: Path, pictures: Sequence[Path]) -> tuple[Described | None, list[str]]:
    """The captions that lie in a folder of images, if any do for all of them; and remarks for the result."""
    names = relative(folder, sorted(pictures))
    lists = lists_in(folder, names)
    if lists:
        return by_name([(file, file.parent) for file in lists], folder, pictures), passed_over(folder)
    files = {name: beside(folder, name) for name in names}
    found = {name: file for name, file in files.items() if file is not None}
    if not found:
        return None, []
    if len(found) < len(names):
        return None, [
            f"{len(found):,} of the {len(names):,} pictures of {folder} have captions in a text file beside them: "
            "as the others have none, captions are taken for unknown"
        ]
    lines: dict[str, Line] = {}
    for name, file in found.items():
        try:
            captions = captions_beside(folder, file)
        except DataError as fault:
            raise DataError(f"{folder / name}: {fault}") from None
        if not captions:
            raise DataError(f"{file}: holds no caption, or a blank one")
        lines[name] = Line(captions=captions)
    return gathered(folder, folder, pictures, lines), []


def in_order(file: Path, folder: Path, pictures: Sequence[Path]) -> Described:
    """A caption a line, for the pictures in the natural order of their names."""
    captions = [text for _, text in numbered_lines(file)]
    while captions and not captions[-1].strip():  # editors like to end a file with empty lines
        captions.pop()
    blank = next((number for number, text in enumerate(captions, start=1) if not text.strip()), None)
    if blank is not None:
        raise DataError(f"{file}: line {blank} is blank, and the line of a picture; each was drawn for a caption")
    plain = relative(folder, sorted(pictures))
    if len(captions) != len(plain):
        raise DataError(f"{file}: holds {len(captions):,} captions, one a line, for {len(plain):,} pictures")
    natural = in_natural_order(plain)
    said = dict(zip(natural, captions, strict=True))
    found = gathered(file, folder, pictures, {name: Line(captions=[said[name]]) for name in plain})
    moved = next((place for place in range(len(plain)) if plain[place] != natural[place]), None)
    notes = [] if moved is None else [
        f"{file.name}: its lines went to the pictures in the natural order of their names (line {moved + 1} to "
        f"{shown(natural[moved])}), which is not the order of their letters ({shown(plain[moved])})"
    ]  # fmt: skip
    return replace(found, order=NATURAL, notes=notes)


def by_name(lists: Sequence[tuple[Path, Path]], folder: Path, pictures: Sequence[Path]) -> Described:
    """Lists that name their pictures, each with the folder from which its names count."""
    described: dict[str, Line] = {}
    notes: list[str] = []
    for file, top in lists:
        names = Names(top, relative(top, [path for path in pictures if path.is_relative_to(top)]))
        for name, number, line in matched(file, top, names, list(read_list(file))):
            inside = (top / name).relative_to(folder).as_posix()
            if inside in described:
                raise DataError(f"{file}: line {number}: {shown(line.file)} is described twice; "
                                "each picture was drawn for one caption")  # fmt: skip
            if not line.texts():
                raise DataError(f"{file}: line {number}: {shown(line.file)} has no caption, or a blank one")
            described[inside] = line
        notes += names.note(file.name)
    found = gathered(lists[0][0], folder, pictures, described)
    return replace(found, notes=[*notes, *found.notes])


def matched(file: Path, top: Path, names: Names, lines: Sequence[Numbered]) -> Iterator[tuple[str, int, Line]]:
    """Every line with the picture that it means; ``DataError`` where some mean none."""
    lost: list[tuple[str, NotMatched]] = []
    for number, line in lines:
        try:
            yield names.find(line.file), number, line
        except NotMatched as fault:
            lost.append((line.file, fault))
    if lost:
        remedy = next((f"; for {shown(name)}: {fault.remedy}" for name, fault in lost if fault.remedy), "")
        raise DataError(
            f"{file}: {len(lost):,} of {len(lines):,} captions have no picture in {top}, "
            f"e.g. {some([name for name, _ in lost])}{remedy}"
        )


def gathered(origin: Path, folder: Path, pictures: Sequence[Path], described: dict[str, Line]) -> Described:
    """What is said of all pictures, in the order of their paths; ``DataError`` where of one nothing is said."""
    ordered = sorted(pictures)
    names = relative(folder, ordered)
    silent = [name for name in names if name not in described]
    if silent:
        raise DataError(
            f"{origin}: {len(silent):,} of the {len(names):,} pictures of {folder} have no caption, e.g. {some(silent)}"
        )
    rows = [described[name] for name in names]
    numbers: dict[int | str, int] = {}
    keys = [f"file {name}" if row.image is None else row.image for name, row in zip(names, rows, strict=True)]
    told = [row.boxes or [] for row in rows]
    several = sum(len(row.texts()) > 1 for row in rows)
    return Described(
        ordered,
        [row.texts()[0] for row in rows],
        [numbers.setdefault(key, len(numbers)) for key in keys],
        [row.class_index for row in rows],
        told if any(told) else None,
        origin,
        notes=[f"{several:,} pictures of {folder} have several captions: the first of each counts"] if several else [],
    )


def relative(folder: Path, pictures: Sequence[Path]) -> list[str]:
    """The names of pictures as they count from a folder."""
    return [path.relative_to(folder).as_posix() for path in pictures]


def some(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(map(shown, names[:NAMED]))
