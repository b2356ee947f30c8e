"""Trained encoders on disk: safetensors whose header says everything that is needed to build them again."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2icli import registry
from t2icli.encoders._base import Encoder, Matcher
from t2icli.errors import DataError, RecipeError
from t2icli.storage import sha256, write_atomically
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Found

WEIGHTS = Path("weights") / "encoder.safetensors"
HEADER = "t2i-encoder"  # the key of the header


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
    text = {HEADER: json.dumps(header, ensure_ascii=False)}
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in encoder.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=text))


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
    encoder: Encoder = module.build(
        module.Config.model_validate(header["model"]), Vocabulary(header["vocabulary"]), None
    )
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as fault:
        raise DataError(f"{file}: does not fit its header: {str(fault).splitlines()[1].strip()}") from None
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
    try:
        with safe_open(file, framework="pt") as content:
            header = json.loads((content.metadata() or {})[HEADER])
            return header, {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise DataError(f"{file}: damaged, or no safetensors file: {fault}") from None
    except KeyError:
        raise DataError(f"{file}: holds weights, but of no encoder that t2i pretrain-encoders trained") from None
