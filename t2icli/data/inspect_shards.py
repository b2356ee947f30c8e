"""What a folder of shards holds: counts, lengths of captions, words, duplicates, balance, and pictures to look at.

Shards are read one after another. What stays in memory is 49 bytes a picture, for its hashes, and the counts.
"""

import hashlib
import io
import textwrap
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from t2icli.console import progress
from t2icli.data.build import report_of
from t2icli.data.decoding import ImageError, as_rgb, opened, reason
from t2icli.data.manifest import entries, numbers, read_manifest
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard
from t2icli.errors import DataError, UserError
from t2icli.picture_formats import refuse_no_picture, write_picture
from t2icli.storage import no_space
from t2icli.vocabulary import words_of

BINS = 16  # of a histogram, at most
MOST_FREQUENT = 20  # words that are named
FEWEST = 5  # classes that are named
GROUPS_LISTED = 1000  # duplicates that are named; all are counted
GROUPS_SHOWN = 10  # to people, of each as many images
IMAGES_AT_ONCE = 50  # between two reports of progress

COLUMNS, ROWS = 6, 4  # of the contact sheet
CELL, LINES, LINE = 192, 4, 15  # side of a picture, and lines of text below it with their height; pixels
FONT_SIZE, LETTERS = 12, 30  # letters that fit in a line
SEED = 0

Advance = Callable[[int], None]


@dataclass
class Tally:
    """Counts over one split."""

    images: int = 0
    captions: int = 0
    images_without_captions: int = 0
    truncated: int | None = 0  # None: the shards do not say
    words: Counter[str] = field(default_factory=Counter)
    word_lengths: Counter[int] = field(default_factory=Counter)
    token_lengths: Counter[int] = field(default_factory=Counter)
    classes: Counter[int] = field(default_factory=Counter)
    boxes: Counter[str] = field(default_factory=Counter)
    images_with_boxes: int = 0


@dataclass
class Hashes:
    """Of every picture of every split: where it is from, the SHA-256 of its bytes and its average hash."""

    splits: "array[int]" = field(default_factory=lambda: array("B"))
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    exact: bytearray = field(default_factory=bytearray)  # 32 bytes each
    near: "array[int]" = field(default_factory=lambda: array("Q"))


def inspect(folder: Path, split: str | None = None, sheet: Path | None = None) -> dict[str, Any]:
    """Read one split of a shard folder, or all; draw a contact sheet of each and give what was found.

    A sheet is written to ``folder/inspect-SPLIT.png``, or to ``sheet`` where one split is read. Duplicates are looked
    for among the splits that are read. Damage is an error that names the shard and its row.
    """
    if sheet is not None:
        refuse_no_picture(sheet, "--sheet")
    manifest = read_manifest(folder)
    names = [split] if split is not None else list(dict.fromkeys(entry.split for entry in entries(manifest)))
    if sheet is not None and len(names) != 1:
        raise UserError(f"--sheet {sheet}: one file for the splits {', '.join(names)} of {folder}; add --split NAME")
    folders = [ShardFolder(folder, name) for name in names]
    sheets = [sheet or folder / f"inspect-{name}.png" for name in names]
    for path, shards in zip(sheets, folders, strict=True):
        write_sheet(path, shards)  # first, because reading every picture only to find no place for it is lost time
    hashes, found = Hashes(), {}
    with progress(f"inspect {folder}", sum(map(len, folders)), "images") as advance:
        for number, shards in enumerate(folders):
            tally = read_split(shards, number, hashes, advance)
            found[names[number]] = {**in_numbers(tally, shards), "sheet": str(sheets[number])}
    duplicates = find_duplicates(hashes, names)
    of_all = {key: numbers(manifest, key) for key in ("decoding", "left_out")}
    return {"folder": str(folder), "dataset": manifest["dataset"], "splits": found, **of_all, "duplicates": duplicates}


# ---------------------------------------------------------------------------- reading


def read_split(folder: ShardFolder, number: int, hashes: Hashes, advance: Advance) -> Tally:
    """Count over a split, and add its pictures to ``hashes`` as those of split ``number``."""
    tally = Tally()
    for index in range(len(folder.entries)):
        shard = folder.shard(index)
        tally.boxes.update(dict.fromkeys(shard.categories, 0))
        report = report_of(shard)
        if report is None or tally.truncated is None:
            tally.truncated = None
        else:
            tally.truncated += report.truncated_captions
        for start in range(0, len(shard), IMAGES_AT_ONCE):
            rows = range(start, min(start + IMAGES_AT_ONCE, len(shard)))
            for row in rows:
                read_row(shard, row, tally)
                add_hashes(shard, row, number, hashes)
            advance(len(rows))
    return tally


def read_row(shard: Shard, row: int, tally: Tally) -> None:
    """Count one picture, its captions and its boxes."""
    captions = shard.captions(row)
    tally.images += 1
    tally.captions += len(captions)
    tally.images_without_captions += not captions
    for caption in captions:
        words = words_of(shard.text(caption))
        tally.words.update(words)
        tally.word_lengths[len(words)] += 1
        tally.token_lengths[shard.token_count(caption)] += 1
    tally.classes[int(shard.classes[row])] += 1
    boxes = shard.objects(row)
    tally.boxes.update(box.category for box in boxes)
    tally.images_with_boxes += bool(boxes)


def add_hashes(shard: Shard, row: int, split: int, hashes: Hashes) -> None:
    """Hash the bytes of a picture, and what it shows."""
    hashes.exact += hashlib.sha256(shard.image_bytes(row)).digest()
    hashes.near.append(average_hash(open_row(shard, row, CELL // 3)))
    hashes.splits.append(split)
    hashes.ids.append(int(shard.ids[row]))


def open_row(shard: Shard, row: int, side: int) -> Image.Image:
    """A picture decoded, a JPEG at the lowest resolution that still has ``side`` pixels a side."""
    data = shard.image_bytes(row)
    try:
        image = opened(io.BytesIO(data))
        image.draft(None, (side, side))
        image.load()
        return as_rgb(image)
    except Exception as fault:  # Pillow's plugins raise whatever their parsing meets
        why = str(fault) if isinstance(fault, ImageError) else reason(fault, data)
        raise DataError(f"{shard.path}: image {row} (id {shard.ids[row]}): {why}") from None


def average_hash(image: Image.Image) -> int:
    """64 bits: which of 8 x 8 grey fields are brighter than their mean. Survives another size and quality."""
    fields = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), np.float64)
    return int.from_bytes(np.packbits(fields > fields.mean()).tobytes(), "big")


# ---------------------------------------------------------------------------- what was counted, as plain values


def in_numbers(tally: Tally, folder: ShardFolder) -> dict[str, Any]:
    """A split as JSON has it; what the data set does not have is null."""
    truncated, captions = tally.truncated, tally.captions
    once = sorted(word for word, count in tally.words.items() if count == 1)
    frequent = sorted(tally.words.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]
    return {
        "images": tally.images,
        "captions": captions,
        "tokens": sum(length * count for length, count in tally.token_lengths.items()),
        "bytes": sum(entry.bytes for entry in folder.entries),
        "shards": len(folder.entries),
        "images_without_captions": tally.images_without_captions,
        "truncated_captions": truncated,
        "truncated_share": truncated / captions if truncated is not None and captions else None,
        "words_per_caption": lengths(tally.word_lengths),
        "tokens_per_caption": lengths(tally.token_lengths) if any(tally.token_lengths) else None,
        "vocabulary": {
            "words": len(tally.words),
            "most_frequent": [{"word": word, "count": count} for word, count in frequent],
            "once": len(once),
            "once_examples": once[:MOST_FREQUENT],
        },
        "classes": balance(tally.classes),
        "objects": {
            "boxes": tally.boxes.total(),
            "images_with_boxes": tally.images_with_boxes,
            "categories": dict(sorted(tally.boxes.items(), key=lambda item: (-item[1], item[0]))),
        }
        if tally.boxes.total()
        else None,
    }


def lengths(counts: Counter[int]) -> dict[str, Any] | None:
    """Mean, median and 95th percentile of lengths that were counted, and a histogram; both ends of a bin belong."""
    if not counts:
        return None
    values, weights = np.array(sorted(counts)), np.array([counts[length] for length in sorted(counts)])
    median, most = np.quantile(values, [0.5, 0.95], weights=weights, method="inverted_cdf")
    low, high = int(values[0]), int(values[-1])
    width = -(-(high - low + 1) // BINS)
    bins = [
        {
            "from": first,
            "to": first + width - 1,
            "captions": int(weights[(values >= first) & (values < first + width)].sum()),
        }
        for first in range(low, high + 1, width)
    ]
    return {
        "mean": float(np.average(values, weights=weights)),
        "median": int(median),
        "percentile_95": int(most),
        "max": high,
        "bins": bins,
    }


def balance(counts: Counter[int]) -> dict[str, Any] | None:
    """How many pictures the classes have; none where the data set has no classes."""
    known = {index: count for index, count in counts.items() if index >= 0}
    if not known:
        return None
    fewest = sorted(known.items(), key=lambda item: (item[1], item[0]))[:FEWEST]
    return {
        "classes": len(known),
        "images_without_class": counts[-1],
        "min": min(known.values()),
        "median": float(np.median(list(known.values()))),
        "max": max(known.values()),
        "fewest": [{"class": index, "images": count} for index, count in fewest],
    }


# ---------------------------------------------------------------------------- duplicates


def find_duplicates(hashes: Hashes, names: Sequence[str]) -> dict[str, Any]:
    """Pictures with equal bytes, and apart from them pictures that look alike."""
    exact = np.frombuffer(bytes(hashes.exact), np.uint64).reshape(-1, 4)
    near = np.frombuffer(hashes.near, np.uint64).reshape(-1, 1)
    alike = [group for group in groups(near) if len(np.unique(exact[group], axis=0)) > 1]
    return {"exact": named(groups(exact), hashes, names), "near": named(alike, hashes, names)}


def groups(keys: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """Rows that are equal, as lists of two or more row numbers."""
    _, which, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    repeated = np.flatnonzero(counts[which] > 1)
    repeated = repeated[np.argsort(which[repeated], kind="stable")]
    ends = np.flatnonzero(np.diff(which[repeated])) + 1
    return np.split(repeated, ends) if len(repeated) else []


def named(found: list[NDArray[np.int64]], hashes: Hashes, names: Sequence[str]) -> dict[str, Any]:
    """Groups of duplicates by split and id; those that lie in several splits come first."""
    crossing = {group[0]: len({hashes.splits[i] for i in group}) > 1 for group in found}
    ordered = sorted(found, key=lambda group: (not crossing[group[0]], group[0]))
    listed = [[{"split": names[hashes.splits[i]], "id": hashes.ids[i]} for i in group] for group in ordered]
    return {
        "groups": len(found),
        "images": sum(map(len, found)),
        "groups_across_splits": sum(crossing.values()),
        "listed": listed[:GROUPS_LISTED],
    }


# ---------------------------------------------------------------------------- contact sheet


def write_sheet(path: Path, folder: ShardFolder) -> None:
    """Draw pictures of a split, chosen at a fixed seed, each with its id and its first caption."""
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(folder))[: COLUMNS * ROWS])
    height = CELL + LINES * LINE
    sheet = Image.new("RGB", (COLUMNS * CELL, max(1, -(-len(chosen) // COLUMNS)) * height), "white")
    for place, image in enumerate(chosen):
        row, column = divmod(place, COLUMNS)
        sheet.paste(cell(*folder.locate(int(image))), (column * CELL, row * height))
    known = {"shards": folder.folder, "split": folder.split}
    try:
        write_picture(path, sheet, known)
    except (OSError, UserError) as fault:
        if no_space(fault):
            raise
        raise UserError(
            f"{path}: the contact sheet cannot be written ({getattr(fault, 'strerror', fault)}); choose another place "
            f"for it, a split at a time: --split {folder.split} --sheet FILE.png"
        ) from None


def cell(shard: Shard, row: int) -> Image.Image:
    """One picture with its text."""
    image = open_row(shard, row, CELL)
    image.thumbnail((CELL - 4, CELL - 4))
    drawn = Image.new("RGB", (CELL, CELL + LINES * LINE), "white")
    drawn.paste(image, ((CELL - image.width) // 2, (CELL - image.height) // 2))
    captions = shard.captions(row)
    text = printable(f"{shard.ids[row]}: {shard.text(captions[0])}" if captions else f"{shard.ids[row]}: (no caption)")
    lines = textwrap.wrap(text, LETTERS, max_lines=LINES, placeholder=" ...")
    font = ImageFont.load_default(FONT_SIZE)
    for number, line in enumerate(lines):
        ImageDraw.Draw(drawn).text((4, CELL + number * LINE), line, "black", font)
    return drawn


def printable(text: str) -> str:
    """Without characters that break lines or turn the direction of what follows; letters of all scripts stay."""
    return "".join(" " if unicodedata.category(letter).startswith(("C", "Z")) else letter for letter in text)


# ---------------------------------------------------------------------------- for people


def in_words(result: dict[str, Any]) -> str:
    """What was found, as text with bars."""
    lines = [f"{result['folder']}: {result['dataset']}"]
    for name, split in result["splits"].items():
        lines += [
            "",
            f"{name}: {split['images']:,} images, {split['captions']:,} captions, {split['tokens']:,} tokens, "
            f"{split['bytes'] / 1e6:,.1f} MB in {split['shards']:,} shards",
            f"  images without a caption: {split['images_without_captions']:,}",
        ]
        if split["truncated_share"] is not None:
            lines.append(f"  captions truncated: {split['truncated_captions']:,} ({split['truncated_share']:.1%})")
        for unit in ("words", "tokens"):
            lines += bars(split[f"{unit}_per_caption"], unit)
        lines += [*words_in_words(split["vocabulary"]), *classes_in_words(split["classes"])]
        lines += [*objects_in_words(split["objects"]), f"  contact sheet: {split['sheet']}"]
    for what, key in (("decoded with care", "decoding"), ("left out by prepare", "left_out")):
        counts = ", ".join(
            f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(result[key].items()) if count
        )
        lines += ["", f"{what}: {counts}"] if counts else []
    for kind, meaning in (("exact", "equal bytes"), ("near", "look alike, by 8 x 8 fields; see for yourself")):
        lines += ["", *duplicates_in_words(result["duplicates"][kind], f"{kind} duplicates ({meaning})")]
    return "\n".join(lines)


def bars(found: dict[str, Any] | None, unit: str) -> list[str]:
    """A histogram of lengths, a line a bin."""
    if found is None:
        return []
    lines = [
        f"  {unit} per caption: mean {found['mean']:.1f}, median {found['median']}, "
        f"95 % have no more than {found['percentile_95']}, max {found['max']}"
    ]
    highest, total = (function(b["captions"] for b in found["bins"]) for function in (max, sum))
    for part in found["bins"]:
        label = f"{part['from']}" if part["from"] == part["to"] else f"{part['from']}-{part['to']}"
        bar = "#" * -(-40 * part["captions"] // highest)
        lines.append(f"  {label:>9} {bar:40} {part['captions']:,} ({part['captions'] / total:.1%})")
    return lines


def words_in_words(found: dict[str, Any]) -> list[str]:
    """The vocabulary."""
    frequent = ", ".join(f"{row['word']} {row['count']:,}" for row in found["most_frequent"])
    return [f"  vocabulary: {found['words']:,} words, {found['once']:,} of them occur once", f"    {frequent}"]


def classes_in_words(found: dict[str, Any] | None) -> list[str]:
    """The balance of classes."""
    if found is None:
        return []
    fewest = ", ".join(f"class {row['class']}: {row['images']:,}" for row in found["fewest"])
    return [
        f"  classes: {found['classes']:,}, with {found['min']:,} to {found['max']:,} images "
        f"(median {found['median']:,.0f}); fewest: {fewest}"
    ]


def objects_in_words(found: dict[str, Any] | None) -> list[str]:
    """The categories of boxes."""
    if found is None:
        return []
    named_counts = ", ".join(f"{name} {count:,}" for name, count in found["categories"].items())
    return [f"  objects: {found['boxes']:,} boxes in {found['images_with_boxes']:,} images", f"    {named_counts}"]


def duplicates_in_words(found: dict[str, Any], title: str) -> list[str]:
    """How many duplicates, a warning where a split leaks into another, and the first groups."""
    lines = [f"{title}: {found['images']:,} images in {found['groups']:,} groups"]
    if found["groups_across_splits"]:
        lines.append(f"  {found['groups_across_splits']:,} groups lie in more than one split: a test image is a leak")
    for group in found["listed"][:GROUPS_SHOWN]:
        lines.append("  " + " = ".join(f"{image['split']} {image['id']}" for image in group[:GROUPS_SHOWN]))
    if found["groups"] > GROUPS_SHOWN:
        lines.append(f"  and {found['groups'] - GROUPS_SHOWN:,} more groups; --json lists {GROUPS_LISTED:,}")
    return lines
