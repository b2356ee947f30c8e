"""Trained encoders on disk: safetensors whose header says everything that is needed to build them again."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from t2icli import registry
from t2icli.documents import checked
from t2icli.encoders._base import Encoder, Matcher
from t2icli.errors import DataError, RecipeError
from t2icli.storage import sha256
from t2icli.vocabulary import Vocabulary
from t2icli.weight_files import damaged, fill, read_weights, write_weights
from t2icli.weights import Found

WEIGHTS = Path("weights") / "encoder.safetensors"
HEADER = "t2i-encoder"  # the key of the header


class EncoderHeader(BaseModel):
    """What a file says of the encoder in it; a run adds its recipe, how far it is, and what it measured."""

    model_config = ConfigDict(extra="allow")

    encoder: str
    model: dict[str, Any]
    vocabulary: list[str]
    vocabulary_sha256: str


def save_encoder(path: Path, name: str, encoder: Encoder, facts: dict[str, Any] | None = None) -> None:
    """Weights, the [model] table that builds the network again, its vocabulary, and what else is to be known of it.

    ``name`` is the kind: a module of this folder.
    """
    config, words = encoder.config, encoder.vocabulary
    header = {
        "encoder": name,
        "model": config.model_dump(mode="json", exclude_none=True),
        "vocabulary": words.words,
        "vocabulary_sha256": words.sha256,
        **(facts or {}),
    }
    write_weights(path, encoder, HEADER, header)


def find_encoder(given: Path) -> Path:
    """The file of weights that a recipe's key means: the file itself, or a run of ``t2i pretrain-encoders``."""
    file = given if given.is_file() else given / WEIGHTS
    if file.is_file():
        return file
    if given.is_dir():
        raise DataError(f"{given}: has no {WEIGHTS}; is it a run of t2i pretrain-encoders that has saved already?")
    raise DataError(f"{given}: no such encoder; train one with t2i pretrain-encoders (t2i recipes ls shows recipes)")


def load_encoder(given: Path, *kinds: str) -> tuple[Encoder, dict[str, Any]]:
    """A frozen encoder, in evaluation mode, and its header; one of another kind than ``kinds`` is refused."""
    file = find_encoder(given)
    header, tensors = read_encoder(file)
    name = header["encoder"]
    if kinds and name not in kinds:
        raise RecipeError(f"{file}: holds an encoder of kind {name!r}; needed: {' or '.join(kinds)}")
    module = registry.load("t2icli.encoders", name)
    config = checked(header["model"], module.Config, f"{file}: the model in its header")
    encoder: Encoder = module.build(config, Vocabulary(header["vocabulary"]), None)
    fill(encoder, tensors, f"{file}: does not fit its header")
    return encoder.eval().requires_grad_(False), header


def load_matcher(given: Path) -> tuple[Matcher, Found]:
    """A frozen encoder that reads captions and images, and what a run's card says of its file."""
    encoder, header = load_encoder(given)
    file = find_encoder(given)
    if not isinstance(encoder, Matcher):
        raise RecipeError(f"{file}: a {header['encoder']} is no matcher: it does not compare captions with images")
    return encoder, found_encoder(file, header)


def found_encoder(file: Path, header: dict[str, Any]) -> Found:
    """A file of an encoder among the weights that a run used."""
    return Found(header["encoder"], file, sha256(file), published=False)


def read_encoder(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file."""
    header, tensors = read_weights(
        file, HEADER, EncoderHeader, "holds weights, but of no encoder that t2i pretrain-encoders trained"
    )
    if header.encoder not in registry.available("t2icli.encoders"):
        raise damaged(file, f"its header names an encoder {header.encoder!r}, which there is not")
    if Vocabulary(header.vocabulary).sha256 != header.vocabulary_sha256:
        raise damaged(file, "the words of its vocabulary are not those that were saved")
    return header.model_dump(), tensors
