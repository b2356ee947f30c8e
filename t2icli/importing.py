"""Released checkpoints of other projects into run folders: what ``t2i import`` does.

Files are opened so that nothing in them can run: tensors with torch's ``weights_only``, the field's pickles by
``pickles.py``. What a file is follows from its content; its name does not matter.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import t2icli
from t2icli import registry
from t2icli.console import say
from t2icli.documents import read_head
from t2icli.encoders._files import WEIGHTS as ENCODER_WEIGHTS
from t2icli.encoders._files import find_encoder, save_encoder
from t2icli.encoders.words import import_released as import_words
from t2icli.encoders.words import is_text_encoder, listed
from t2icli.errors import DataError, UserError
from t2icli.memory import outline, refuse_holding
from t2icli.pickles import read_pickle
from t2icli.reading import KEPT, MatcherReader
from t2icli.recipe import Recipe
from t2icli.recipe_files import found, kind_of, merge, override, parse, read
from t2icli.released import Imported, ImportedEncoder, Released, check_fit, generator_kinds, is_captions, said_of
from t2icli.setting import Setting
from t2icli.storage import sha256
from t2icli.tensor_files import is_tensors, read_tensors
from t2icli.training import run as run_folder
from t2icli.training.checkpoint import WEIGHTS, save_weights
from t2icli.training.latest import followed


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
        raise UserError(
            f"import: there is no {name!r}; {registry.nearest(name, systems + encoders)}{understood(files)}"
        )
    module = registry.load(room, name)
    if not hasattr(module, "import_released"):
        raise UserError(f"import {name}: no released checkpoints of it are known{understood(files)}")
    folder = followed(run) if run is not None else run_folder.new_folder(f"{name}-imported")
    run_folder.check_folder(folder, None)
    opened = [Released(path, open_released(path)) for path in files]
    if room == "t2icli.encoders":
        return import_encoder(module.import_released(opened), folder, files)
    return import_system(name, opened, recipe, folder, overrides)


def understood(files: Sequence[Path]) -> str:
    """What files are, a line for each, where it is not known yet what they should be."""
    lines = []
    for path in files:
        try:
            lines.append(f"\n  {path}: {said_of(Released(path, open_released(path)))}")
        except DataError as fault:
            lines.append(f"\n  {fault}")
    return "".join(lines)


def open_released(path: Path) -> Any:
    """The content of a file, whatever its name: tensors, containers and plain values; nothing in it is run."""
    head = read_head(path)
    plain = path.suffix in (".pickle", ".pkl") or head.startswith(b"\x80")
    return read_pickle(path) if plain and not is_tensors(head) else read_tensors(path)


# ---------------------------------------------------------------------------- encoders


def import_encoder(imported: ImportedEncoder, folder: Path, files: Sequence[Path]) -> Path:
    """A matcher, or a text encoder alone."""
    with run_folder.importing(folder):
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
    texts = [file for file in opened if is_text_encoder(file) or is_captions(file.content)]
    others = [file for file in opened if file not in texts or generator_kinds(file)]
    imported: Imported = registry.load("t2icli.systems", name).import_released(others)
    recipe = recipe_for(name, imported, recipe_name, overrides)
    system = filled(name, imported, recipe)
    text = text_encoder_for(texts, opened, recipe, imported.word_dim)
    with run_folder.importing(folder, recipe):
        reader = kept_reader(text, texts, recipe, folder)
        header = {"recipe": recipe.model_dump(mode="json", exclude_none=True), "text": reader.identity(), "images": 0}
        for part in imported.networks:
            save_weights(folder / WEIGHTS.with_name(f"{part}.safetensors"), getattr(system, part), header)
        card(folder, name, [file.path for file in opened], imported.notes)
    say(f"{name}, {imported.image_size} px: {', '.join(imported.networks)}")
    say(f'next: t2i sample "a caption" --run {folder}   t2i evaluate {folder}')
    return folder


def filled(name: str, imported: Imported, recipe: Recipe) -> nn.Module:
    """A system with the weights of the files; nothing is built that they do not fit, or that memory cannot hold."""
    setting = Setting(imported.image_size, imported.word_dim)
    build = partial(registry.load("t2icli.systems", name).build, recipe.model, setting)
    outlined: nn.Module = outline(build)
    for part, state in imported.networks.items():
        check_fit(getattr(outlined, part).state_dict(), state, f"{name}: {part}")
    refuse_holding(outlined, torch.device("cpu"))
    system: nn.Module = build()
    for part, state in imported.networks.items():
        getattr(system, part).load_state_dict(state)
    return system


def recipe_for(name: str, imported: Imported, recipe_name: str | None, overrides: Sequence[str]) -> Recipe:
    """A shipped recipe's data and protocol, with the network that the files hold and without terms."""
    chosen = recipe_name or f"{name}-cub"
    path = found(chosen)
    raw = override(read(path), overrides)
    if kind_of(raw) != "system" or raw.get("system") != name:
        raise UserError(f"--recipe {chosen}: is no recipe of {name}")
    if recipe_name is None:
        say(f"data and protocol as in the recipe {chosen}; another one is taken with --recipe")
    raw = merge(raw, {"data": {"image_size": imported.image_size}}) | {"model": imported.model, "terms": {}}
    if matcher_in(overrides) is None and isinstance(raw.get("text"), dict):
        # the recipe's own lies where training would have it; the files, or --set, say which one belongs here
        raw["text"] = {key: value for key, value in raw["text"].items() if key != "matcher"}
    return parse(raw, str(path))


def matcher_in(overrides: Sequence[str]) -> Any:
    """The text encoder that the command line names, if it does."""
    text = override({}, overrides).get("text")
    return text.get("matcher") if isinstance(text, dict) else None


def text_encoder_for(
    texts: Sequence[Released], opened: Sequence[Released], recipe: Recipe, word_dim: int
) -> ImportedEncoder | MatcherReader:
    """What reads the captions of a generator: the text encoder in the files, or the matcher that ``--set`` names."""
    matcher = recipe.text.matcher
    wanted = f"the generator takes vectors of {word_dim} numbers"
    if matcher is not None and texts:
        raise UserError(f"{texts[0].path} and --set text.matcher={matcher}: two text encoders; give one of them")
    if matcher is not None:
        reader = MatcherReader(find_encoder(matcher), recipe.text.drawn_words, torch.device("cpu"))
        if reader.dim != word_dim:
            raise DataError(f"text.matcher: {matcher}: gives vectors of {reader.dim} numbers; {wanted}")
        return reader
    if not texts:
        raise DataError(
            f"{recipe.system}: no text encoder was given, and without the one that it was trained with a generator "
            f"draws nothing; the files were understood as{listed(opened)}\nlacking: text_encoder*.pth and "
            f"captions.pickle with its words (add both), or a matcher: --set text.matcher=RUN ({wanted})"
        )
    imported = import_words(texts)
    if imported.model["dim"] != word_dim:
        raise DataError(f"{texts[0].path}: gives vectors of {imported.model['dim']} numbers; {wanted}")
    return imported


def kept_reader(
    text: ImportedEncoder | MatcherReader, texts: Sequence[Released], recipe: Recipe, folder: Path
) -> MatcherReader:
    """The text encoder, kept in the run as training keeps a matcher's."""
    kept = folder / WEIGHTS.with_name(KEPT)
    if isinstance(text, ImportedEncoder):
        write_encoder(kept, text, [file.path for file in texts])
        return MatcherReader(kept, recipe.text.drawn_words, torch.device("cpu"))
    text.keep(kept.parent)
    return text


def card(folder: Path, name: str, files: Sequence[Path], notes: Sequence[str]) -> None:
    """What was imported from what."""
    for note in notes:
        say(note)
    sources = [{"file": path.name, "sha256": sha256(path)} for path in files]
    run_folder.write_card(
        folder,
        {"imported": name, "files": sources, "notes": list(notes), "t2i": t2icli.__version__, "state": "imported"},
    )
