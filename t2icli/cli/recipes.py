"""``t2i recipes``: what can be trained and prepared."""

from pathlib import Path
from typing import Annotated

import typer

from t2icli.cli.options import JsonOption, SetOption

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes.")

Name = Annotated[str, typer.Argument(help="A shipped recipe's name, or a file.")]


@app.command()
def ls(json_: JsonOption = False) -> None:
    """List the shipped recipes. Example: t2i recipes ls."""
    from t2icli.recipe_book import list_recipes

    list_recipes(json_)


@app.command()
def show(name: Name, set_: SetOption = None, json_: JsonOption = False) -> None:
    """Print a recipe with every default written out. Example: t2i recipes show xmcgan."""
    from t2icli.recipe_book import show_recipe

    show_recipe(name, set_ or [], json_)


@app.command()
def cp(
    name: Name,
    target: Annotated[Path, typer.Argument(help="Where to write the copy.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a recipe, comments included, to change it. Example: t2i recipes cp xmcgan my.toml."""
    from t2icli.recipe_book import copy_recipe

    copy_recipe(name, target, force)


@app.command()
def check(name: Name, set_: SetOption = None, json_: JsonOption = False) -> None:
    """Check every key of a recipe and say all that is wrong. Example: t2i recipes check my.toml."""
    from t2icli.recipe_book import check_recipe

    check_recipe(name, set_ or [], json_)
