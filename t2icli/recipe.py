"""Recipes: TOML files that say everything about a run, checked as a whole before anything starts.

Two kinds exist. A data recipe (key ``dataset``) tells ``t2i prepare`` what to write; a training recipe
(key ``system``) tells ``t2i train`` what to learn. A reader of a data set, a system and a term each bring
their own table as a pydantic ``Config`` in their own file; this module joins them.

Nothing here imports torch; reading a training recipe imports the one system that it names.
"""

import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
)

from t2icli import registry
from t2icli.console import say
from t2icli.errors import RecipeError


class Section(BaseModel):
    """One table of a recipe: an unknown key is an error, and values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ---------------------------------------------------------------------------- data recipes


class Images(Section):
    """How ``prepare`` stores images."""

    size: PositiveInt = Field(256, description="pixels: both sides (squash, crop) or the shorter one (short)")
    fit: Literal["squash", "crop", "short"] = Field(
        "squash", description="squash to a square, centre-crop to a square, or keep the aspect ratio"
    )
    codec: Literal["jpeg", "png"] = Field("jpeg", description="jpeg at `quality` without chroma subsampling, or png")
    quality: int = Field(95, ge=1, le=100, description="JPEG quality; png ignores it")


class TextEncoder(Section):
    """Which BERT turns captions into vectors, and how much of a caption it reads."""

    model: str = Field(
        "google-bert/bert-base-uncased",
        description="hub id or folder of any transformers BertModel, or `scenes-bert`, the one that comes with t2i",
    )
    max_tokens: int = Field(17, ge=3, le=512, description="token positions, [CLS] and [SEP] included")
    captions_per_image: PositiveInt = Field(5, description="the first so many captions of an image are kept")
    pad_sum: bool = Field(False, description="also store the sum of BERT's vectors at pad positions (for padded_sum)")


class DataRecipe(Section):
    """What ``t2i prepare`` reads and writes."""

    description: str = ""
    dataset: str = Field(description="a module in t2icli/data/readers")
    reader: Section = Field(default_factory=Section, description="the reader's own table")
    images: Images = Images()
    text: TextEncoder = TextEncoder()
    images_per_shard: PositiveInt = Field(2000, description="images in one shard file")
    seed: int = Field(0, description="for readers that draw or split at random")


# ---------------------------------------------------------------------------- training recipes


class Data(Section):
    """Where training images come from."""

    shards: Path = Field(description="folder that `t2i prepare` wrote")
    split: str = Field("train", description="split to train on")
    image_size: Literal[32, 64, 128, 256] = Field(description="pixels a side that the networks see")
    flip: bool = Field(True, description="mirror every other image at random")
    workers: NonNegativeInt = Field(2, description="loader processes per training process; 0 reads in the trainer")


class Text(Section):
    """How captions become the vectors that a generator is given."""

    model: str | None = Field(
        None, description="where the BERT of the shards lies when new captions are encoded; default: where they name it"
    )
    sentence: Literal["masked_mean", "padded_sum"] = Field(
        "masked_mean",
        description="mean of the real tokens' vectors, or the released XMC-GAN code's sum over all positions / tokens",
    )


class Optim(Section):
    """Adam for both networks."""

    generator_lr: PositiveFloat = Field(1e-4, description="learning rate of the generator")
    discriminator_lr: PositiveFloat = Field(4e-4, description="learning rate of the discriminator")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's decay rates")
    eps: PositiveFloat = 1e-8


class Train(Section):
    """Length, batch and clock of a run. Every interval is counted in real images shown."""

    batch_size: int = Field(ge=2, description="images per update of a network, all processes together")
    images: PositiveInt = Field(description="length of the run; one generator update shows d_steps x batch_size images")
    d_steps: PositiveInt = Field(1, description="discriminator updates per generator update")
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="of activations; weights stay float32")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the generator's averaged weights, per update")
    seed: int = Field(0, ge=0, description="order, noise and augmentation are functions of it and of the position")
    negatives: Literal["local", "global"] = Field(
        "local", description="contrastive losses see the process's own batch, or the batches of all processes"
    )
    sync_batch_norm: bool = Field(False, description="batch statistics over all processes instead of each one's own")
    log_every: PositiveInt = Field(50_000, description="images between two lines of log.jsonl")
    sample_every: PositiveInt = Field(500_000, description="images between two sample grids")
    save_every: PositiveInt = Field(500_000, description="images between two checkpoints")


class Evaluate(Section):
    """What ``t2i evaluate`` measures when it is told nothing else."""

    protocol: str = Field(description="a named protocol; see docs/protocols.md")


class Recipe(Section):
    """A training recipe. ``model`` and ``terms`` take the Config of the system and terms that are named."""

    description: str = ""
    system: str = Field(description="a module in t2icli/systems")
    data: Data
    text: Text = Text()
    model: Section
    terms: Section
    optim: Optim = Optim()
    train: Train
    evaluate: Evaluate


def weight(description: str, default: float = 1.0) -> Any:
    """A loss weight as a recipe key; zero leaves the loss out."""
    return Field(default, ge=0, description=description)


NonNegative = NonNegativeFloat  # re-exported for the Config of systems and terms
AnyRecipe = TypeVar("AnyRecipe", bound=Section)


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
    if given.is_file():
        return given
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


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A training recipe by path or shipped name, with ``--set`` overrides applied and every key checked."""
    path = found(name)
    raw = override(read(path), overrides)
    if "dataset" in raw:
        raise RecipeError(f"{path}: this is a data recipe (for t2i prepare); a training recipe has the key 'system'")
    return parse(raw, str(path))


def load_data_recipe(name: str, overrides: Sequence[str] = ()) -> DataRecipe:
    """A data recipe by path or by the name of its data set, checked like a training recipe."""
    path = found(name, folder="data")
    raw = override(read(path), overrides)
    if "system" in raw:
        raise RecipeError(f"{path}: this is a training recipe (for t2i train); a data recipe has the key 'dataset'")
    dataset = name_in(raw, "dataset", "t2icli.data.readers", str(path))
    config = registry.load("t2icli.data.readers", dataset).Config
    schema = create_model("DataRecipe", __base__=DataRecipe, reader=(config, Field(default_factory=config)))
    return checked(schema, raw, str(path))


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
    found_there = f"should be a name (got {name!r})" if key in raw else "missing"
    raise RecipeError(f"{source}: {key}: {found_there}; available: {', '.join(registry.available(package))}")


def read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a recipe file; ``base`` names another recipe that it changes; ``above`` are those built on it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a BOM
    except tomllib.TOMLDecodeError as fault:
        raise RecipeError(f"{path}: not valid TOML: {fault}") from None
    except UnicodeDecodeError as fault:
        raise RecipeError(f"{path}: byte {fault.start} is not UTF-8; save the recipe as UTF-8 text") from None
    except OSError as fault:
        raise RecipeError(f"{path}: cannot be read: {fault.strerror}") from None
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise RecipeError(f"{path}: base: should be the name of one recipe (got {base!r})")
    origin = base_of(path, base)
    if origin.resolve() in (path.resolve(), *above):
        raise RecipeError(f"{path}: base: {base!r} leads back to this recipe; one of them must stand on its own")
    return merge(read(origin, (*above, path.resolve())), raw)


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
            raise RecipeError(f"--set {assignment}: should be KEY=VALUE, e.g. --set train.batch_size=32")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            parsed = {}
        value = parsed["value"] if len(parsed) == 1 else text  # more than one: text of several lines
        change: Any = value
        for part in reversed(parts):
            change = {part: change}
        raw = merge(raw, change)
    return raw


def checked(schema: type[AnyRecipe], raw: dict[str, Any], source: str) -> AnyRecipe:
    """Validate; all faults of a recipe are reported together."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        lines = [f"{source}: {fault(schema, raw, dict(detail))}" for detail in error.errors()]
        raise RecipeError("\n".join(lines)) from None


def fault(schema: type[BaseModel], raw: Any, detail: dict[str, Any]) -> str:
    """One fault in words: key path, what was found, what would be right."""
    location = [part for part in detail["loc"] if isinstance(part, str)]
    path = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        siblings = list(section_at(schema, location[:-1]).model_fields)
        return f"{path}: unknown key; {registry.nearest(location[-1], siblings)}"
    if detail["type"] == "missing":
        field = section_at(schema, location[:-1]).model_fields.get(location[-1])
        meaning = f" ({field.description})" if field is not None and field.description else ""
        return f"{path}: missing{meaning}"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{path}: {message} (got {detail['input']!r})"


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
