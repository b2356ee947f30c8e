"""``t2i prepare`` for people: names into paths, results into sentences on stderr."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t2icli.console import say
from t2icli.data.prepare import prepare
from t2icli.data.verify import verify
from t2icli.recipe_files import load_data_recipe


def prepare_and_report(
    dataset: str,
    root: Path | None,
    out: Path | None,
    overrides: Sequence[str],
    workers: int,
    max_bad: float,
    overwrite: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Prepare a data set by name or recipe file, and tell what was written and what comes next."""
    recipe = load_data_recipe(dataset, overrides)
    out = out or Path("data") / Path(dataset).stem
    result = prepare(recipe, root, out, workers, max_bad, overwrite, dry_run)
    for line in planned(result) if dry_run else written(result):
        say(line)
    return result


def verify_and_report(folder: Path) -> dict[str, Any]:
    """Verify a folder of shards and say that it is whole."""
    result = verify(folder)
    say(f"{folder}: {result['shards']:,} shards with {result['images']:,} images are whole")
    return result


def planned(result: dict[str, Any]) -> list[str]:
    """A dry run in words."""
    splits = (
        f"  {split}: {counts['images']:,} images, {counts['captions']:,} captions, {counts['shards']:,} shards"
        for split, counts in result["splits"].items()
    )
    return [
        f"{result['out']}: would be written, about {result['estimated_bytes'] / 1e6:,.0f} MB",
        *splits,
        left_out(result),
    ]


def written(result: dict[str, Any]) -> list[str]:
    """A finished run in words."""
    lines = [f"{result['out']}: {result['shards']:,} shards, {result['bytes'] / 1e6:,.1f} MB"]
    for split, counts in result["counts"].items():
        lines.append(
            f"  {split}: {counts['images']:,} images, {counts['captions']:,} captions, {counts['tokens']:,} tokens"
        )
    lines.append(
        f"  {result['bytes_per_image']:,} bytes per image; {result['truncated_captions']:,} captions truncated"
    )
    if result["decoding"]:
        lines.append(
            "  decoded with care: " + ", ".join(f"{n:,} {note}" for note, n in sorted(result["decoding"].items()))
        )
    lines += [left_out(result), f"next: t2i train RECIPE --set data.shards={result['out']}"]
    return lines


def left_out(result: dict[str, Any]) -> str:
    """What the quarantine holds."""
    counts = result["left_out"]
    where = f" (see {result['out']}/quarantine.jsonl)" if any(counts.values()) and "dry_run" not in result else ""
    return f"  left out: {counts['images']:,} images, {counts['captions']:,} captions{where}"
