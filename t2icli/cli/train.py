"""``t2i train``: a recipe and shards into a run."""

from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import RUN, JsonOption, SetOption, WeightsOption


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one (t2i recipes ls).")],
    run: Annotated[Path | None, typer.Option(*RUN, help="The run's folder; default: runs/RECIPE/DATE-ID.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new run, though one of this recipe exists.")] = False,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine, one a GPU.")] = 1,
    set_: SetOption = None,
    weights: WeightsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would happen, stop.")] = False,
    json_: JsonOption = False,
) -> None:
    """Train a system. The same command again goes on where it stopped.

    Example: t2i train recipes/xmcgan.toml --nproc 8 --set train.batch_size=256
    """
    from t2icli.training.start import start

    start(
        recipe, run=run, new=new, processes=nproc, overrides=set_ or [], weights=weights or [], dry=dry_run, json=json_
    )
