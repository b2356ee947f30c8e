"""Localized Narratives (Pont-Tuset et al. 2020): what people said about an image, as JSON, one narrative a line.

Of a line only the image's id and the caption are kept; the times, the mouse's traces and the recording's name are not.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from t2icli.console import say
from t2icli.data.captions.text import numbered_lines
from t2icli.data.places import refuse_links
from t2icli.errors import DataError

PAGE = "https://google.github.io/localized-narratives/"
DOWNLOADS = "https://storage.googleapis.com/localized-narratives/annotations/"
PLACES = ("", "annotations/")  # where in the root the files may lie
LONGEST_LINE = 100_000_000  # bytes


class Narrative(BaseModel):
    """One line."""

    model_config = ConfigDict(strict=True)

    image_id: str
    caption: str


def parts(name: str, count: int) -> tuple[str, ...]:
    """The file names of a set of narratives that is published in ``count`` parts."""
    return tuple(f"{name}-{number:05d}-of-{count:05d}.jsonl" for number in range(count))


def place_of(root: Path, name: str) -> Path | None:
    """Where a file of narratives lies, if it does; a link out of the root is refused."""
    for place in PLACES:
        if (root / place / name).is_file():
            refuse_links(root, [f"{place}{name}"])
            return root / place / name
    return None


def missing_files(root: Path, names: tuple[str, ...]) -> list[str]:
    """A line for every file of narratives that is not there, with where it is to be had."""
    return [f"  {name}: from {DOWNLOADS}{name}" for name in names if place_of(root, name) is None]


def read_narratives(root: Path, name: str) -> Iterator[Narrative]:
    """The narratives of a file in their order, one line in memory at a time.

    A line that is not a narrative ends the reading: it means that the file is not the published one, and then no
    count and no score compares with anything.
    """
    path = place_of(root, name)
    if path is None:
        raise DataError(f"{root}: holds no {name}; get it from {DOWNLOADS}{name}")
    count = 0
    hint = "a narrative takes some kB: were its line ends lost?"
    for number, line in numbered_lines(path, LONGEST_LINE, hint):
        if not line.strip():
            continue
        try:
            yield Narrative.model_validate_json(line)
        except ValidationError as fault:
            first = fault.errors(include_input=False)[0]
            what = ".".join(map(str, first["loc"])) or "line"
            raise DataError(
                f"{path}: line {number}: {what}: {first['msg']}; "
                'should be like {"image_id": "...", "caption": "..."}; '
                f"was the download cut short? It is to be had from {DOWNLOADS}{name}"
            ) from None
        count += 1
    if not count:
        raise DataError(f"{path}: holds no narrative; get it again from {DOWNLOADS}{name}")
    say(f"{path}: {count:,} narratives")
