"""BERT as a frozen text encoder: captions in, the vectors of its last layer out."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from t2icli.data.manifest import TextIdentity
from t2icli.data.text import collate_tokens
from t2icli.documents import Document, checked, read_json
from t2icli.errors import DataError, EnvironmentFault, RecipeError
from t2icli.hub_folders import check_folder
from t2icli.storage import sha256

BUNDLED = {"scenes-bert": Path(__file__).parent.parent / "assets" / "scenes-bert"}
WEIGHTS = "model.safetensors"
FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", WEIGHTS)
CAPTIONS_AT_ONCE = 64
SECONDS_TO_REACH_HUB = 5.0
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Sizes(Document):
    """What config.json must say at least, and within what bounds: memory is asked for by these numbers."""

    hidden_size: int = Field(768, ge=1, le=1 << 14)
    num_hidden_layers: int = Field(12, ge=1, le=1 << 10)
    num_attention_heads: int = Field(12, ge=1, le=1 << 10)
    intermediate_size: int = Field(3072, ge=1, le=1 << 17)
    max_position_embeddings: int = Field(512, ge=1, le=1 << 20)
    vocab_size: int = Field(30522, ge=1, le=1 << 22)


@dataclass(frozen=True)
class Encoded:
    """One caption; t tokens, [CLS] and [SEP] included, D numbers per vector."""

    tokens: NDArray[np.int32]  # (t,)
    words: NDArray[np.float16]  # (t, D)
    pad_sum: NDArray[np.float32] | None  # (D,) sum of the vectors at pad positions
    truncated: bool


class BertEncoder:
    """Any ``BertModel``, by its name on the Hugging Face hub or by its folder.

    The network itself is loaded when the first caption is encoded; identity and tokens need only small files.
    """

    def __init__(
        self, model: str, max_tokens: int, device: str | torch.device = "cpu", precision: str = "float32"
    ) -> None:
        self.model, self.max_tokens, self.device = model, max_tokens, torch.device(device)
        self.precision = precision
        self.folder, self.revision = find_model(model)
        self.config = self._load_config()
        self.tokenizer = self._load_tokenizer()

    @cached_property
    def identity(self) -> TextIdentity:
        """Which vectors these are."""
        return TextIdentity(
            model=self.model if self.model in BUNDLED or self.revision != "folder" else str(self.folder.resolve()),
            revision=self.revision,
            sha256=sha256(self.folder / WEIGHTS),
            tokenizer=self._tokenizer_hash(),
            max_tokens=self.max_tokens,
            dim=self.config.hidden_size,
            precision=self.precision,
        )

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Vectors of every caption, in the order given.

        Captions of similar length share a batch. BERT sees no position behind a caption's last token, so
        its batch changes a result by no more than rounding. For ``pad_sum`` every caption runs at full length.
        """
        tokens = self.tokenize(captions)
        results: list[Any] = [None] * len(captions)
        shortest_first = sorted(range(len(captions)), key=lambda i: len(tokens[i][0]))
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            group = shortest_first[start : start + CAPTIONS_AT_ONCE]
            encoded = self._run([tokens[i][0] for i in group], pad_sum)
            for i, (words, pads) in zip(group, encoded, strict=True):
                ids, truncated = tokens[i]
                results[i] = Encoded(ids, words, pads, truncated)
        return results

    def tokenize(self, captions: list[str]) -> list[tuple[NDArray[np.int32], bool]]:
        """Token ids (t,) of every caption, [CLS] and [SEP] included, and whether it had to be cut; needs no network."""
        full = self.tokenizer(captions, add_special_tokens=True, truncation=False)["input_ids"] if captions else []
        limit = self.max_tokens
        cut = [ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]] for ids in full]
        return [(np.array(kept, np.int32), len(ids) > limit) for kept, ids in zip(cut, full, strict=True)]

    @torch.no_grad()
    def read(self, tokens: Tensor, mask: Tensor, pad_sum: bool = False) -> tuple[Tensor, Tensor | None]:
        """Vectors of captions given as token ids (B, T) with their mask (B, T), both on the CPU, for use in training.

        Gives on the encoder's device float32 words (B, T, D), zero where the mask is False, and for ``pad_sum`` the
        sums at pad positions (B, D). Captions of similar length share a batch, which is as wide as its longest.

        The numbers are those that ``encode`` gives and shards store, rounded to float16 like them. In float32 they
        differ by a float16 step at most, where another batch or device rounds otherwise; in bfloat16 by its rounding.
        """
        lengths = mask.sum(1)
        words = torch.zeros(*tokens.shape, self.config.hidden_size, device=self.device)
        sums = words.new_zeros(len(tokens), self.config.hidden_size) if pad_sum else None
        for rows in lengths.argsort(stable=True).split(CAPTIONS_AT_ONCE):
            width = tokens.shape[1] if pad_sum else int(lengths[rows[-1]])
            seen = mask[rows, :width].to(self.device, non_blocking=True)
            hidden = self._last_layer(tokens[rows, :width].to(self.device, non_blocking=True), seen)
            place = rows.to(self.device, non_blocking=True)
            words[place, :width] = hidden.half().float() * seen[:, :, None]
            if sums is not None:
                sums[place] = (hidden * ~seen[:, :, None]).sum(1)
        return words, sums

    def _last_layer(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Float32 vectors (B, T, D) of one batch, in the network's own precision whatever autocast says."""
        with torch.autocast(self.device.type, enabled=False):
            hidden: Tensor = self.network(tokens, attention_mask=mask.long()).last_hidden_state
        return hidden.float()

    @torch.no_grad()
    def _run(
        self, tokens: list[NDArray[np.int32]], pad_sum: bool
    ) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float32] | None]]:
        """The last layer for one batch."""
        lengths = [len(ids) for ids in tokens]
        width = self.max_tokens if pad_sum else max(lengths)
        padded = collate_tokens(tokens, width).to(self.device)
        hidden = self._last_layer(padded.tokens, padded.mask).cpu()
        for row, length in enumerate(lengths):
            pads = hidden[row, length:].sum(0).numpy() if pad_sum else None
            yield hidden[row, :length].half().numpy(), pads

    @cached_property
    def network(self) -> torch.nn.Module:
        """The BertModel, frozen; a weights file that lacks a tensor is refused rather than filled at random."""
        from transformers import BertModel

        try:
            loaded: Any = BertModel.from_pretrained(
                self.folder,
                config=self.config,
                add_pooling_layer=False,
                output_loading_info=True,
                dtype=PRECISIONS[self.precision],
            )
            network, found = loaded
        except Exception as fault:  # safetensors and transformers raise types of their own for a damaged file
            raise EnvironmentFault(f"{self.folder / WEIGHTS}: cannot be loaded as a BertModel: {fault}") from None
        missing = sorted(found["missing_keys"])
        if missing:
            raise EnvironmentFault(
                f"{self.folder / WEIGHTS}: lacks {len(missing)} tensors of a BertModel, e.g. {missing[0]}"
            )
        frozen: torch.nn.Module = network.to(self.device).eval().requires_grad_(False)
        return frozen

    def _load_config(self) -> Any:
        from transformers import BertConfig
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        path = self.folder / "config.json"
        try:
            values = read_json(path)
            kind = values.get("model_type", "bert")
            if kind != "bert":
                raise RecipeError(f"text.model: {path} is a {kind!r} model; a 'bert' is needed")
            checked(values, Sizes, str(path))
            config = BertConfig.from_dict(values)
        except RecipeError:
            raise
        except DataError as fault:
            raise EnvironmentFault(str(fault)) from None
        except Exception as fault:  # transformers raises types of its own for values that it does not expect
            raise EnvironmentFault(f"{path}: is no configuration of a BERT: {first_line(fault)}") from None
        if self.max_tokens > config.max_position_embeddings:
            raise RecipeError(
                f"text.max_tokens: {self.max_tokens} is more than the {config.max_position_embeddings} "
                f"positions of {self.model}"
            )
        return config

    def _load_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.folder)
        except Exception as fault:  # tokenizers raises types of its own for a damaged file
            raise EnvironmentFault(f"{self.folder}: its tokenizer cannot be loaded: {first_line(fault)}") from None

    def _tokenizer_hash(self) -> str:
        """Of the vocabulary in order, and of whether capitals count."""
        vocabulary = self.tokenizer.get_vocab()
        words = sorted(vocabulary, key=vocabulary.__getitem__)
        same = self.tokenizer("A Cat")["input_ids"] == self.tokenizer("a cat")["input_ids"]
        return hashlib.sha256("\n".join([*words, f"lower-case: {same}"]).encode()).hexdigest()


def find_model(model: str) -> tuple[Path, str]:
    """The folder of a BERT and its revision ("folder" where it has none)."""
    folder = BUNDLED.get(model, Path(model).expanduser())
    if folder.is_dir():
        lacks = lacking(folder)
        if lacks:
            raise EnvironmentFault(f"{folder}: lacks {' and '.join(lacks)}; {LAYOUT}")
        check_folder(folder)
        return folder, "folder"
    if model in BUNDLED or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise EnvironmentFault(
            f"text.model: {model!r}: no such folder, nor a name on the Hugging Face hub; {LAYOUT}; {NO_HUB}"
        )
    snapshot = download(model)
    return snapshot, snapshot.name


def first_line(fault: Exception) -> str:
    """What a library says, without its advice."""
    return next(iter(str(fault).strip().splitlines()), type(fault).__name__)[:300]


LAYOUT = (
    "a BERT folder holds config.json, vocab.txt or tokenizer.json, and model.safetensors; "
    "give yours with --set text.model=DIR"
)
NO_HUB = (
    "no hub is needed either for captions as words only (t2i prepare ... --set text.model=none, for systems that read "
    "them by a matcher), nor for drawn scenes (their scenes-bert comes with t2i)"
)


def lacking(folder: Path) -> list[str]:
    """Files that a BERT folder should hold and does not."""
    lacks = [name for name in ("config.json", WEIGHTS) if not (folder / name).is_file()]
    if not (folder / "vocab.txt").is_file() and not (folder / "tokenizer.json").is_file():
        lacks.insert(min(1, len(lacks)), "vocab.txt or tokenizer.json")
    return lacks


def download(model: str) -> Path:
    """A model of the hub, from its cache where it is whole, else from the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = list(FILES)
    try:
        cached = Path(snapshot_download(model, allow_patterns=patterns, local_files_only=True))
        if not lacking(cached):
            return cached
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        pass  # not in the cache: the network is asked next
    try:
        fetched = Path(snapshot_download(model, allow_patterns=patterns, etag_timeout=SECONDS_TO_REACH_HUB))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as fault:
        cause = (str(fault).strip() or type(fault).__name__).splitlines()[0][:160]
        raise EnvironmentFault(
            f"text.model: the weights of {model!r} are not in the Hugging Face cache and cannot be fetched "
            f"({cause}); {LAYOUT}; {NO_HUB}"
        ) from None
    lacks = lacking(fetched)
    if lacks:
        raise EnvironmentFault(f"text.model: {model!r} on the hub lacks {' and '.join(lacks)}; {LAYOUT}")
    return fetched
