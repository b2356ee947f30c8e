"""``t2i data``: what else is made from raw data, and what shards hold."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from t2icli.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True, help="Caption lists and other things made from raw data.")


@app.callback()
def data() -> None:
    """Caption lists and other things made from raw data."""


@app.command("soa-captions")
def soa_captions(
    captions: Annotated[
        Path, typer.Argument(metavar="CAPTIONS_JSON", help="COCO's captions, or Localized Narratives' (a JSON a line).")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the 80 lists go, a JSON file each.")],
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The images that count, in order: names or ids, one a line, or AttnGAN's test/filenames.pickle.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Build the caption lists of Semantic Object Accuracy by the rules of the official ones.

    The official lists were made from AttnGAN's 40,470 test images of COCO's 40,504. With --images naming that list
    the same rows come out in the same order; without it all images count, in the order of their ids.

    Example: t2i data soa-captions annotations/captions_val2014.json --out soa-captions
    """
    from t2icli.evaluation.soa.caption_lists import write_lists
    from t2icli.evaluation.soa.labels import LABELS

    written = write_lists(captions, out, images)
    rows = [
        {
            "label": label.id,
            "name": label.name,
            "file": f"{label.file_stem}.json",
            "captions": written.captions[label.id],
            "images": written.images[label.id],
            "official_captions": label.captions,
        }
        for label in LABELS
    ]
    result = {
        "out": str(out),
        "images": written.all_images,
        "images_left_out": written.left_out,
        "images_without_captions": written.absent,
        "labels": rows,
    }
    print(json.dumps(result, ensure_ascii=False) if json_ else table(result))


def table(result: dict[str, Any]) -> str:
    """A line a label, then the whole."""
    lines = [
        f"{row['label']:2} {row['name']:15}{row['captions']:8,} captions of {row['images']:6,} images "
        f"(official lists: {row['official_captions']:,} captions)"
        for row in result["labels"]
    ]
    total = sum(row["captions"] for row in result["labels"])
    lines.append(f"{total:,} entries from {result['images']:,} images with captions, in {result['out']}")
    if result["images_left_out"] or result["images_without_captions"]:
        lines.append(
            f"--images left out {result['images_left_out']:,} of these images and lists "
            f"{result['images_without_captions']:,} that have no captions here"
        )
    return "\n".join(lines)


@app.command()
def inspect(
    shards: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that t2i prepare wrote.")],
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only this split, e.g. val. Default: all.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the contact sheet goes: .png, .jpg or .webp. Default: DIR/inspect-SPLIT.png."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Tell what prepared shards hold, and draw a contact sheet.

    Counts, lengths of captions, vocabulary, balance of classes and object categories of each split; pictures that
    occur twice, in one split or in two. Every picture is read and checked.

    Example: t2i data inspect data/coco --split val --sheet coco-val.png
    """
    from t2icli.data.inspect_shards import in_words
    from t2icli.data.inspect_shards import inspect as inspect_folder

    result = inspect_folder(shards, split, sheet)
    print(json.dumps(result, ensure_ascii=False) if json_ else in_words(result))
