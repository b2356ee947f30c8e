"""The text encoder of the AttnGAN family: words to vectors by a bidirectional LSTM.

Xu et al., "AttnGAN", CVPR 2018, in the form of the released code (taoxugit/AttnGAN, 2018). MirrorGAN, DM-GAN and
DF-GAN read captions with the same network.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from t2icli.batch import Text
from t2icli.recipe import Section, Width
from t2icli.vocabulary import Vocabulary


class WordsConfig(Section):
    """Sizes of the text encoder."""

    embedding_dim: Width = Field(300, description="numbers in the embedding of a word, before the LSTM")
    dim: Width = Field(256, multiple_of=2, description="numbers in a word vector and in a sentence vector")
    dropout: float = Field(0.5, ge=0, lt=1, description="of embeddings in training")


class WordEncoder(nn.Module):
    """Captions to ``Text``. Its vocabulary goes where its weights go."""

    def __init__(self, config: WordsConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        # only what belongs to this network: ``config`` may be the table of a whole matcher
        self.config = WordsConfig(**{name: getattr(config, name) for name in WordsConfig.model_fields})
        self.vocabulary, self.dim = vocabulary, config.dim
        self.embedding = nn.Embedding(len(vocabulary), config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = nn.LSTM(config.embedding_dim, config.dim // 2, batch_first=True, bidirectional=True)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Text:
        """Ids ``(B, T)``, of which the first ``lengths`` (B,) of each row count; words behind them are zero."""
        embedded = self.dropout(self.embedding(ids))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        words, _ = pad_packed_sequence(states, batch_first=True, total_length=ids.shape[1])
        sentence = last.transpose(0, 1).flatten(1)  # forward's last state, then backward's
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths.to(ids.device)[:, None]
        return Text(words, sentence, mask, ids)

    def read(self, captions: Sequence[str]) -> Text:
        """Captions as text; one without a known word reads as the end of a caption, a single 0."""
        ids, lengths = word_ids(captions, self.vocabulary)
        return self(ids.to(self.embedding.weight.device), lengths)


def word_ids(captions: Sequence[str], vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Ids ``(B, T)`` padded with 0 to the longest caption, and lengths (B,), both on the CPU."""
    rows = [vocabulary.read(caption) or [0] for caption in captions]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = torch.tensor(row)
    return ids, lengths
