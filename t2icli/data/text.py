"""Captions from how they are stored, or fresh from BERT, to the ``Text`` that networks take."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2icli.batch import Text
from t2icli.errors import DataError

Sentence = Literal["masked_mean", "padded_sum"]


class Vectors(Protocol):
    """A caption with its vectors, wherever it comes from."""

    @property
    def tokens(self) -> NDArray[np.int32]:
        """Token ids (t,)."""

    @property
    def words(self) -> NDArray[np.float16]:
        """Vectors (t, D)."""

    @property
    def pad_sum(self) -> NDArray[np.float32] | None:
        """Sum of the vectors at pad positions (D,)."""


def collate_text(encoded: Sequence[Vectors], max_tokens: int, sentence: Sentence) -> Text:
    """Captions side by side, words padded with zeros to ``max_tokens``.

    The sentence vector is the mean of the real tokens' vectors, or for ``padded_sum``, as the released XMC-GAN
    code has it, the sum over all positions, pads included, divided by the number of real tokens.
    """
    count, dim = len(encoded), encoded[0].words.shape[1]
    words = np.zeros((count, max_tokens, dim), np.float32)
    tokens = np.zeros((count, max_tokens), np.int64)
    sums = np.zeros((count, dim), np.float32)
    lengths = np.array([len(caption.tokens) for caption in encoded])
    for row, caption in enumerate(encoded):
        words[row, : lengths[row]] = caption.words
        tokens[row, : lengths[row]] = caption.tokens
        if sentence == "padded_sum":
            if caption.pad_sum is None:
                raise DataError(
                    "text.sentence = 'padded_sum' needs the sums at pad positions, which these captions lack; "
                    "prepare the data with --set text.pad_sum=true, or use text.sentence = 'masked_mean'"
                )
            sums[row] = caption.pad_sum
    sums += words.sum(axis=1)
    mask = np.arange(max_tokens) < lengths[:, None]
    means = sums / lengths[:, None].astype(np.float32)
    return Text(torch.from_numpy(words), torch.from_numpy(means), torch.from_numpy(mask), torch.from_numpy(tokens))


def collate_tokens(captions: Sequence[NDArray[np.int32]], max_tokens: int) -> Text:
    """Captions whose vectors are not stored, side by side: token ids and mask; words and sentence have no numbers."""
    count = len(captions)
    tokens = torch.zeros(count, max_tokens, dtype=torch.long)
    mask = torch.zeros(count, max_tokens, dtype=torch.bool)
    for row, caption in enumerate(captions):
        tokens[row, : len(caption)] = torch.from_numpy(caption.astype(np.int64))
        mask[row, : len(caption)] = True
    return Text(torch.zeros(count, max_tokens, 0), torch.zeros(count, 0), mask, tokens)


class TokenReader(Protocol):
    """A frozen network that reads token ids, as ``BertEncoder`` does."""

    def read(self, tokens: Tensor, mask: Tensor, pad_sum: bool = False) -> tuple[Tensor, Tensor | None]:
        """Words (B, T, D) and, if asked for, sums at pad positions (B, D)."""


def read_tokens(text: Text, reader: TokenReader, sentence: Sentence) -> Text:
    """The ``Text`` that ``collate_text`` would make of stored vectors, from token ids on the CPU; on the device."""
    words, pads = reader.read(text.tokens, text.mask, pad_sum=sentence == "padded_sum")
    mask = text.mask.to(words.device, non_blocking=True)
    sums = words.sum(1) if pads is None else words.sum(1) + pads
    tokens = text.tokens.to(words.device, non_blocking=True)
    return Text(words, sums / mask.sum(1, keepdim=True), mask, tokens)
