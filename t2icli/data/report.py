"""``t2i prepare`` for people: names into paths, results into sentences on stderr."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t2icli.console import say
from t2icli.data.options import Options, check, check_places, check_root
from t2icli.recipe_files import load_data_recipe


def prepare_and_report(
    dataset: str,
    root: Path | None,
    out: Path | None,
    overrides: Sequence[str],
    options: Options = Options(),
) -> dict[str, Any]:
    """Prepare a data set by name or recipe file, and tell what was written and what comes next."""
    recipe = load_data_recipe(dataset, overrides)
    out = out or Path("data") / Path(dataset).stem
    check(options)
    check_places(root, out)
    check_root(recipe, root)
    from t2icli.data.prepare import prepare  # torch comes with it, and not before the command line is known to be right

    result = prepare(recipe, root, out, options)
    in_words = planned if options.dry_run else written if options.part is None else written_part
    for line in in_words(result):
        say(line)
    return result


def verify_and_report(folder: Path) -> dict[str, Any]:
    """Verify a folder of shards and say that it is whole."""
    from t2icli.data.verify import verify

    result = verify(folder)
    say(f"{folder}: {result['shards']:,} shards with {result['images']:,} images are whole")
    return result


def planned(result: dict[str, Any]) -> list[str]:
    """A dry run in words."""
    splits = (
        f"  {split}: {counts['images']:,} images, {captions(split, counts, result)}, {counts['shards']:,} shards"
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
            f"  {split}: {counts['images']:,} images, {captions(split, counts, result)}, {counts['tokens']:,} tokens"
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


def written_part(result: dict[str, Any]) -> list[str]:
    """A finished part in words."""
    return [
        f"{result['out']}: part {result['part']} is made: {result['shards']:,} of {result['shards_of_all_parts']:,} "
        f"shards, {result['images']:,} images, {result['captions']:,} captions, {result['bytes'] / 1e6:,.1f} MB",
        f"  left out of these: {result['left_out']['images']:,} images",
        "next: when all parts are made, the same command with --merge in place of --shards",
    ]


def captions(split: str, counts: dict[str, int], result: dict[str, Any]) -> str:
    """How many captions a split has, beside how many it has as published."""
    found, published = f"{counts['captions']:,} captions", result["published"].get(split)
    if published is None:
        return found
    return f"{found}, as published" if published == counts["captions"] else f"{found} of {published:,} published"


def left_out(result: dict[str, Any]) -> str:
    """What the quarantine holds."""
    counts = result["left_out"]
    where = f" (see {result['out']}/quarantine.jsonl)" if any(counts.values()) and "dry_run" not in result else ""
    absent = f", {counts['absent']:,} that are not there" if counts.get("absent") else ""
    passed_over = f", {counts['passed_over']:,} other files passed over" if counts.get("passed_over") else ""
    return f"  left out: {counts['images']:,} images, {counts['captions']:,} captions{absent}{passed_over}{where}"
