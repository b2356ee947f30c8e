"""What turns captions into stored vectors: a BERT, or nothing where a matcher will read them."""

from typing import Protocol

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


def text_encoder(model: str, max_tokens: int, device: str | torch.device = "cpu") -> TextEncoder:
    """The encoder that a data recipe names."""
    return NoEncoder(max_tokens) if model == NONE else BertEncoder(model, max_tokens, device)
