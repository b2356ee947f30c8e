"""Five captions for a scene, as five people might write them."""

from collections.abc import Sequence

import numpy as np

from t2icli.data.scenes.world import CATEGORIES, SINGLE_SIZES, Scene, Thing

CAPTIONS = 5

GROUND: dict[str, tuple[str, ...]] = {
    "street": ("on a street", "on the street", "on a city street", "on a road", "on the road"),
    "sea": ("in the sea", "in the water", "in the ocean", "out in the sea", "in the deep sea"),
    "grass": ("on the grass", "in a grassy field", "on long grass", "in a field of grass", "in a meadow"),
    "beach": ("on a beach", "on the beach", "on a sandy beach", "on the sand", "on the beach sand"),
    "snow": ("in the snow", "on the snow", "on snowy ground", "in a snowy field", "in deep snow"),
    "night": ("under the night sky", "at night", "under the stars", "under a night sky", "in the dark of night"),
}
AIR: dict[str, tuple[str, ...]] = {
    "street": ("above a street", "over a street", "over the road", "above a city street", "on a street"),
    "sea": ("above the sea", "over the sea", "over the water", "above the ocean", "over the ocean"),
    "grass": ("over the grass", "above a grassy field", "above the grass", "over a meadow", "on the grass"),
    "beach": ("over a beach", "above the beach", "over the sand", "above a sandy beach", "on a beach"),
    "snow": ("over the snow", "above the snow", "above a snowy field", "over snowy ground", "in the snow"),
    "night": ("in the night sky", "at night", "under the stars", "in the sky at night", "under the night sky"),
}
VERBS: dict[str, tuple[str, ...]] = {
    "vehicle": ("parked", "driving", "waiting", "stopped"),
    "boat": ("floating", "sailing", "resting"),
    "flyer": ("flying", "high up"),
    "animal": ("standing", "waiting", "looking around"),
    "thing": ("standing", "sitting", "placed"),
}
SYNONYMS = {
    "airplane": "plane",
    "boat": "sailboat",
    "cat": "kitten",
    "cup": "mug",
    "dog": "puppy",
    "fire hydrant": "hydrant",
}

# {a} {b} {c}: objects with article and colour; {plain_a}: without colour; {bare_a}: without article.
FULL: dict[int, tuple[str, ...]] = {
    1: (
        "{a} {at}",
        "{a} {at}",
        "{a} {verb} {at}",
        "there is {a} {at}",
        "{a} is {verb} {at}",
        "{a} that is {verb} {at}",
        "a picture of {a} {at}",
        "a photo of {a} {verb} {at}",
        "{at} {a} is {verb}",
        "the {bare_a} is {verb} {at}",
        "one {bare_a} {verb} {at}",
        "the {noun} {at} is {colour}",
        "{a} can be seen {at}",
        "this is {a} {at}",
        "a close up of {a} {at}",
    ),
    2: (
        "{a} and {b} {at}",
        "there are {a} and {b} {at}",
        "a picture of {a} and {b} {at}",
        "{at} there is {a} with {b}",
        "{b} and {a} together {at}",
    ),
    3: (
        "{a}, {b} and {c} {at}",
        "there are {b}, {a} and {c} {at}",
        "{a} between {b} and {c} {at}",
        "{at} there are {c}, {b} and {a}",
        "{c}, {b} and {a} {at}",
    ),
}
RELATED: dict[str, tuple[str, ...]] = {
    "left": (
        "{b} to the left of {a} {at}",
        "{b} is on the left of {a} {at}",
        "{a} to the right of {b} {at}",
        "{b} on the left and {a} on the right {at}",
        "{a} {at} with {b} on its left",
        "{b} next to {a} {at}",
    ),
    "right": (
        "{b} to the right of {a} {at}",
        "{b} is on the right of {a} {at}",
        "{a} to the left of {b} {at}",
        "{a} on the left and {b} on the right {at}",
        "{a} {at} with {b} on its right",
        "{a} next to {b} {at}",
    ),
    "above": (
        "{b} above {a} {at}",
        "{b} flying over {a} {at}",
        "{a} below {b} {at}",
        "{a} {at} with {b} above it",
        "{b} in the air above {a} {at}",
        "{a} under {b} {at}",
    ),
}
PARTIAL: dict[int, tuple[str, ...]] = {
    1: ("{plain_a} {verb} {at}", "a picture of {a}", "a close up of {a}", "one single {bare_a}", "{plain_a} {at}"),
    2: ("{plain_a} and {plain_b} {at}", "{a} and {b}", "{a} next to {b}", "{plain_a} with {plain_b} {at}"),
    3: ("{plain_a}, {plain_b} and {plain_c} {at}", "{a}, {b} and {c}", "{plain_a} and two other things {at}"),
}


def describe(scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    """Five different captions; at least four say the place, every object and every colour."""
    count = len(scene.things)
    full = FULL[count] + (RELATED[scene.relation] if scene.relation and count == 2 else ())
    wanted = [(full, CAPTIONS - 1), (PARTIAL[count] if rng.random() < 0.6 else full, CAPTIONS)]
    captions: list[str] = []
    for templates, enough in wanted:
        while len(captions) < enough:
            caption = say(one_of(rng, templates), scene, rng)
            if caption.rstrip(".") not in [said.rstrip(".") for said in captions]:
                captions.append(caption)
    return tuple(captions[i] for i in rng.permutation(CAPTIONS))


def say(template: str, scene: Scene, rng: np.random.Generator) -> str:
    """One caption from a template, begun with a capital and often ended with a full stop."""
    first = scene.things[0]
    kind = CATEGORIES[first.category].kind
    in_the_air = all(CATEGORIES[thing.category].kind == "flyer" for thing in scene.things)
    words = {
        "at": one_of(rng, (AIR if in_the_air else GROUND)[scene.place]),
        "verb": one_of(rng, VERBS[kind]),
        "noun": first.category,
        "colour": first.colour,
    }
    for letter, thing in zip("abc", scene.things, strict=False):
        noun = SYNONYMS[thing.category] if thing.category in SYNONYMS and rng.random() < 0.15 else thing.category
        size = size_word(thing, rng) if len(scene.things) == 1 else ""
        words[letter] = with_article(f"{size}{thing.colour} {noun}")
        words[f"bare_{letter}"] = f"{thing.colour} {noun}"
        words[f"plain_{letter}"] = with_article(noun)
    sentence = template.format(**words)
    return sentence[0].upper() + sentence[1:] + ("." if rng.random() < 0.7 else "")


def size_word(thing: Thing, rng: np.random.Generator) -> str:
    """Now and then how large a single object is, with a space after it."""
    smallest, largest = SINGLE_SIZES
    if rng.random() > 0.3:
        return ""
    if thing.size < smallest + 0.3 * (largest - smallest):
        return one_of(rng, ("small ", "little "))
    if thing.size > smallest + 0.7 * (largest - smallest):
        return one_of(rng, ("big ", "large "))
    return ""


def with_article(noun: str) -> str:
    """A noun behind "a" or "an"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def one_of(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of several strings at random."""
    return choices[int(rng.integers(len(choices)))]
