"""``t2i prepare``: raw images and captions into shards."""

import json
from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import JsonOption, SetOption


def prepare(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="coco, folder, scenes, or a data recipe (.toml).")
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the raw data lies.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where shards go.", show_default="data/DATASET")
    ] = None,
    set_: SetOption = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Processes; 0 means one per core, 1 uses no other process.")
    ] = 0,
    max_bad: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Images that may be unusable, as a share of all.")
    ] = 0.001,
    overwrite: Annotated[bool, typer.Option(help="Replace shards that were prepared otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    verify: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check every checksum of prepared shards instead.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Turn raw images and captions into shards with token ids and BERT vectors.

    A run that was stopped goes on where it was: give the same command again.

    Example: `t2i prepare coco --root /data/coco2014`
    """
    from t2icli.data.report import prepare_and_report, verify_and_report

    if verify is not None:
        result = verify_and_report(verify)
    elif dataset is None:
        raise typer.BadParameter("missing; e.g. t2i prepare scenes", param_hint="DATASET")
    else:
        result = prepare_and_report(dataset, root, out, set_ or [], workers, max_bad, overwrite, dry_run)
    if json_:
        typer.echo(json.dumps(result))
