"""``t2i prepare``: raw images and captions into shards."""

import json
from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import JsonOption, SetOption
from t2icli.errors import UserError

ShardsOption = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Make only every N-th shard from the I-th on; for N jobs on a shared folder."),
]
MergeOption = Annotated[
    bool, typer.Option("--merge", help="Check the shards that all --shards jobs made, and write the manifest.")
]
EngineOption = Annotated[
    str, typer.Option(help="pool: processes here. ray: a Ray cluster (at RAY_ADDRESS, or else on this machine).")
]
GpuShareOption = Annotated[
    float, typer.Option(metavar="SHARE", min=0.01, max=1, help="ray: the part of a GPU that each BERT takes.")
]
VerifyOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Check every checksum of prepared shards instead.")
]


def prepare(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="coco, cub, folder, ..., or a data recipe (.toml).")
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the raw data lies.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where shards go.", show_default="data/DATASET")
    ] = None,
    set_: SetOption = None,
    workers: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Shards at a time; 0 means one per core. 1 starts no other process."),
    ] = 0,
    max_bad: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Images that may be unusable, as a share of all.")
    ] = 0.001,
    overwrite: Annotated[bool, typer.Option(help="Replace shards that were prepared otherwise.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    shards: ShardsOption = None,
    merge: MergeOption = False,
    engine: EngineOption = "pool",
    gpu_share: GpuShareOption = 1.0,
    verify: VerifyOption = None,
    json_: JsonOption = False,
) -> None:
    """Turn raw images and captions into shards with token ids and BERT vectors.

    A run that was stopped goes on where it was: give the same command again.

    Many machines that share a file system: `--shards 1/8` ... `--shards 8/8`, one for each job, then `--merge`; or
    `--engine ray`. The shards are the same, byte for byte.

    Example: `t2i prepare coco --root /data/coco2014`
    """
    from t2icli.data.options import Options
    from t2icli.data.report import prepare_and_report, verify_and_report

    if verify is not None:
        refuse_beside_verify(context)
        result = verify_and_report(verify)
    elif dataset is None:
        raise typer.BadParameter("missing; e.g. t2i prepare scenes", param_hint="DATASET")
    else:
        part = None
        if shards is not None:
            from t2icli.data.parts import parse_part

            part = parse_part(shards)
        options = Options(workers, max_bad, overwrite, dry_run, part, merge, engine, gpu_share)
        result = prepare_and_report(dataset, root, out, set_ or [], options)
    if json_:
        typer.echo(json.dumps(result))


def refuse_beside_verify(context: typer.Context) -> None:
    """Refuse whatever was given beside ``--verify`` and would be left undone."""
    given = [
        parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.metavar)
        for parameter in context.command.params
        if parameter.name not in ("verify", "json_") and given_by_hand(context, parameter.name)
    ]
    if given:
        raise UserError(
            f"--verify and {', '.join(given)}: --verify DIR only checks shards and prepares nothing; leave out one or "
            "the other"
        )


def given_by_hand(context: typer.Context, name: str | None) -> bool:
    """Whether a parameter stands on the command line."""
    source = context.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"
