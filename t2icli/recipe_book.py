"""The recipes as a user looks through them: ls, show, cp, check."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from t2icli.console import say
from t2icli.documents import read_text
from t2icli.errors import UserError
from t2icli.recipe import DataRecipe, EncoderRecipe, Recipe
from t2icli.recipe_files import (
    KINDS,
    found,
    kind_of,
    load_data_recipe,
    load_encoder_recipe,
    load_recipe,
    read,
    shipped,
    shipped_folder,
    to_toml,
    verb_of,
)
from t2icli.storage import is_stream, write_text


def list_recipes(as_json: bool) -> None:
    """Every shipped recipe with its description."""
    rows = []
    for name in shipped():
        raw = read(shipped_folder() / f"{name}.toml")
        rows.append({"name": name, "verb": verb_of(raw), "description": raw.get("description", "")})
    if as_json:
        print(json.dumps({"recipes": rows}, ensure_ascii=False))
        return
    width = max(len(row["name"]) for row in rows)
    for _, verb in KINDS.values():
        for row in rows:
            if row["verb"] == verb:
                print(f"{row['verb']:18}{row['name'].removeprefix('data/'):{width}}  {row['description']}")


LOADERS: dict[str, Callable[[str, Sequence[str]], Recipe | DataRecipe | EncoderRecipe]] = {
    "dataset": load_data_recipe,
    "encoder": load_encoder_recipe,
    "system": load_recipe,
}


def load_any(name: str, overrides: Sequence[str]) -> Recipe | DataRecipe | EncoderRecipe:
    """A recipe of whichever kind the file is."""
    path = find_anywhere(name)
    return LOADERS[kind_of(read(path))](str(path), overrides)


def find_anywhere(name: str) -> Path:
    """A recipe by path or name; a data recipe may leave out its folder."""
    return found(name, folder="data" if f"data/{name}" in shipped("data") else "")


def show_recipe(name: str, overrides: Sequence[str], as_json: bool) -> None:
    """Print a recipe resolved."""
    recipe = load_any(name, overrides)
    print(json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False) if as_json else to_toml(recipe), end="")
    if as_json:
        print()


def copy_recipe(name: str, target: Path, force: bool) -> None:
    """Copy a recipe as it is written; one with a base keeps naming it, so the copy works anywhere."""
    source = find_anywhere(name)
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force and not is_stream(target):
        raise UserError(f"{target}: exists already; choose another name, or replace it with --force")
    write_text(target, read_text(source))
    say(f"copied {source}; use it with: t2i {verb_of(read(source))} {target}")
    if not is_stream(target):
        print(target)


def check_recipe(name: str, overrides: Sequence[str], as_json: bool) -> None:
    """Load a recipe with all its checks; faults end the program with code 3."""
    load_any(name, overrides)
    what = KINDS[kind_of(read(find_anywhere(name)))][0].partition(" ")[2]
    if as_json:
        print(json.dumps({"recipe": name, "kind": what.removesuffix(" recipe"), "valid": True}))
    else:
        print(f"{name}: a valid {what}")
