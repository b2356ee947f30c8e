"""A recipe looked over before anything heavy is loaded: its keys, and the places that it names.

Whole checking imports the system and the terms that a recipe names, and with them torch, which takes seconds. Most
mistakes are slips in a key or a path; they are told here at once, in the same words. Nothing here imports torch: the
keys of a system's, a term's or an encoder's table are read from the source of its ``Config``.
"""

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, create_model

from t2icli import registry
from t2icli.errors import DataError, RecipeError
from t2icli.recipe import EncoderRecipe, Recipe, Section
from t2icli.recipe_files import checked, name_in, read_kind

HINT = "train one with t2i pretrain-encoders (t2i recipes ls shows recipes)"


class Anything(Section):
    """A table whose keys are looked at by their names only."""

    model_config = ConfigDict(extra="allow")


def look_over(name: str, overrides: Sequence[str], kind: str) -> dict[str, Any]:
    """Refuse a recipe, by its path or name, for what can be seen without importing what it names; its [data] table."""
    raw, path = read_kind(name, overrides, kind)
    raw = {"model": {}, **raw} if kind == "encoder" else {"model": {}, "terms": {}, **raw}
    tables = list(tables_of(raw, kind, str(path)))
    keys = [fault for table, value, module in tables for fault in unknown_keys(table, value, module, "Config")]
    faults = [f"{path}: {fault}" for fault in keys]
    base, open_tables = (EncoderRecipe, ("model",)) if kind == "encoder" else (Recipe, ("model", "terms"))
    fields: dict[str, Any] = dict.fromkeys(open_tables, (Anything, ...))
    try:
        checked(create_model("Outline", __base__=base, **fields), raw, str(path))
    except RecipeError as fault:
        faults.insert(0, str(fault))
    if faults:
        raise RecipeError("\n".join(faults))
    text = raw.get("text", {})
    places = {"text.matcher": text["matcher"]} if text.get("matcher") else {}
    for table, value, module in tables:
        if value.get("weight", 1):
            places |= {f"{table}.{key}": value[key] for key in paths_in(module) if value.get(key)}
    for key, place in places.items():
        if isinstance(place, str) and not Path(place).exists():
            raise DataError(f"{key} = {place}: no such encoder; {HINT}")
    data: dict[str, Any] = raw["data"]
    return data


def tables_of(raw: dict[str, Any], kind: str, source: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The tables that a module brings: what messages call it, its values, and the module."""
    package = "t2icli.encoders" if kind == "encoder" else "t2icli.systems"
    found = [("model", raw["model"], package, name_in(raw, kind, package, source))]
    if isinstance(raw.get("terms"), dict):
        found += [(f"terms.{name}", value, "t2icli.terms", name) for name, value in raw["terms"].items()]
    for table, value, room, name in found:
        module = registry.find(room, name)
        if isinstance(value, dict):
            yield table, value, module


def unknown_keys(table: str, values: dict[str, Any], module: str, section: str) -> Iterator[str]:
    """Keys of a table, and of those inside it, that its section does not have."""
    fields = fields_of(module, section)
    for key, value in values.items():
        if key not in fields:
            yield f"{table}.{key}: unknown key; {registry.nearest(key, list(fields))}"
        elif isinstance(value, dict) and isinstance(fields[key], ast.Name):
            yield from unknown_keys(f"{table}.{key}", value, module, ast.unparse(fields[key]))


def paths_in(module: str) -> list[str]:
    """Keys of a module's table that name a file or folder."""
    return [key for key, kind in fields_of(module, "Config").items() if ast.unparse(kind).startswith("Path")]


@cache
def fields_of(module: str, section: str) -> dict[str, ast.expr]:
    """Fields of a section, those that it inherits first, with their types as they are written."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    fields: dict[str, ast.expr] = {}
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        match node:
            case ast.ImportFrom(module=str(origin)) if origin.startswith("t2icli."):
                for name in node.names:
                    if section == (name.asname or name.name):
                        return fields_of(origin, name.name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)) if name == section:
                return fields_of(module, other)
            case ast.ClassDef(name=name) if name == section:
                for base in reversed(node.bases):  # as pydantic orders them
                    fields |= fields_of(module, ast.unparse(base))
                lines = [line for line in node.body if isinstance(line, ast.AnnAssign)]
                fields |= {ast.unparse(line.target): line.annotation for line in lines}
    return fields
