"""Words and their ids for text encoders that are trained from nothing.

The rule is AttnGAN's (taoxugit/AttnGAN, 2018): lower case, words are runs of letters, digits and underscores,
what is not ASCII goes, and id 0 both ends a caption and pads it. Nothing here imports torch.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

WORD = re.compile(r"\w+")
LOST = "\ufffd\ufffd"  # how a character that was lost in the Reed captions reads


def words_of(caption: str) -> list[str]:
    """The words of a caption, as every vocabulary has them."""
    words = WORD.findall(caption.replace(LOST, " ").lower())
    plain = (word.encode("ascii", "ignore").decode() for word in words)
    return [word for word in plain if word]


class Vocabulary:
    """Words in the order of their ids; ``words[i]`` has id i + 1."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        self.ids = {word: number for number, word in enumerate(self.words, start=1)}

    def __len__(self) -> int:
        """How many ids there are, 0 included."""
        return len(self.words) + 1

    def read(self, caption: str) -> list[int]:
        """The ids of the words that are known; the others are passed over, as in the reference."""
        return [self.ids[word] for word in words_of(caption) if word in self.ids]

    def write(self, ids: Sequence[int]) -> str:
        """The words of ids, up to the first 0."""
        known = list(ids)
        end = known.index(0) if 0 in known else len(known)
        return " ".join(self.words[i - 1] for i in known[:end])

    @property
    def sha256(self) -> str:
        """What weights carry to name the vocabulary that they were trained with."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()
