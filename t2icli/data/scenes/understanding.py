"""What a caption says of the drawn world: the inverse of ``captions``, and a little more generous."""

import re
from dataclasses import dataclass

from t2icli.data.scenes.captions import SYNONYMS
from t2icli.data.scenes.world import CATEGORIES, COLOURS

PLACE_WORDS = {
    "street": "street",
    "road": "street",
    "city": "street",
    "sea": "sea",
    "ocean": "sea",
    "water": "sea",
    "grass": "grass",
    "grassy": "grass",
    "meadow": "grass",
    "lawn": "grass",
    "beach": "beach",
    "sand": "beach",
    "sandy": "beach",
    "snow": "snow",
    "snowy": "snow",
    "night": "night",
    "stars": "night",
    "starry": "night",
}
NOUNS = {name: name for name in CATEGORIES} | {synonym: name for name, synonym in SYNONYMS.items()}
NOUNS |= {f"{noun}{'es' if noun.endswith('s') else 's'}": name for noun, name in NOUNS.items()}
# A colour word belongs to the noun after it, at most so many words on ("a red double decker bus").
REACH = 3


@dataclass(frozen=True)
class Content:
    """The place a caption names, and each object it names with its colour; None where it does not say."""

    place: str | None
    objects: tuple[tuple[str, str | None], ...]


def understand(caption: str) -> Content:
    """Read a caption: "a red bus on a street" names a street and a red bus."""
    words = re.findall(r"[a-z]+", caption.lower())
    place: str | None = None
    objects: list[tuple[str, str | None]] = []
    colour: str | None = None
    colour_at = -REACH
    position = 0
    while position < len(words):
        word = words[position]
        noun, length = noun_at(words, position)
        if is_colour(words, position):
            if objects and said_of(words, position) and not noun_follows(words, position):
                objects[-1] = (objects[-1][0], word)
            else:
                colour, colour_at = word, position
        elif noun is not None:
            objects.append((noun, colour if position - colour_at <= REACH else None))
            colour = None
        elif word in PLACE_WORDS:
            place = place or PLACE_WORDS[word]
            colour = None
        position += length
    return Content(place, tuple(objects))


def is_colour(words: list[str], position: int) -> bool:
    """Whether a word is meant as a colour; "orange" is one only before a noun or after "is"."""
    word = words[position]
    if word != "orange":
        return word in COLOURS
    return said_of(words, position) or noun_at(words, position + 1)[0] is not None


def said_of(words: list[str], position: int) -> bool:
    """Whether a word is said of what was named before: "the bus is red"."""
    return position > 0 and words[position - 1] in ("is", "are", "painted")


def noun_at(words: list[str], position: int) -> tuple[str | None, int]:
    """The category named from a position on, and over how many words."""
    for length in (2, 1):
        name = NOUNS.get(" ".join(words[position : position + length]))
        if name is not None and position + length <= len(words):
            return name, length
    return None, 1


def noun_follows(words: list[str], position: int) -> bool:
    """Whether one of the next few words names an object."""
    return any(noun_at(words, later)[0] is not None for later in range(position + 1, position + 1 + REACH))
