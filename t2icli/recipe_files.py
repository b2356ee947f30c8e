"""Recipes as files: found by path or name, read, overridden, checked and written.

Nothing here imports torch; reading a training recipe imports the one system that it names.
"""

import reprlib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

from pydantic import BaseModel, Field, ValidationError, create_model

from t2icli import registry
from t2icli.console import say
from t2icli.documents import read_toml
from t2icli.errors import DataError, RecipeError
from t2icli.recipe import SEEDS, DataRecipe, EncoderRecipe, Recipe, Section

AnyRecipe = TypeVar("AnyRecipe", bound=Section)

SIZE_LIMIT = 1 << 20  # bytes of a recipe
BASES = 8  # recipes that are built on each other
DEPTH = 8  # tables within each other
VALUES = 10_000
FAULTS = 30  # that a message lists
SHOWN = 60  # letters of a key in a message

# ---------------------------------------------------------------------------- finding


def shipped_folder() -> Path:
    """The recipes that come with t2i: inside the wheel, or at the root of a checkout."""
    package = Path(__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped(folder: str = "") -> list[str]:
    """Names of the shipped recipes, e.g. ``xmcgan``, ``ablations/xmcgan-no-word``, ``data/coco``."""
    root = shipped_folder()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in (root / folder).rglob("*.toml"))


def find(name: str, folder: str = "") -> Path:
    """The file that a name on the command line means: a path, or a shipped recipe by its bare name."""
    given = Path(name)
    try:
        if given.is_file():
            return given
    except OSError as fault:  # a name longer than a name can be, or a folder that may not be entered
        raise RecipeError(f"{shorter(name)}: cannot be read: {fault.strerror}") from None
    bare = given.with_suffix("") if given.suffix == ".toml" else given
    if bare.parts[:1] == ("recipes",):
        bare = Path(*bare.parts[1:])
    for candidate in (bare, Path(folder) / bare):
        path = shipped_folder() / f"{candidate}.toml"
        if path.is_file() and ".." not in candidate.parts:
            return path
    if given.is_dir():
        raise RecipeError(f"{name}: is a folder; a recipe is a .toml file or one of {', '.join(shipped(folder))}")
    known = shipped(folder)
    short = [k.removeprefix(f"{folder}/") for k in known] if folder else known
    raise RecipeError(f"{name}: no such recipe file, and no shipped recipe; {registry.nearest(str(bare), short)}")


def found(name: str, folder: str = "") -> Path:
    """The same, saying so where a path means a shipped recipe because no such file lies here."""
    path = find(name, folder)
    if Path(name).suffix == ".toml" and not Path(name).is_file():
        say(f"{name}: no such file here; taking the recipe that comes with t2i")
    return path


# ---------------------------------------------------------------------------- loading


# What a recipe is for, by the key that only recipes of its kind have.
KINDS = {
    "dataset": ("a data recipe", "prepare"),
    "encoder": ("an encoder recipe", "pretrain-encoders"),
    "system": ("a training recipe", "train"),
}


def kind_of(raw: dict[str, Any]) -> str:
    """The key that says what a recipe is for; ``system`` where none of them is there."""
    return next((key for key in KINDS if key in raw), "system")


def verb_of(raw: dict[str, Any]) -> str:
    """The verb that takes a recipe."""
    return KINDS[kind_of(raw)][1]


def read_kind(name: str, overrides: Sequence[str], key: str, folder: str = "") -> tuple[dict[str, Any], Path]:
    """The tables of a recipe of one kind, by path or shipped name, with ``--set`` overrides applied."""
    path = found(name, folder)
    raw = override(read(path), overrides)
    there = kind_of(raw)
    if there != key:
        what, verb = KINDS[there]
        raise RecipeError(f"{path}: this is {what} (for t2i {verb}); {KINDS[key][0]} has the key {key!r}")
    return raw, path


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A training recipe, every key checked."""
    raw, path = read_kind(name, overrides, "system")
    return parse(raw, str(path))


def load_data_recipe(name: str, overrides: Sequence[str] = ()) -> DataRecipe:
    """A data recipe by path or by the name of its data set, checked like a training recipe."""
    raw, path = read_kind(name, overrides, "dataset", folder="data")
    dataset = name_in(raw, "dataset", "t2icli.data.readers", str(path))
    config = registry.load("t2icli.data.readers", dataset).Config
    schema = create_model("DataRecipe", __base__=DataRecipe, reader=(config, Field(default_factory=config)))
    return checked(schema, raw, str(path))


def load_encoder_recipe(name: str, overrides: Sequence[str] = ()) -> EncoderRecipe:
    """A recipe for an encoder, checked like a training recipe."""
    raw, path = read_kind(name, overrides, "encoder")
    return parse_encoder(raw, str(path))


def parse_encoder(raw: dict[str, Any], source: str) -> EncoderRecipe:
    """An encoder recipe from its tables; ``source`` is what messages call it."""
    encoder = name_in(raw, "encoder", "t2icli.encoders", source)
    config = registry.load("t2icli.encoders", encoder).Config
    return checked(create_model("EncoderRecipe", __base__=EncoderRecipe, model=(config, ...)), raw, source)


def parse(raw: dict[str, Any], source: str) -> Recipe:
    """A training recipe from its tables; ``source`` is what messages call it."""
    raw = {"terms": {}, "model": {}, **raw}
    system = name_in(raw, "system", "t2icli.systems", source)
    if not isinstance(raw["terms"], dict):
        raise RecipeError(f"{source}: terms: should be tables such as [terms.image_contrastive]")
    model = registry.load("t2icli.systems", system).Config
    terms: dict[str, Any] = {name: (registry.load("t2icli.terms", name).Config, ...) for name in raw["terms"]}
    tables = create_model("Terms", __base__=Section, **terms)
    return checked(create_model("Recipe", __base__=Recipe, model=(model, ...), terms=(tables, ...)), raw, source)


def name_in(raw: dict[str, Any], key: str, package: str, source: str) -> str:
    """The name of a module of a package, as a recipe's key gives it."""
    name = raw.get(key)
    if isinstance(name, str):
        return name
    found_there = f"should be a name (got {shown(name)})" if key in raw else "missing"
    raise RecipeError(f"{source}: {key}: {found_there}; available: {', '.join(registry.available(package))}")


def read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a recipe file; ``base`` names another recipe that it changes; ``above`` are those built on it."""
    try:
        raw = read_toml(path, SIZE_LIMIT)
    except DataError as fault:
        raise RecipeError(str(fault)) from None
    check_values(raw, str(path))
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise RecipeError(f"{path}: base: should be the name of one recipe (got {shown(base)})")
    origin = base_of(path, base)
    if origin.resolve() in (path.resolve(), *above):
        raise RecipeError(f"{path}: base: {base!r} leads back to this recipe; one of them must stand on its own")
    if len(above) >= BASES:
        raise RecipeError(f"{path}: base: is one of more than {BASES} recipes in a row that are built on another")
    return merge(read(origin, (*above, path.resolve())), raw)


def check_values(raw: dict[str, Any], source: str) -> None:
    """Refuse what no recipe needs and what would end in the depths of a library: depth, length, odd letters.

    ``source`` is what messages call the file or the option.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), raw)]
    for place, value in waiting:  # grows while it is walked; recursion would have a depth of its own
        where = f"{source}: {shorter('.'.join(place))}"
        if isinstance(value, dict):
            waiting += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, str(number)), inner) for number, inner in enumerate(value)]
        elif isinstance(value, int) and not -SEEDS <= value < SEEDS:
            raise RecipeError(f"{where}: is beyond the whole numbers of 64 bits")
        texts = (value, *place[-1:]) if isinstance(value, str) and place != ("description",) else place[-1:]
        if any(ord(letter) < 32 and letter not in "\t\r\n" for text in texts for letter in text):
            raise RecipeError(f"{where}: holds a control character, such as NUL")
        if len(place) > DEPTH:
            raise RecipeError(f"{where}: is nested too deeply; {DEPTH} tables within each other are the most")
        if len(waiting) > VALUES:
            raise RecipeError(f"{source}: holds more than {VALUES:,} values; is it a recipe?")


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    said = repr(value[: 5 * SHOWN]) if isinstance(value, str) else reprlib.repr(value)
    return said if len(said) <= 4 * SHOWN else f"{said[: 4 * SHOWN]}..."


def shorter(text: str) -> str:
    """A text in a message, on one line and cut where it is long."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:SHOWN])
    return line if len(text) <= SHOWN else f"{line}..."


def base_of(path: Path, base: str) -> Path:
    """The recipe that another is built on: one beside it, or a shipped one, which may have the same name."""
    beside = path.parent / f"{base}.toml"
    itself = beside.resolve() == path.resolve()
    if beside.is_file() and not (itself and base in shipped()):
        return beside
    try:
        return shipped_folder() / f"{base}.toml" if itself else find(base)
    except RecipeError as fault:
        raise RecipeError(f"{path}: base: {fault}") from None


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Tables are joined key by key, anything else is replaced."""
    joined = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = merge(joined[key], value) if both_tables else value
    return joined


def override(raw: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``--set a.b=c``; the value is read as TOML, and as plain text where it is no TOML."""
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise RecipeError(f"--set {shorter(assignment)}: should be KEY=VALUE, e.g. --set train.batch_size=32")
        change: Any = value_of(text, f"--set {shorter(key)}")
        for part in reversed(parts[: 2 * DEPTH]):  # more than there can be, so that too many are refused as such
            change = {part: change}
        check_values(change, "--set")
        raw = merge(raw, change)
    return raw


def value_of(text: str, option: str) -> Any:
    """A value on the command line as TOML, and as plain text where it is no TOML."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as fault:  # a number of thousands of digits, or brackets without end
        raise RecipeError(f"{option}: {shorter(text)}: {fault or 'is nested too deeply'}") from None
    return parsed["value"] if len(parsed) == 1 else text  # more than one: text of several lines


# Beside paths. A protocol that was changed is in a result by its own name.
HARMLESS = ("description", "text.model", "data.workers", "evaluate.protocol")


@dataclass(frozen=True)
class Change:
    """A key that ``--set`` changed."""

    own: Any  # None: the recipe did not have the key
    given: Any
    harmless: bool  # whether it moves no figure: says where something lies, or how fast it is read


def changes(raw: dict[str, Any], assignments: Sequence[str], recipe: Section) -> dict[str, Change]:
    """What overrides changed of a recipe's tables, key by key; ``recipe`` is the one that came of it."""
    before, after, parsed = flat(raw), flat(override(raw, assignments)), flat(recipe.model_dump())
    changed = [key for key, value in after.items() if key not in before or before[key] != value]
    harmless = {key for key in changed if isinstance(parsed.get(key), Path) or key in HARMLESS}
    return {key: Change(before.get(key), after[key], key in harmless) for key in changed}


def flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables within tables as one, its keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in tables.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def checked(schema: type[AnyRecipe], raw: dict[str, Any], source: str) -> AnyRecipe:
    """Validate; all faults of a recipe are reported together."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [f"{source}: {fault(schema, raw, dict(detail))}" for detail in faults[:FAULTS]]
        more = [f"... and {len(faults) - FAULTS:,} more"] if len(faults) > FAULTS else []
        raise RecipeError("\n".join(lines + more)) from None


def fault(schema: type[BaseModel], raw: Any, detail: dict[str, Any]) -> str:
    """One fault in words: key path, what was found, what would be right."""
    location = [part for part in detail["loc"] if isinstance(part, str)]
    path = shorter(".".join(map(str, detail["loc"])))
    if detail["type"] == "extra_forbidden":
        siblings = list(section_at(schema, location[:-1]).model_fields)
        return f"{path}: unknown key; {registry.nearest(location[-1], siblings)}"
    if detail["type"] == "missing":
        field = section_at(schema, location[:-1]).model_fields.get(location[-1])
        meaning = f" ({field.description})" if field is not None and field.description else ""
        return f"{path}: missing{meaning}"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{path}: {message} (got {shown(detail['input'])})"


def section_at(schema: type[BaseModel], location: Sequence[str]) -> type[BaseModel]:
    """The table that a key path leads to, as deep as it can be followed."""
    for part in location:
        field = schema.model_fields.get(part)
        annotation = field.annotation if field else None
        options = typing.get_args(annotation) if is_union(annotation) else (annotation,)
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not inner:
            break
        schema = inner[0]
    return schema


def is_union(annotation: Any) -> bool:
    """Whether a field takes one of several types."""
    return typing.get_origin(annotation) in (Union, types.UnionType)


# ---------------------------------------------------------------------------- writing


def to_toml(recipe: Section) -> str:
    """A recipe as TOML, every default written out; what a run folder keeps and ``recipes show`` prints."""
    values = recipe.model_dump(mode="json", exclude_none=True)
    return "\n".join(toml_lines(values)) + "\n"


def toml_lines(table: dict[str, Any], prefix: str = "") -> list[str]:
    """Plain keys first, then one block per table."""
    lines = [f"{key} = {toml_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{prefix}{key}"
            lines += ["", f"[{name}]", *toml_lines(value, f"{name}.")]
    return lines


def toml_value(value: Any) -> str:
    """A value in TOML's notation."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(
            f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else {"\\": "\\\\", '"': '\\"'}.get(c, c) for c in value
        )
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value)
