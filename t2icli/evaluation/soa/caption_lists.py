"""The caption lists of Semantic Object Accuracy: read, built from other captions, and what to generate for them.

Each label has a list of the captions that name it. The official ones are pickles of Python 2; ours are JSON files with
the same columns. Built from COCO's 2014 validation captions, ours differ in what no rule can know: the official lists
rest on AttnGAN's 40,470 test images of 40,504, in that list's own order. Given that list, they are the same.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t2icli.data.captions.text import lines_in, text_of
from t2icli.documents import parse_json
from t2icli.errors import DataError
from t2icli.evaluation.soa.labels import LABELS, PERSON, labels_of
from t2icli.pickles import read_pickle
from t2icli.storage import make_folder, refuse_no_folder, write_text

COLUMNS = ("image_id", "caption_id", "caption")  # of our files
KEYS = ("image_id", "id", "caption")  # of the official ones
WHOLE = re.compile(r"[0-9]{1,18}")
Lists = Mapping[int, Sequence["Entry"]]


@dataclass(frozen=True)
class Entry:
    """One caption of a list."""

    image_id: int
    caption_id: int
    caption: str


@dataclass(frozen=True)
class Written:
    """How large the lists are that were built from a file of captions."""

    captions: Mapping[int, int]  # label -> entries of its list
    images: Mapping[int, int]  # label -> images that these belong to
    all_images: int  # with captions in the file
    left_out: int  # of these, because they are not on the list of images
    absent: int  # on the list of images, and without captions in the file


def read_lists(folder: Path) -> dict[int, list[Entry]]:
    """The lists of a folder by label, ascending; fewer than 80 are for the caller to judge.

    It holds ``label_05_bus.pkl`` and so on as the authors published them, or ``.json`` files of ``write_lists``.
    DataError where there are none, where one is damaged, and where a label comes twice.
    """
    paths = sorted(path for path in folder.glob("label_*") if path.suffix in (".pkl", ".json"))
    if not paths:
        raise DataError(
            f"{folder}: holds no caption lists; expected label_00_person to label_79_toothbrush as .pkl (the official "
            "ones) or .json (of t2i data soa-captions)"
        )
    lists: dict[int, list[Entry]] = {}
    origin: dict[int, Path] = {}
    for path in paths:
        label, entries = read_official(path) if path.suffix == ".pkl" else read_own(path)
        if label in lists:
            raise DataError(f"{folder}: label {label} comes twice: {origin[label].name} and {path.name}; keep one")
        lists[label], origin[label] = entries, path
    return dict(sorted(lists.items()))


def read_official(path: Path) -> tuple[int, list[Entry]]:
    """One official pickle: a list of tables with image_id, id and caption; its name says the label."""
    number = re.match(r"label_(\d\d)_", path.name)
    if number is None:
        raise DataError(f"{path}: its name does not say a label; expected e.g. label_05_bus.pkl")
    rows = read_pickle(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: damaged; expected a list of tables with {', '.join(KEYS)}, as the official lists are")
    return known_label(int(number[1]), path), [
        entry([row.get(key) for key in KEYS], path, place) for place, row in enumerate(rows, 1)
    ]


def read_own(path: Path) -> tuple[int, list[Entry]]:
    """One JSON file: label, columns and rows."""
    try:
        table = parse_json(text_of(path))
        places = [table["columns"].index(name) for name in COLUMNS]
        rows = [[row[place] for place in places] for row in table["rows"]]
        label = int(table["label"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as fault:
        raise DataError(
            f"{path}: damaged ({fault!r}); expected a JSON object with label, columns ({', '.join(COLUMNS)}) and rows"
        ) from None
    return known_label(label, path), [entry(row, path, place) for place, row in enumerate(rows, 1)]


def known_label(label: int, path: Path) -> int:
    """The label, if there is such a one."""
    if not 0 <= label < len(LABELS):
        raise DataError(f"{path}: label {label} does not exist; the labels are 0 to {len(LABELS) - 1}")
    return label


def entry(values: Sequence[Any], path: Path, place: int) -> Entry:
    """One row, checked."""
    image, number, caption = values
    if type(image) is not int or type(number) is not int or not isinstance(caption, str):
        raise DataError(f"{path}: row {place} is damaged: {list(values)!r}; expected two whole numbers and a caption")
    return Entry(image, number, caption)


def write_lists(captions_json: Path, out: Path, images: Path | None = None) -> Written:
    """Build all 80 lists by the rules, one file a label in ``out``.

    Rows stand in the order of image ids and, within an image, of caption ids. ``images`` names a file of image names
    or ids that says instead which images count and in what order, e.g. AttnGAN's test/filenames.pickle: with it the
    official lists come out row for row.
    """
    refuse_no_folder(out)
    captions = read_captions(captions_json)
    by_image: dict[int, list[Entry]] = {}
    for caption in sorted(captions, key=lambda c: (c.image_id, c.caption_id)):
        by_image.setdefault(caption.image_id, []).append(caption)
    order = list(by_image) if images is None else read_images(images)
    lists = build(caption for image in order for caption in by_image.get(image, ()))
    write_files(lists, captions_json, out)
    return Written(
        captions={label: len(entries) for label, entries in lists.items()},
        images={label: len({e.image_id for e in entries}) for label, entries in lists.items()},
        all_images=len(by_image),
        left_out=len(by_image.keys() - set(order)),
        absent=len(set(order) - by_image.keys()),
    )


def build(captions: Iterable[Entry]) -> dict[int, list[Entry]]:
    """The list of every label, in the order of the captions."""
    lists: dict[int, list[Entry]] = {label.id: [] for label in LABELS}
    for caption in captions:
        for label in labels_of(caption.caption):
            lists[label].append(caption)
    return lists


def write_files(lists: Lists, origin: Path, out: Path) -> None:
    """One file a label, a row a line; each is whole or not there."""
    make_folder(out)
    for label, entries in lists.items():
        head = {"label": label, "file": origin.name, "columns": COLUMNS}
        rows = ",\n".join(json.dumps([e.image_id, e.caption_id, e.caption], ensure_ascii=False) for e in entries)
        text = json.dumps(head, ensure_ascii=False)[:-1] + f', "rows": [\n{rows}\n]}}\n'
        write_text(out / f"{LABELS[label].file_stem}.json", text)


def read_captions(path: Path) -> list[Entry]:
    """All captions of a file: COCO's annotations, or a caption a line as Localized Narratives have them.

    Where captions have no ids of their own they are numbered from 0 in the order of the file.
    """
    found = []
    for place, row in enumerate(annotations(path)):
        caption = None
        if isinstance(row, dict):
            caption, image, number = row.get("caption"), whole(row.get("image_id")), whole(row.get("id", place))
        if not isinstance(caption, str) or image is None or number is None:
            raise DataError(
                f"{path}: caption {place + 1} is damaged: {json.dumps(row)[:200]}; expected image_id (a whole number) "
                "and caption (text)"
            )
        found.append(Entry(image, number, caption))
    if not found:
        raise DataError(f"{path}: holds no captions")
    return found


def whole(value: Any) -> int | None:
    """A whole number, be it written as text as narratives have it; none for anything else."""
    if isinstance(value, str) and WHOLE.fullmatch(value):
        return int(value)
    return value if type(value) is int else None


def annotations(path: Path) -> list[Any]:
    """The rows of either kind of file."""
    if not path.exists():
        raise DataError(f"{path}: no such file; expected captions as COCO's captions_val2014.json has them")
    text = text_of(path)
    lines = [line for line in lines_in(text) if line.strip()]
    try:
        # A file of lines is no JSON document as a whole, but its first line is one.
        if len(lines) > 1 and lines[0].lstrip().startswith("{") and lines[0].rstrip().endswith("}"):
            return [parse_json(line) for line in lines]
        document = parse_json(text)
    except ValueError as fault:
        raise DataError(f"{path}: not valid JSON ({fault})") from None
    if isinstance(document, dict) and "annotations" not in document:
        document = {"annotations": [document]}  # a file of one line
    rows = document["annotations"] if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise DataError(f"{path}: not a file of captions; expected annotations with image_id, id and caption")
    return rows


def read_images(path: Path) -> list[int]:
    """Image ids from a list of names or ids: a pickle as AttnGAN's filenames.pickle, or text with one a line.

    The id is the number that a name ends in: COCO_val2014_000000542079 is 542079.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; expected one image name or id a line, or a .pickle of them")
    names = read_pickle(path) if path.suffix in (".pickle", ".pkl") else text_of(path).split()
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: holds no list of images; expected their names or ids, one a line")
    ids = list(numbers(names, path))
    repeated = [image for image, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DataError(f"{path}: lists image {repeated[0]} more than once")
    return ids


def numbers(names: Iterable[Any], path: Path) -> Iterator[int]:
    """The number that each name ends in, apart from a file's ending."""
    for name in names:
        digits = re.search(r"([0-9]{1,18})(\.\w+)?$", str(name))
        if digits is None:
            raise DataError(f"{path}: {name!r} does not end in an image's number")
        yield int(digits[1])


def plan(
    lists: Lists, images_per_caption: int = 3, person_captions: int = 30_000, seed: int = 0
) -> list[tuple[int, Entry]]:
    """What to generate, one (label, caption) an image: each caption three times, persons' captions once.

    Of the persons' captions ``person_captions`` are drawn without replacement (all, if there are no more) and kept in
    the order of the list. The official lists give 420,372 images.
    """
    wanted: list[tuple[int, Entry]] = []
    for label, entries in lists.items():
        if label == PERSON:
            # RandomState: its stream is promised never to change between versions of numpy.
            count = min(person_captions, len(entries))
            drawn = np.random.RandomState(seed).permutation(len(entries))[:count]
            wanted += [(label, entries[row]) for row in sorted(drawn.tolist())]
        else:
            wanted += [(label, caption) for caption in entries for _ in range(images_per_caption)]
    return wanted
