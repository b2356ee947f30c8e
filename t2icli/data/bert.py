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
from torch import Tensor

from t2icli.data.manifest import TextIdentity
from t2icli.errors import EnvironmentFault, RecipeError
from t2icli.storage import sha256

BUNDLED = {"scenes-bert": Path(__file__).parent.parent / "assets" / "scenes-bert"}
WEIGHTS = "model.safetensors"
FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", WEIGHTS)
CAPTIONS_AT_ONCE = 64
SECONDS_TO_REACH_HUB = 5.0


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

    def __init__(self, model: str, max_tokens: int, device: str | torch.device = "cpu") -> None:
        self.model, self.max_tokens, self.device = model, max_tokens, torch.device(device)
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
        )

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Vectors of every caption, in the order given.

        Captions of similar length share a batch. BERT sees no position behind a caption's last token, so
        its batch changes a result by no more than rounding. For ``pad_sum`` every caption runs at full length.
        """
        full = self.tokenizer(captions, add_special_tokens=True, truncation=False)["input_ids"] if captions else []
        tokens = [ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]] for ids in full]
        results: list[Any] = [None] * len(captions)
        shortest_first = sorted(range(len(captions)), key=lambda i: len(tokens[i]))
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            group = shortest_first[start : start + CAPTIONS_AT_ONCE]
            encoded = self._run([tokens[i] for i in group], pad_sum)
            for i, (words, pads) in zip(group, encoded, strict=True):
                ids = np.array(tokens[i], np.int32)
                results[i] = Encoded(ids, words, pads, truncated=len(full[i]) > self.max_tokens)
        return results

    @torch.inference_mode()
    def _run(
        self, tokens: list[list[int]], pad_sum: bool
    ) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float32] | None]]:
        """The last layer for one batch."""
        lengths = [len(ids) for ids in tokens]
        width = self.max_tokens if pad_sum else max(lengths)
        ids = torch.zeros(len(tokens), width, dtype=torch.long)
        mask = torch.zeros(len(tokens), width, dtype=torch.long)
        for row, (caption, length) in enumerate(zip(tokens, lengths, strict=True)):
            ids[row, :length] = torch.tensor(caption)
            mask[row, :length] = 1
        hidden: Tensor = self.network(ids.to(self.device), attention_mask=mask.to(self.device)).last_hidden_state
        hidden = hidden.float().cpu()
        for row, length in enumerate(lengths):
            pads = hidden[row, length:].sum(0).numpy() if pad_sum else None
            yield hidden[row, :length].half().numpy(), pads

    @cached_property
    def network(self) -> torch.nn.Module:
        """The BertModel, frozen; a weights file that lacks a tensor is refused rather than filled at random."""
        from transformers import BertModel

        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        try:
            loaded: Any = BertModel.from_pretrained(
                self.folder, config=self.config, add_pooling_layer=False, output_loading_info=True, dtype=kind
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
        values, _ = BertConfig.get_config_dict(self.folder)
        kind = values.get("model_type", "bert")
        if kind != "bert":
            raise RecipeError(f"text.model: {self.folder / 'config.json'} is a {kind!r} model; a 'bert' is needed")
        config = BertConfig.from_dict(values)
        if self.max_tokens > config.max_position_embeddings:
            raise RecipeError(
                f"text.max_tokens: {self.max_tokens} is more than the {config.max_position_embeddings} "
                f"positions of {self.model}"
            )
        return config

    def _load_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

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
        return folder, "folder"
    if model in BUNDLED or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise EnvironmentFault(f"text.model: {model!r}: no such folder, nor a name on the Hugging Face hub; {LAYOUT}")
    snapshot = download(model)
    return snapshot, snapshot.name


LAYOUT = (
    "a BERT folder holds config.json, vocab.txt or tokenizer.json, and model.safetensors; "
    "give yours with --set text.model=DIR"
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
            f"({cause}); {LAYOUT}"
        ) from None
    lacks = lacking(fetched)
    if lacks:
        raise EnvironmentFault(f"text.model: {model!r} on the hub lacks {' and '.join(lacks)}; {LAYOUT}")
    return fetched
