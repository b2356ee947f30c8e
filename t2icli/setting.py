"""What networks and losses must know of the data and the run beside their own table of the recipe."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Setting:
    """Given to every system and term when it is built."""

    image_size: int  # pixels a side
    word_dim: int  # numbers in a word vector and in a sentence vector
    negatives: Literal["local", "global"] = "local"  # whose images and captions contrastive losses compare with
