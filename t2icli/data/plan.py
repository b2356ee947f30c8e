"""What a run of ``prepare`` will write, decided in full before anything is written.

One task is one shard is one file. The plan's hash names everything that the content of a shard depends on, so that
a shard of an earlier run is either exactly what is wanted or of no use.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from t2icli.data.manifest import SCHEMA, TextIdentity, canonical
from t2icli.data.source import Record, Source
from t2icli.data.text_encoder import NONE
from t2icli.errors import RecipeError
from t2icli.recipe import CaptionsKept, DataRecipe, Images, TextEncoder
from t2icli.vocabulary import WORD, Vocabulary, words_of

# Bytes a stored pixel takes, rounded up from photographs: JPEG quality 95 4:4:4 has 0.66, PNG 1.84.
BYTES_PER_PIXEL = {"jpeg": 0.8, "png": 2.0}
ASPECT = 1.4  # of a photograph, where it is kept
ENDS = ("Cc", "Cs", "Zl", "Zp")  # Unicode's kinds of characters that end a word and are none of a caption's own
LONGEST_CAPTION = 10_000  # characters; narratives have hundreds, and no text encoder reads more than a part of so many


@dataclass(frozen=True)
class Task:
    """One shard to be written."""

    file: str
    split: str
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Settings:
    """What a worker process needs to know to write shards."""

    out: Path
    images: Images
    text: TextEncoder
    dim: int
    categories: tuple[str, ...]
    attributes: dict[str, str | int]  # of every shard
    threads: int = 1  # for torch


@dataclass(frozen=True)
class Plan:
    """All tasks, and what was known to be unusable before they began."""

    tasks: tuple[Task, ...]
    left_out: tuple[dict[str, Any], ...]
    identity: dict[str, Any]  # what the shards depend on, nested, for a message that says what differs
    text: TextIdentity
    vocabulary: Vocabulary
    categories: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Equal for equal plans."""
        return hashlib.sha256(canonical(self.identity).encode()).hexdigest()

    @property
    def images(self) -> int:
        """Pictures that will be tried."""
        return sum(len(task.records) for task in self.tasks)

    @property
    def listed(self) -> int:
        """Pictures that the data set speaks of, usable or not."""
        return self.images + unusable_images(self.left_out)


def unusable_images(left_out: tuple[dict[str, Any], ...] | list[dict[str, Any]]) -> int:
    """How many lines of the quarantine are about whole images."""
    return sum(line["what"] == "image" for line in left_out)


def clean_caption(text: str) -> str:
    """A caption as it is written, spaces included, because SOA's rules read them: "a bus " names one, "a bus" none.

    Without invisible marks; control characters, ends of lines and lone surrogates (no UTF-8 exists for those) end a
    word, and add a space only where none is.
    """
    kinds = ((c, unicodedata.category(c)) for c in text)
    pieces = "".join("\n" if kind in ENDS else c for c, kind in kinds if kind != "Cf").split("\n")
    found = ""
    for piece in filter(None, pieces):
        apart = not found or found[-1].isspace() or piece[0].isspace()
        found += piece if apart else f" {piece}"
    return found


def trimmed_caption(text: str) -> str:
    """A caption as versions until 0.1 stored it: without spaces at its ends, and all others single.

    Folders that they began stay of one kind, and need not be made anew.
    """
    kinds = ((c, unicodedata.category(c)) for c in text)
    kept = (" " if kind in ("Cc", "Cs") else c for c, kind in kinds if kind != "Cf")
    return " ".join("".join(kept).split())


def make_plan(
    recipe: DataRecipe,
    source: Source,
    root: Path | None,
    text: TextIdentity,
    written: Callable[[str], str] = clean_caption,
) -> Plan:
    """Clean the captions, cut the splits into shards and hash what they depend on.

    ``written`` gives a caption as shards hold it.
    """
    check_text(recipe, text)
    left_out = list(source.left_out)
    splits = {split: list(clean(records, split, recipe, left_out, written)) for split, records in source.splits.items()}
    # where files lie may differ from machine to machine; what is in them is in the hash of the raw data
    places = {key for key, value in recipe.reader.model_dump().items() if isinstance(value, Path)}
    left_aside: Any = {"description": True, "text": {"model"}, "reader": places}
    settings = recipe.model_dump(mode="json", exclude=left_aside)
    identity = {
        "schema": SCHEMA,
        **settings,
        "text weights": text.sha256,
        "text tokenizer": text.tokenizer,
        "raw data": listing_hash(splits, source, root),
    }
    return Plan(
        tasks=tuple(cut(splits, recipe.images_per_shard)),
        left_out=tuple(left_out),
        identity=identity,
        text=text,
        vocabulary=build_vocabulary(splits),
        categories=source.categories,
    )


def check_text(recipe: DataRecipe, text: TextIdentity) -> None:
    """Refuse keys of [text] that contradict each other."""
    if recipe.text.embeddings == "stored":
        return
    if not text.dim:
        raise RecipeError(
            "text.embeddings = 'online' stores the token ids of a BERT, and text.model = 'none' has none; "
            "name a BERT, e.g. text.model = 'google-bert/bert-base-uncased', or leave text.embeddings out"
        )
    if recipe.text.pad_sum:
        raise RecipeError(
            "text.pad_sum = true stores sums of vectors, and text.embeddings = 'online' stores none; leave "
            "text.pad_sum out: text.sentence = 'padded_sum' works on such shards, for training computes the sums"
        )


def clean(
    records: list[Record],
    split: str,
    recipe: DataRecipe,
    left_out: list[dict[str, Any]],
    written: Callable[[str], str],
) -> Iterator[Record]:
    """Records with the captions that are kept; a picture without any is left out."""
    for record in records:
        usable = []
        for given in record.captions:
            text = written(given[: LONGEST_CAPTION + 1])
            reason = refusal(given, text, recipe.text.model)
            if reason:
                left_out.append({"split": split, "image": record.name, "what": "caption", "reason": reason})
            else:
                usable.append(text)
        captions = keep_captions(usable, recipe.text.captions_per_image, recipe.text.captions, recipe.seed, record.id)
        if captions:
            yield replace(record, captions=captions)
        else:
            reason = "no caption"
            left_out.append({"split": split, "image": record.name, "what": "image", "reason": reason})


def refusal(given: str, text: str, model: str) -> str | None:
    """Why a caption is left out whose clean text is ``text``; matchers read Latin letters only, a BERT any."""
    if len(given) > LONGEST_CAPTION:
        return f"caption has {len(given):,} characters, more than {LONGEST_CAPTION:,}: {given[:60]!r}..."
    if not text.strip():
        return f"caption is empty: {given!r}"
    if not WORD.search(text):
        return f"caption has no word: {given!r}"
    if model == NONE and not words_of(text):
        return f"caption has no word in Latin letters, which are all that matchers read: {given!r}"
    return None


def keep_captions(captions: list[str], limit: int, rule: CaptionsKept, seed: int, image: int) -> tuple[str, ...]:
    """No more than ``limit`` captions of an image, in their order; chance is a function of the seed and the image's id.

    By a hash and not by a generator of numbers, so that the choice is the same with every version of every library.
    """

    def rank(number: int) -> Any:
        if rule == "random":
            return hashlib.sha256(f"{seed} {image} {number}".encode()).digest()
        return (len(WORD.findall(captions[number])) if rule == "shortest" else 0, number)

    return tuple(captions[number] for number in sorted(sorted(range(len(captions)), key=rank)[:limit]))


def cut(splits: dict[str, list[Record]], images_per_shard: int) -> Iterator[Task]:
    """Splits as shards of equal size; the last is smaller."""
    for split, records in splits.items():
        count = -(-len(records) // images_per_shard)
        for number in range(count):
            part = records[number * images_per_shard : (number + 1) * images_per_shard]
            yield Task(f"{split}-{number:05d}-of-{count:05d}.h5", split, tuple(part))


def build_vocabulary(splits: dict[str, list[Record]]) -> Vocabulary:
    """Words of all captions, most frequent first, for text encoders that are trained from nothing.

    Those of the captions to test with are among them and none is too rare, as in AttnGAN's data.
    """
    counts: Counter[str] = Counter()
    for records in splits.values():
        for record in records:
            for caption in record.captions:
                counts.update(words_of(caption))
    return Vocabulary(sorted(counts, key=lambda word: (-counts[word], word)))


def listing_hash(splits: dict[str, list[Record]], source: Source, root: Path | None) -> str:
    """Of every picture's name, size on disk, captions and boxes; not of where the folder lies."""
    digest = hashlib.sha256(canonical([source.dataset, source.categories]).encode())
    for split, records in splits.items():
        for record in records:
            inside = root is not None and record.path.is_relative_to(root)
            name = record.path.relative_to(root).as_posix() if inside and root else record.path.name
            boxes = [[box.category, box.x, box.y, box.w, box.h] for box in record.boxes]
            if record.member:
                name = f"{name}/{record.member}"
            size = record.part[1] if record.part else record.path.stat().st_size
            facts = [split, record.id, name, size, record.captions, boxes, record.class_index]
            digest.update(canonical(facts if record.crop is None else [*facts, record.crop]).encode())
    return digest.hexdigest()


def make_settings(plan: Plan, recipe: DataRecipe, out: Path, threads: int) -> Settings:
    """What the workers are told."""
    text, images = plan.text, recipe.images
    attributes: dict[str, str | int] = {
        "schema": SCHEMA,
        "dataset": recipe.dataset,
        "plan": plan.hash,
        "seed": recipe.seed,
        "text_model": text.model,
        "text_revision": text.revision,
        "text_sha256": text.sha256,
        "tokenizer": text.tokenizer,
        "max_tokens": text.max_tokens,
        "image_fit": images.fit,
        "image_size": images.size,
        "image_codec": images.codec,
        "image_quality": images.quality,
        "vocabulary": json.dumps(plan.vocabulary.words, ensure_ascii=False),
        "vocabulary_sha256": plan.vocabulary.sha256,
    }
    return Settings(out, images, recipe.text, stored_dim(recipe, text.dim), plan.categories, attributes, threads)


def stored_dim(recipe: DataRecipe, dim: int) -> int:
    """Numbers in a word vector as shards hold it: those of the text encoder, or none."""
    return dim if recipe.text.embeddings == "stored" else 0


def estimate_bytes(records: tuple[Record, ...], recipe: DataRecipe, dim: int) -> int:
    """About how much disk the shards of these records take, rather too much than too little."""
    images, text = recipe.images, recipe.text
    dim = stored_dim(recipe, dim)
    pixels = images.size**2 * (ASPECT if images.fit == "short" else 1)
    per_caption = 40 + (4 * dim if text.pad_sum else 0)
    total = 1_000_000 + len(records) * (pixels * BYTES_PER_PIXEL[images.codec] + 100)
    for record in records:
        for caption in record.captions:
            tokens = min(text.max_tokens, len(caption.split()) + 4)
            total += per_caption + len(caption) + tokens * (2 * dim + 4)
    return int(total)


def differences(there: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """What differs between two plans' identities, in words."""
    lines = []
    for key in sorted(there.keys() | now.keys()):
        name, before, after = f"{path}{key}", there.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{name}.")
        elif before != after:
            hashed = key in ("raw data", "text weights", "text tokenizer")
            lines.append(f"{name}: not the same" if hashed else f"{name}: {before!r} there, {after!r} now")
    return lines
