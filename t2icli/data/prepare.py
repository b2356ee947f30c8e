"""Raw pictures and captions into shards: plan, build, and write down what was done.

The folder that results depends on the recipe and the raw data only. A run that was killed is taken up by the
same command: finished shards are kept, and the manifest, written last, is the same as if nothing had happened.
Shards may also be made in parts, by jobs on many machines that share the folder; then ``merge`` writes the manifest.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2icli import registry
from t2icli.console import progress, say
from t2icli.data import plan as planning
from t2icli.data.build import Builder, Done, Engine, Workforce
from t2icli.data.manifest import NAME, SCHEMA, TextIdentity, entries, read_manifest, totals
from t2icli.data.options import READERS, Options, check, check_places, check_root
from t2icli.data.ownership import IMAGES, QUARANTINE, lock, read_plan, settle, sweep
from t2icli.data.parts import Part, collect, part_locks
from t2icli.data.places import shown
from t2icli.data.plan import Plan, Task, make_plan, make_settings, trimmed_caption, unusable_images
from t2icli.data.source import PASSED_OVER, Source
from t2icli.data.text_encoder import text_encoder
from t2icli.documents import Count, Document, checked
from t2icli.errors import DataError, DiskFull, Interrupted
from t2icli.recipe import DataRecipe
from t2icli.storage import make_folder, no_space, write_json, write_text

SHOWN = 3  # bad images that a message names


class LeftOut(Document):
    """How many pictures and captions could not be used."""

    images: Count
    captions: Count


class Shown(Document):
    """What a summary shows of a manifest, beside what everything that reads it relies on."""

    counts: dict[str, Any]
    left_out: LeftOut
    truncated_captions: Count
    decoding: dict[str, Any]
    repaired: list[Any]
    published: dict[str, Any]


def prepare(recipe: DataRecipe, root: Path | None, out: Path, options: Options = Options()) -> dict[str, Any]:
    """Write the shards of a data set into ``out`` and give a summary.

    More than ``max_bad`` of the images being unusable is an error, after everything else was done.
    """
    check(options)
    check_places(root, out)
    check_root(recipe, root)
    part, merge = options.part, options.merge
    workforce = Workforce(options.workers, options.gpu_share)
    start = registry.load("t2icli.data.engines", options.engine).engine(workforce)
    text = recipe.text  # its encoder comes first, because it is what is missing most often
    encoder = text_encoder(text.model, text.max_tokens, precision=text.precision)
    plan, told = planned(recipe, root, encoder.identity, None if options.overwrite else out)
    tasks = part.of(plan.tasks) if part else plan.tasks
    if options.dry_run:
        outlined = outline(plan, recipe, tasks)
        return {"out": str(out), "dry_run": True, **outlined, "published": told.published, "notes": told.notes}
    make_folder(out)
    with lock(out, part) as alone, keeping(out, plan, recipe):
        settle(out, plan, options.overwrite)
        finished = is_finished(out, plan)
        if not finished:
            (out / NAME).unlink(missing_ok=True)  # a folder with a manifest is a whole folder
            accept(plan.left_out, plan.listed, options.max_bad, out)
        work = Work(out, plan, recipe, start)
        if part is not None:
            return part_summary(work, part, work.build(tasks))
        if not finished:
            done = work.collect() if merge else work.build(tasks)
            finish(work, done, told, options.max_bad, alone)
        for used in part_locks(out):
            used.unlink(missing_ok=True)
        return {**summary(out), "notes": told.notes}


@dataclass(frozen=True)
class Told:
    """What a reader says beside its records."""

    published: dict[str, int]  # split -> pairs that papers count
    images: str  # the list of the images that were taken, where a data set is seldom whole; else empty
    notes: list[str]  # what people should know of how the raw data were read


def planned(recipe: DataRecipe, root: Path | None, text: TextIdentity, begun: Path | None = None) -> tuple[Plan, Told]:
    """What is to be written, in the folder that was ``begun`` perhaps; the reader's own records are let go."""
    source = read_source(recipe, root)
    plan = make_plan(recipe, source, root, text)
    if begun is not None:
        plan = as_begun(begun, plan, lambda: make_plan(recipe, source, root, text, trimmed_caption))
    if plan.images == 0:
        raise DataError(
            f"{root}: no image with a caption was found; first of what was left out: {first(plan.left_out)}"
        )
    lists = getattr(registry.load(READERS, recipe.dataset), "list_images", None)
    for note in source.notes:
        say(f"note: {note}")
    return plan, Told(dict(source.published), lists(source) if lists is not None else "", source.notes)


def as_begun(out: Path, plan: Plan, older: Callable[[], Plan]) -> Plan:
    """The plan of a folder that an older version began, if only spaces of captions differ in it; else ``plan``."""
    there = read_plan(out)
    if there is None or there == plan.identity:
        return plan
    before = older()
    if before.identity != there:
        return plan
    say(
        f"{out}: was begun by an older version of t2i, which stored captions without the spaces at their ends, and "
        "stays so: SOA over these captions misses 1 % of their labels; --overwrite makes the shards anew"
    )
    return before


def read_source(recipe: DataRecipe, root: Path | None) -> Source:
    """What the data set's reader finds."""
    source: Source = registry.load(READERS, recipe.dataset).read(recipe.reader, root, recipe.seed)
    return source


def outline(plan: Plan, recipe: DataRecipe, tasks: Sequence[Task]) -> dict[str, Any]:
    """What would be written by these tasks of a plan."""
    splits: dict[str, Counter[str]] = {}
    for task in tasks:
        captions = sum(len(record.captions) for record in task.records)
        splits.setdefault(task.split, Counter()).update(images=len(task.records), captions=captions, shards=1)
    return {
        "dataset": recipe.dataset,
        "splits": {split: dict(counts) for split, counts in splits.items()},
        "estimated_bytes": bytes_for(tasks, plan, recipe),
        "left_out": count_left_out(plan.left_out),
    }


def bytes_for(tasks: Sequence[Task], plan: Plan, recipe: DataRecipe) -> int:
    """About how much disk these tasks' shards take."""
    return sum(planning.estimate_bytes(task.records, recipe, plan.text.dim) for task in tasks)


# ---------------------------------------------------------------------------- the folder


def is_finished(out: Path, plan: Plan) -> bool:
    """Whether an earlier run wrote everything and its files still have their sizes."""
    if not (out / NAME).is_file():
        return False
    try:
        manifest = read_manifest(out)
        checked(manifest, Shown, str(out / NAME))
    except DataError:
        say(f"{out / NAME}: damaged; it is removed, and written anew when every shard was found whole")
        return False
    files = {entry.file: entry.bytes for entry in entries(manifest)}
    whole = all((out / name).is_file() and (out / name).stat().st_size == size for name, size in files.items())
    if not whole or manifest.get("plan") != plan.hash:
        return False
    say(f"{out}: already prepared")
    return True


@contextmanager
def keeping(out: Path, plan: Plan, recipe: DataRecipe) -> Iterator[None]:
    """Say what is kept and what is missing when the work is stopped from the keyboard or by a full disk."""
    try:
        yield
    except OSError as fault:
        if not no_space(fault):
            raise
        missing, needed, free = shortage(out, plan, recipe)
        raise DiskFull(
            f"{out}: no space left on the disk; finished shards are kept, and the {missing:,} that are missing need "
            f"about {megabytes(needed)} where {megabytes(free)} are free: make room for "
            f"{megabytes(max(needed - free, 0))} and run the same command again"
        ) from None
    except KeyboardInterrupt:
        raise Interrupted(
            f"{out}: stopped; finished shards are kept, and the same command goes on from there"
        ) from None


def shortage(out: Path, plan: Plan, recipe: DataRecipe) -> tuple[int, int, int]:
    """How many shards are missing, about how many bytes they will take, and how many are free."""
    missing = [task for task in plan.tasks if not (out / task.file).is_file()]
    return len(missing), bytes_for(missing, plan, recipe), shutil.disk_usage(out).free


def megabytes(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / 1e6:,.1f} MB"


# ---------------------------------------------------------------------------- the work


@dataclass(frozen=True)
class Work:
    """Everything that making shards takes."""

    out: Path
    plan: Plan
    recipe: DataRecipe
    engine: Engine

    def build(self, tasks: Sequence[Task]) -> list[Done]:
        """Write what is missing of these shards; all of them in the order of the plan, whichever was ready first."""
        _, needed, free = shortage(self.out, self.plan, self.recipe)
        if needed > free:
            raise DiskFull(
                f"{self.out}: about {megabytes(needed)} are needed and {megabytes(free)} are free; "
                "choose another --out or make room"
            )
        if not tasks:
            return []
        order = {task.file: number for number, task in enumerate(tasks)}
        images = sum(len(task.records) for task in tasks)
        with progress(f"prepare {self.recipe.dataset}", images, "images") as advance:
            done = list(self.engine(tasks, self.settings, advance))
        return sorted(done, key=lambda shard: order[shard.entry.file])

    def collect(self) -> list[Done]:
        """The shards that the parts have written."""
        with progress(f"merge {self.recipe.dataset}", self.plan.images, "images") as advance:
            return collect(self.out, self.plan.tasks, Builder(self.settings, advance))

    @property
    def settings(self) -> planning.Settings:
        """What every worker is told."""
        return make_settings(self.plan, self.recipe, self.out, threads=1)


def finish(work: Work, done: list[Done], told: Told, max_bad: float, alone: bool) -> None:
    """Write the quarantine, the list of images and, last of all, the manifest."""
    left_out = [*work.plan.left_out, *(line for shard in done for line in shard.left_out)]
    accept(left_out, work.plan.listed, max_bad, work.out)
    sweep(work.out, alone)
    if told.images:
        write_text(work.out / IMAGES, told.images)
    write_json(work.out / NAME, manifest_of(work.plan, work.recipe, done, left_out, told.published))


def accept(left_out: Sequence[dict[str, Any]], listed: int, max_bad: float, out: Path) -> None:
    """Write down what was left out; refuse to go on when it is too much."""
    write_text(out / QUARANTINE, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in left_out))
    bad = unusable_images(list(left_out))
    if bad <= max_bad * listed:
        return
    share = bad / listed
    # rounded up to two digits, so that the number offered is accepted
    digits = 10.0 ** (1 - math.floor(math.log10(share)))
    enough = math.ceil(share * digits) / digits
    raise DataError(
        f"{bad:,} of {listed:,} images ({share:.2%}) cannot be used, and --max-bad allows {max_bad:.2%}: "
        f"{first(left_out)}\n{out / QUARANTINE} lists all. Repair or remove them, "
        f"or go on without them: the same command with --max-bad {enough:g}"
    )


def first(left_out: Sequence[dict[str, Any]]) -> str:
    """The first few images that were left out, for a message."""
    lines = [line for line in left_out if line["what"] == "image"]
    named = "; ".join(f"{line['split']}/{shown(line['image'])}: {line['reason']}" for line in lines[:SHOWN])
    return f"{named}; ..." if len(lines) > SHOWN else named or "nothing"


def count_left_out(left_out: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many images and captions were left out, and what is no fault: images that are not there, other files."""
    kinds = Counter(line["what"] for line in left_out)
    faultless = {what.replace(" ", "_"): kinds[what] for what in ("absent", PASSED_OVER) if kinds[what]}
    return {"images": kinds["image"], "captions": kinds["caption"], **faultless}


def manifest_of(
    plan: Plan, recipe: DataRecipe, done: list[Done], left_out: list[dict[str, Any]], published: dict[str, int]
) -> dict[str, Any]:
    """All that is known of the folder, without anything of this machine or this hour."""
    notes: Counter[str] = Counter()
    for shard in done:
        notes.update(shard.notes)
    shards = [shard.entry for shard in done]
    splits = list(dict.fromkeys(task.split for task in plan.tasks))
    return {
        "schema": SCHEMA,
        "dataset": recipe.dataset,
        "plan": plan.hash,
        "recipe": recipe.model_dump(mode="json"),
        "text": plan.text.to_json(),
        "vocabulary": {"words": len(plan.vocabulary.words), "sha256": plan.vocabulary.sha256},
        "categories": list(plan.categories),
        "counts": {split: totals([shard for shard in shards if shard.split == split]) for split in splits},
        "published": published,
        "left_out": count_left_out(left_out),
        "truncated_captions": sum(shard.truncated_captions for shard in done),
        "decoding": dict(notes),
        "repaired": [name for shard in done for name in shard.repaired],
        "shards": [vars(entry) for entry in shards],
    }


def summary(out: Path) -> dict[str, Any]:
    """What a folder holds, as ``--json`` prints it."""
    manifest = read_manifest(out)
    counts = totals(entries(manifest))
    return {
        "out": str(out),
        **{key: manifest[key] for key in ("dataset", *Shown.model_fields)},
        **counts,
        "shards": len(manifest["shards"]),
        "bytes_per_image": round(counts["bytes"] / counts["images"]) if counts["images"] else 0,
    }


def part_summary(work: Work, part: Part, done: list[Done]) -> dict[str, Any]:
    """What one part holds, as ``--json`` prints it."""
    return {
        "out": str(work.out),
        "dataset": work.recipe.dataset,
        "part": str(part),
        **totals([shard.entry for shard in done]),
        "shards": len(done),
        "shards_of_all_parts": len(work.plan.tasks),
        "left_out": count_left_out([line for shard in done for line in shard.left_out]),
    }
