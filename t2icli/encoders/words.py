"""A matcher's text encoder alone: what a generator keeps of the matcher that it was trained with.

Nothing trains it by itself; ``t2i pretrain-encoders`` trains it as part of a matcher. The released files of the AttnGAN
family (taoxugit/AttnGAN, 2018) are ``text_encoder*.pth`` and, for the words, ``captions.pickle``.
"""

from collections.abc import Iterable, Mapping, Sequence

from t2icli.batch import Pairs
from t2icli.encoders._base import Encoder, Phase
from t2icli.encoders._words import WordEncoder, WordsConfig
from t2icli.errors import DataError, RecipeError
from t2icli.released import (
    ImportedEncoder,
    Released,
    check_fit,
    is_captions,
    parts_of,
    renamed,
    said_of,
    the_one,
)
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

MARKS = ("encoder.weight", "rnn.weight_ih_l0")
RENAMED = ((r"^encoder\.", "text.embedding."), (r"^rnn\.", "text.lstm."))


def import_released(files: Sequence[Released]) -> ImportedEncoder:
    """A text encoder and its vocabulary; both files are needed."""
    states = [part for file in files for part in parts_of(file, *MARKS)]
    pickles = [file for file in files if is_captions(file.content)]
    if not states or len(pickles) != 1:
        raise DataError(
            "a text encoder is imported from two files, text_encoder*.pth and captions.pickle with its vocabulary; "
            f"given: {len(states)} of the first and {len(pickles)} of the second kind{listed(files)}"
        )
    (captions,) = pickles
    part, notes = the_one(states, "text encoder")
    state = renamed(part.state, RENAMED)
    vocabulary = vocabulary_in(captions)
    try:
        rows, embedding_dim = state["text.embedding.weight"].shape
        model = {"embedding_dim": embedding_dim, "dim": 2 * state["text.lstm.weight_hh_l0"].shape[1]}
        config = Config(**model)
    except (ValueError, KeyError, IndexError):  # tensors of other dimensions, or sizes that no network can have
        raise DataError(f"{part}: is no text encoder: its tensors have no sizes that fit together") from None
    if rows != len(vocabulary):
        raise DataError(
            f"{part}: knows {rows:,} words, and {captions.path} has {len(vocabulary):,}: "
            "they belong to different data sets"
        )
    check_fit(Words(config, vocabulary).state_dict(), state, str(part))
    return ImportedEncoder("words", model, vocabulary, state, notes)


def listed(files: Sequence[Released]) -> str:
    """What files were understood as, a line for each."""
    return "".join(f"\n  {file.path}: {said_of(file)}" for file in files) or " (no file)"


def is_text_encoder(file: Released) -> bool:
    """Whether a file holds the tensors of a text encoder."""
    return bool(parts_of(file, *MARKS))


def vocabulary_in(captions: Released) -> Vocabulary:
    """The words of a captions.pickle in the order of their ids; id 0 is the end of a caption."""
    try:
        words = {int(number): str(word) for number, word in captions.content[2].items()}
    except (TypeError, ValueError):
        raise DataError(f"{captions.path}: its third part should be a table of words by their numbers") from None
    if sorted(words) != list(range(len(words))):
        raise DataError(f"{captions.path}: its {len(words):,} words are not numbered from 0 on without gaps")
    return Vocabulary(words[number] for number in range(1, len(words)))
