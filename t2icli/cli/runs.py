"""``t2i runs``: what has been trained here."""

import typer

from t2icli.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True, help="List the runs under runs/.")


@app.callback()
def runs() -> None:
    """List the runs under runs/."""


@app.command()
def ls(json_: JsonOption = False) -> None:
    """List runs, newest first: recipe, how far, in what state. Example: t2i runs ls."""
    from t2icli.training.listing import list_runs

    list_runs(json_)
