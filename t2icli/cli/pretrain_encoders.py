"""``t2i pretrain-encoders``: a matcher or captioner from real images and captions."""

from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import RUN, JsonOption, SetOption, WeightsOption


def pretrain_encoders(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one (t2i recipes ls).")],
    run: Annotated[Path | None, typer.Option(*RUN, help="The run's folder; default: runs/RECIPE/DATE-ID.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new run, though one of this recipe exists.")] = False,
    set_: SetOption = None,
    weights: WeightsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would happen, stop.")] = False,
    json_: JsonOption = False,
) -> None:
    """Train what generators are guided by: a matcher (damsm, vlm) or a captioner (stream).

    The same command again goes on where it stopped. Training recipes name the run as `text.matcher`,
    `terms.damsm.matcher` and so on; the shipped ones name `runs/RECIPE/latest`.

    Example: t2i pretrain-encoders damsm-coco
    """
    from t2icli.training.start import start_pretraining

    start_pretraining(recipe, run=run, new=new, overrides=set_ or [], weights=weights or [], dry=dry_run, json=json_)
