"""A matcher's text encoder alone: what a generator keeps of the matcher that it was trained with.

Nothing trains it by itself; ``t2i pretrain-encoders`` trains it as part of a matcher.
"""

from collections.abc import Iterable, Mapping, Sequence

from t2icli.batch import Pairs
from t2icli.encoders._base import Encoder, Phase
from t2icli.encoders._words import WordEncoder, WordsConfig
from t2icli.errors import RecipeError
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

Config = WordsConfig


class Words(Encoder):
    """Captions to ``Text``."""

    def __init__(self, config: WordsConfig, vocabulary: Vocabulary, weights: Weights | None = None) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.text = WordEncoder(config, vocabulary)

    def phases(self) -> Sequence[Phase]:
        """There is none."""
        raise RecipeError("words: a text encoder learns only beside images; train a matcher, e.g. t2i recipes ls")

    def validate(self, held_out: Iterable[Pairs]) -> Mapping[str, float]:
        """Nothing to compare with."""
        return {}


build = Words
