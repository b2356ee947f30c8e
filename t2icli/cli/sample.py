"""``t2i sample``: a sentence in, a picture out."""

from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import RUN, JsonOption, SetOption


def sample(
    caption: Annotated[str | None, typer.Argument(help="What the picture should show.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Captions from a text file, one a line, or those of a .jsonl or .csv list.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(*RUN, help="A run folder or a file of weights; default: the newest run.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Pictures for each caption.")] = 1,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed draws other pictures.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: .png, .jpg or .webp, replaced if it is there; with --single a new folder. "
            "Default: a new name made of caption and seed."
        ),
    ] = None,
    single: Annotated[bool, typer.Option("--single", help="A PNG for each picture instead of one grid.")] = False,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Draw pictures for captions with a trained run.

    One grid shows up to 256 pictures; `--single` writes any number, each to a file of its own, beside `captions.jsonl`.

    Example: t2i sample "a red bus on a street" -n 8
    """
    from t2icli.drawing import sample_to_files

    sample_to_files(
        caption, file=file, run=run, count=count, seed=seed, out=out, single=single, overrides=set_ or [], as_json=json_
    )
