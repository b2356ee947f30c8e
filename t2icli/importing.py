"""Released checkpoints of other projects into run folders: what ``t2i import`` does.

Files are opened so that nothing in them can run: tensors with torch's ``weights_only``, the field's pickles by
``pickles.py``. What a file is follows from its content; its name does not matter.
"""

import json
import secrets
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

import t2icli
from t2icli import registry
from t2icli.console import say
from t2icli.encoders._files import WEIGHTS as ENCODER_WEIGHTS
from t2icli.encoders._files import save_encoder
from t2icli.encoders.words import import_released as import_words
from t2icli.encoders.words import is_captions, is_text_encoder
from t2icli.errors import DataError, UserError
from t2icli.pickles import read_pickle
from t2icli.reading import KEPT, MatcherReader
from t2icli.recipe import Recipe
from t2icli.recipe_files import found, kind_of, override, parse, read
from t2icli.released import Imported, ImportedEncoder, Released, check_fit
from t2icli.setting import Setting
from t2icli.storage import sha256
from t2icli.training import run as run_folder
from t2icli.training.checkpoint import WEIGHTS, save_weights


def import_files(
    name: str, files: Sequence[Path], recipe: str | None, run: Path | None, overrides: Sequence[str], as_json: bool
) -> None:
    """Import, and print the run's folder."""
    folder = import_run(name, files, recipe, run, overrides)
    print(json.dumps({"run": str(folder)}) if as_json else folder)


def import_run(
    name: str, files: Sequence[Path], recipe: str | None, run: Path | None, overrides: Sequence[str]
) -> Path:
    """A run folder with the weights of a system or of an encoder."""
    systems, encoders = (registry.available(f"t2icli.{room}") for room in ("systems", "encoders"))
    room = "t2icli.systems" if name in systems else "t2icli.encoders"
    if name not in systems + encoders:
        raise UserError(f"import: there is no {name!r}; {registry.nearest(name, systems + encoders)}")
    module = registry.load(room, name)
    if not hasattr(module, "import_released"):
        raise UserError(f"import {name}: no released checkpoints of it are known")
    opened = [Released(path, open_released(path)) for path in files]
    folder = run or Path("runs") / f"{name}-imported" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; choose another folder with --run")
    if room == "t2icli.encoders":
        return import_encoder(module.import_released(opened), folder, files)
    return import_system(name, opened, recipe, folder, overrides)


def open_released(path: Path) -> Any:
    """The content of a file: tensors, containers and plain values; nothing in it is run."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix in (".pickle", ".pkl"):
        return read_pickle(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises whatever the damage happens to cause
        lines = str(fault).strip().splitlines() or [type(fault).__name__]
        packed = "a zip file that is no checkpoint: " if zipfile.is_zipfile(path) else ""
        raise DataError(
            f"{path}: cannot be opened as tensors and plain values ({packed}{lines[0]}); files that hold anything else "
            "are refused, because opening them could run code"
        ) from None


# ---------------------------------------------------------------------------- encoders


def import_encoder(imported: ImportedEncoder, folder: Path, files: Sequence[Path]) -> Path:
    """A matcher, or a text encoder alone."""
    write_encoder(folder / ENCODER_WEIGHTS, imported, files)
    card(folder, imported.kind, files, imported.notes)
    say(f"{imported.kind} with {len(imported.vocabulary.words):,} words; recipes name it as text.matcher = {folder}")
    return folder


def write_encoder(path: Path, imported: ImportedEncoder, files: Sequence[Path]) -> None:
    """An imported encoder as ``t2i pretrain-encoders`` would have written it."""
    module = registry.load("t2icli.encoders", imported.kind)
    encoder = module.build(module.Config.model_validate(imported.model), imported.vocabulary, None)
    encoder.load_state_dict(imported.state)
    save_encoder(path, imported.kind, encoder, {"imported_from": [file.name for file in files]})


# ---------------------------------------------------------------------------- systems


def import_system(
    name: str, opened: Sequence[Released], recipe_name: str | None, folder: Path, overrides: Sequence[str]
) -> Path:
    """A generator, with the text encoder that it was trained with."""
    words = [file for file in opened if is_text_encoder(file.content) or is_captions(file.content)]
    imported: Imported = registry.load("t2icli.systems", name).import_released([f for f in opened if f not in words])
    recipe = recipe_for(name, imported, recipe_name, overrides)
    system = registry.load("t2icli.systems", name).build(recipe.model, Setting(imported.image_size, imported.word_dim))
    for part, state in imported.networks.items():
        network: nn.Module = getattr(system, part)
        check_fit(network.state_dict(), state, f"{name}: {part}")
        network.load_state_dict(state)
    reader = kept_reader(words, recipe, folder, imported.word_dim)
    run_folder.create(folder, recipe)
    header = {"recipe": recipe.model_dump(mode="json", exclude_none=True), "text": reader.identity(), "images": 0}
    for part in imported.networks:
        save_weights(folder / WEIGHTS.with_name(f"{part}.safetensors"), getattr(system, part), header)
    card(folder, name, [file.path for file in opened], imported.notes)
    say(f"{name}, {imported.image_size} px: {', '.join(imported.networks)}")
    say(f'next: t2i sample "a caption" --run {folder}   t2i evaluate {folder}')
    return folder


def recipe_for(name: str, imported: Imported, recipe_name: str | None, overrides: Sequence[str]) -> Recipe:
    """A shipped recipe's data and protocol, with the network that the files hold and without terms."""
    chosen = recipe_name or f"{name}-cub"
    path = found(chosen)
    raw = override(read(path), overrides)
    if kind_of(raw) != "system" or raw.get("system") != name:
        raise UserError(f"--recipe {chosen}: is no recipe of {name}")
    if recipe_name is None:
        say(f"data and protocol as in the recipe {chosen}; another one is taken with --recipe")
    text = {key: value for key, value in raw.get("text", {}).items() if key != "matcher"}
    data = raw["data"] | {"image_size": imported.image_size}
    return parse(raw | {"model": imported.model, "terms": {}, "data": data, "text": text}, str(path))


def kept_reader(words: Sequence[Released], recipe: Recipe, folder: Path, word_dim: int) -> MatcherReader:
    """The text encoder from its released files, kept in the run as training keeps a matcher's."""
    kept = folder / WEIGHTS.with_name(KEPT)
    write_encoder(kept, import_words(words), [file.path for file in words])
    reader = MatcherReader(kept, recipe.text.drawn_words, torch.device("cpu"))
    if reader.dim != word_dim:
        raise DataError(f"{words[0].path}: gives vectors of {reader.dim} numbers; the generator takes {word_dim}")
    return reader


def card(folder: Path, name: str, files: Sequence[Path], notes: Sequence[str]) -> None:
    """What was imported from what."""
    for note in notes:
        say(note)
    sources = [{"file": path.name, "sha256": sha256(path)} for path in files]
    run_folder.write_card(
        folder,
        {"imported": name, "files": sources, "notes": list(notes), "t2i": t2icli.__version__, "state": "imported"},
    )
