"""``t2i import``: checkpoints that other projects released, into a run."""

from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import RUN, JsonOption, SetOption


def import_(
    name: Annotated[str, typer.Argument(metavar="SYSTEM", help="What the files are of: a system, or a matcher.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The released files, in any order.")],
    recipe: Annotated[
        str | None, typer.Option(help="A recipe of the system, for data and protocol; default: SYSTEM-cub.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(*RUN, help="The new run's folder; default: runs/SYSTEM-imported/DATE.")
    ] = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Turn released checkpoints into a run that `sample` and `evaluate` accept.

    A generator's text encoder belongs to it: give its file and the captions.pickle with its words as well. Files are
    opened so that nothing in them can run, and told apart by their content.

    Examples:

    - `t2i import dfgan state_epoch_1220.pth text_encoder200.pth captions.pickle`

    - `t2i import attngan coco_AttnGAN2.pth text_encoder100.pth captions.pickle --recipe attngan-coco`

    - `t2i import damsm text_encoder200.pth image_encoder200.pth captions.pickle`
    """
    from t2icli.importing import import_files

    import_files(name, files, recipe=recipe, run=run, overrides=set_ or [], as_json=json_)
