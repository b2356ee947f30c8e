"""Lists of captions, in whichever form people have them, read for every verb in the same way.

    captions.jsonl   {"file": "a.jpg", "captions": ["...", "..."], "class": 3}     one line a picture
    metadata.jsonl   {"file_name": "a.jpg", "text": "..."}                         as image folders of Hugging Face
    captions.csv     file,caption  (or file_name,text; also image and class)       a line a caption, with this header
    captions.txt     one caption a line, in the natural order of the pictures' names

Of a line all but the file may be left out: ``"caption": "..."`` is ``"captions": ["..."]``; ``class`` is the picture's;
``image`` says to which real picture a caption belongs (pictures of one real image are no negatives of each other);
``boxes`` where a layout told the model to draw what (name, x, y, width, height in shares). Where the file is called
``file_name``, other keys are the data set's own and are passed over; elsewhere they are taken for slips and refused.
Captions stay as they are written, to the spaces at their ends, which some rules read.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from t2icli.data.captions.text import numbered_lines
from t2icli.data.places import shown
from t2icli.errors import DataError

CLASS_LIMIT = 2**31 - 1  # what a shard's i4 holds
FILE, CAPTION = ("file", "file_name"), ("caption", "text")  # what the two may be called
FORMS = '.jsonl lines like {"file": "a.png", "caption": "a red bus"}, .csv with the columns file and caption, or .txt'
LIKE = '{"file": "a.jpg", "captions": ["a red bus"]}'
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
TABLES, LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
WHOLE = re.compile(r"-?[0-9]{1,10}")

# Every escape of JSON, so that an escaped backslash before a "u" is not taken for one, with a space before it; a lone
# half of a pair is named.
ESCAPE = re.compile(
    r" ?\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class Line(BaseModel):
    """What a list says of one picture."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    file: str = Field("", validation_alias=AliasChoices(*FILE))
    caption: str | None = Field(None, validation_alias=AliasChoices(*CAPTION))
    captions: list[str] | None = None
    image: int | str | None = None
    class_index: int = Field(-1, validation_alias="class", ge=-1, le=CLASS_LIMIT)
    boxes: list[tuple[str, float, float, float, float]] | None = None

    def texts(self) -> tuple[str, ...]:
        """Its captions that are not blank, as they are written."""
        alone = [] if self.caption is None else [self.caption]
        return tuple(text for text in (*alone, *(self.captions or ())) if text.strip())


class OthersLine(Line):
    """The same among keys that are somebody else's."""

    model_config = ConfigDict(extra="ignore")


class Repeated(Exception):
    """A key that an object of JSON has twice."""


Shape = TypeVar("Shape", bound=BaseModel)
Numbered = tuple[int, Line]  # with the number of the line, from 1


def read_list(path: Path) -> Iterator[Numbered]:
    """What a list that names pictures says, line by line; the first line that cannot be understood ends the reading."""
    if path.suffix.lower() in TABLES:
        yield from from_csv(path)
        return
    for number, line in from_jsonl(path):
        if "file" not in line.model_fields_set:
            raise DataError(f"{path}: line {number}: file: Field required; should be like {LIKE}")
        yield number, line


def captions_alone(path: Path) -> list[str]:
    """The captions of a list of any form in its order, whatever pictures it names; blank ones are passed over."""
    if not path.exists():
        raise DataError(f"{path}: no such file of captions, one a line, or a list that ends in .jsonl or .csv")
    if path.suffix.lower() in TABLES:
        found = [text for _, line in rows_of(path, ()) for text in line.texts()]
    elif path.suffix.lower() in LINES:
        found = [text for _, line in from_jsonl(path) for text in line.texts()]
    else:
        found = [text for _, text in numbered_lines(path) if text.strip()]
    if not found:
        raise DataError(f"{path}: holds no caption; write one a line")
    return found


def is_list_of_names(path: Path) -> bool:
    """Whether a list says which picture each caption belongs to, as its name's ending tells."""
    return path.suffix.lower() in (*TABLES, *LINES)


# ---------------------------------------------------------------------------- JSON, an object a line


def from_jsonl(path: Path) -> Iterator[Numbered]:
    """Lines that are not blank."""
    for number, text in numbered_lines(path):
        if text.strip():
            try:
                yield number, parsed(text)
            except ValueError as fault:
                raise DataError(f"{path}: line {number}: {fault}; should be like {LIKE}") from None


def parsed(text: str) -> Line:
    """An object of JSON; ``ValueError`` says what is wrong with it."""
    text = without_lone_surrogates(text)
    shape = OthersLine if FILE[1] in keys_of(text) else Line
    return validated(shape, text, "line")


def validated(shape: type[Shape], text: str, whole: str) -> Shape:
    """JSON as what it should be; ``ValueError`` names the key, or the ``whole``, and says what is wrong with it."""
    try:
        return shape.model_validate_json(text)
    except ValidationError as fault:
        first = fault.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or whole
    raise ValueError(f"{where}: {first['msg']}")


def keys_of(text: str) -> set[str]:
    """The keys of an object of JSON, which ``ValueError`` says where one comes twice: readers would take the last.

    Whatever else is wrong with it is for those to say who read it.
    """
    try:
        value = json.loads(text, object_pairs_hook=once)
    except Repeated as fault:
        raise ValueError(f"{fault}: this key is there twice") from None
    except (ValueError, RecursionError):
        return set()
    return set(value) if isinstance(value, dict) else set()


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise Repeated(shown(next(key for key in keys if keys.count(key) > 1)))
    return found


def without_lone_surrogates(text: str) -> str:
    """JSON in which a half of a character, as is left where text was cut inside an emoji, is a space where none is."""

    def mended(escape: re.Match[str]) -> str:
        if not escape["lone"]:
            return escape[0]
        return "" if text.startswith(" ", escape.end()) else " "

    return ESCAPE.sub(mended, text)


# ---------------------------------------------------------------------------- tables


def from_csv(path: Path) -> Iterator[Numbered]:
    """The rows of a table, the captions of a picture gathered at its first."""
    gathered: dict[str, tuple[int, Line, list[str]]] = {}
    for number, row in rows_of(path, FILE):
        first, line, captions = gathered.setdefault(row.file, (number, row, []))
        if (row.image, row.class_index) != (line.image, line.class_index):
            raise DataError(
                f"{path}: line {number}: {shown(row.file)} has another image or class than in line {first}; "
                "a picture has one of each"
            )
        captions.append(row.caption or "")
    for number, line, captions in gathered.values():
        yield number, line.model_copy(update={"caption": None, "captions": captions})


def rows_of(path: Path, file_names: Sequence[str]) -> Iterator[Numbered]:
    """A row a caption; ``file_names`` is what the column of files may be called, nothing where none is needed."""
    lines = numbered_lines(path)
    number, header = next(lines, (1, ""))
    hinted = re.fullmatch(r'"?sep=(.)"?', header, re.IGNORECASE)  # Excel's own line, before the header
    if hinted:
        number, header = next(lines, (2, ""))
    separator, columns = columns_of(path, header, file_names, hinted[1] if hinted else None)
    spaced = f"{separator} " in header  # whoever writes so in the header does so in every row
    table = csv.reader((f"{line}\n" for _, line in lines), delimiter=separator, skipinitialspace=spaced, strict=True)
    while True:
        begin = number + table.line_num + 1
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error as fault:
            raise DataError(
                f"{path}: line {begin}: {fault}; is a quotation mark left open in it, or one too many?"
            ) from None
        if any(cell.strip() for cell in row):
            yield begin, line_of(path, begin, row, columns, separator)


def line_of(path: Path, number: int, row: list[str], columns: dict[str, int], separator: str) -> Line:
    """One row of a table."""
    if len(row) > columns["all"]:
        raise DataError(
            f"{path}: line {number} has more than the {columns['all']} columns of the first line; put captions with a "
            f"{SEPARATORS.get(separator, separator)} between quotation marks"
        )
    cells = {name: row[place] for name, place in columns.items() if place < len(row)}
    index = cells.get("class", "").strip() or "-1"
    if not WHOLE.fullmatch(index) or not -1 <= int(index) <= CLASS_LIMIT:
        raise DataError(
            f"{path}: line {number}: class {shown(index)!r} should be a whole number, from 0 to {CLASS_LIMIT}"
        )
    return Line.model_validate(
        {
            "file": cells.get("file", ""),
            "caption": cells.get("caption", ""),
            "image": cells.get("image") or None,
            "class": int(index),
        }
    )


def columns_of(path: Path, header: str, file_names: Sequence[str], hinted: str | None) -> tuple[str, dict[str, int]]:
    """What separates the cells of a table, and where its columns are; "all" says how many there are."""
    for separator in hinted or SEPARATORS:
        cells = cells_of(header, separator)
        wanted = [("file", file_names), ("caption", CAPTION), ("image", ("image",)), ("class", ("class",))]
        found = {name: [place for place, cell in enumerate(cells) if cell in names] for name, names in wanted}
        if not found["caption"] or not (found["file"] or not file_names):
            continue
        for name, places in found.items():
            if len(places) > 1:
                raise DataError(
                    f"{path}: its first line, {shown(header)!r}, names the column {name} more than once; keep one"
                )
        return separator, {name: places[0] for name, places in found.items() if places} | {"all": len(cells)}
    raise DataError(
        f"{path}: its first line is {shown(header)!r}; it should name the columns file and caption, with a comma, a "
        "semicolon or a tab between them"
    )


def cells_of(header: str, separator: str) -> list[str]:
    """The names of columns, however they are written."""
    try:
        cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # no header of a table
        return []
    return [cell.strip().casefold().replace(" ", "_") for cell in cells]
