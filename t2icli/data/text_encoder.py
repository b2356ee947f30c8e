"""What turns captions into what shards store: vectors of a BERT, its token ids only, or nothing of either."""

from typing import Literal, Protocol

import numpy as np
import torch

from t2icli.data.bert import BertEncoder, Encoded
from t2icli.data.manifest import TextIdentity

NONE = "none"


class TextEncoder(Protocol):
    """What ``prepare`` needs."""

    @property
    def identity(self) -> TextIdentity:
        """Which vectors these are."""

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Tokens and vectors of every caption, in the order given."""


class NoEncoder:
    """Captions are stored as words only: no tokens, and vectors of no numbers."""

    def __init__(self, max_tokens: int) -> None:
        self.identity = TextIdentity(NONE, NONE, sha256="", tokenizer="", max_tokens=max_tokens, dim=0)

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Nothing for each."""
        nothing = Encoded(np.zeros(0, np.int32), np.zeros((0, 0), np.float16), None, truncated=False)
        return [nothing] * len(captions)


class TokensOnly:
    """Captions are stored as a BERT's token ids, with vectors of no numbers; training runs that BERT itself."""

    def __init__(self, bert: BertEncoder) -> None:
        self.bert = bert
        self.identity = bert.identity

    def encode(self, captions: list[str], pad_sum: bool = False) -> list[Encoded]:
        """Tokens of every caption; the network is not loaded."""
        return [
            Encoded(tokens, np.zeros((len(tokens), 0), np.float16), None, truncated)
            for tokens, truncated in self.bert.tokenize(captions)
        ]


def text_encoder(
    model: str,
    max_tokens: int,
    device: str | torch.device = "cpu",
    embeddings: Literal["stored", "online"] = "stored",
    precision: str = "float32",
) -> TextEncoder:
    """The encoder that a data recipe names."""
    if model == NONE:
        return NoEncoder(max_tokens)
    bert = BertEncoder(model, max_tokens, device, precision)
    return bert if embeddings == "stored" else TokensOnly(bert)
