"""A matcher's text encoder alone: what a generator keeps of the matcher that it was trained with.

Nothing trains it by itself; ``t2i pretrain-encoders`` trains it as part of a matcher. The released files of the AttnGAN
family (taoxugit/AttnGAN, 2018) are ``text_encoder*.pth`` and, for the words, ``captions.pickle``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from t2icli.batch import Pairs
from t2icli.encoders._base import Encoder, Phase
from t2icli.encoders._words import WordEncoder, WordsConfig
from t2icli.errors import DataError, RecipeError
from t2icli.released import ImportedEncoder, Released, check_fit, renamed, state_in
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

Config = WordsConfig


class Words(Encoder):
    """Captions to ``Text``."""

    def __init__(self, config: WordsConfig, vocabulary: Vocabulary, weights: Weights | None = None) -> None:
        super().__init__()
        self.text = WordEncoder(config, vocabulary)
        self.config, self.vocabulary = self.text.config, vocabulary

    def phases(self) -> Sequence[Phase]:
        """There is none."""
        raise RecipeError("words: a text encoder learns only beside images; train a matcher, e.g. t2i recipes ls")

    def validate(self, held_out: Iterable[Pairs]) -> Mapping[str, float]:
        """Nothing to compare with."""
        return {}


build = Words

RENAMED = ((r"^encoder\.", "text.embedding."), (r"^rnn\.", "text.lstm."))


def import_released(files: Sequence[Released]) -> ImportedEncoder:
    """A text encoder and its vocabulary; both files are needed."""
    states = [file for file in files if is_text_encoder(file.content)]
    pickles = [file for file in files if is_captions(file.content)]
    if len(states) != 1 or len(pickles) != 1:
        raise DataError(
            f"a text encoder is imported from two files, text_encoder*.pth and captions.pickle with its vocabulary; "
            f"given: {len(states)} of the first and {len(pickles)} of the second kind "
            f"({', '.join(file.path.name for file in files) or 'no file'})"
        )
    (state_file,), (captions,) = states, pickles
    state = renamed(state_in(state_file.content, state_file.path), RENAMED)
    vocabulary = vocabulary_in(captions)
    rows, embedding_dim = state["text.embedding.weight"].shape
    if rows != len(vocabulary):
        raise DataError(
            f"{state_file.path}: knows {rows:,} words, and {captions.path} has {len(vocabulary):,}: "
            "they belong to different data sets"
        )
    model = {"embedding_dim": embedding_dim, "dim": 2 * state["text.lstm.weight_hh_l0"].shape[1]}
    check_fit(Words(Config(**model), vocabulary).state_dict(), state, str(state_file.path))
    return ImportedEncoder("words", model, vocabulary, state)


def is_text_encoder(content: Any) -> bool:
    """Whether a file holds the tensors of a text encoder."""
    names = {str(name).removeprefix("module.") for name in content} if isinstance(content, Mapping) else set()
    return {"encoder.weight", "rnn.weight_ih_l0"} <= names


def is_captions(content: Any) -> bool:
    """Whether a file is a captions.pickle: captions to train on, to test with, and the words both ways."""
    return isinstance(content, list | tuple) and len(content) == 4 and isinstance(content[3], Mapping)


def vocabulary_in(captions: Released) -> Vocabulary:
    """The words of a captions.pickle in the order of their ids; id 0 is the end of a caption."""
    words = {int(number): str(word) for number, word in captions.content[2].items()}
    if sorted(words) != list(range(len(words))):
        raise DataError(f"{captions.path}: its {len(words):,} words are not numbered from 0 on without gaps")
    return Vocabulary(words[number] for number in range(1, len(words)))
