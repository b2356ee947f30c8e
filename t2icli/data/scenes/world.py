"""What exists in the drawn world: places, colours, categories, and a scene made of them.

The names are those that COCO's captions use, so that "a red bus on a street" lies inside the world. The
palettes keep every object colour apart from every place: the sea is teal where objects are blue, grass is
yellowish where objects are dark green, snow is bluish where objects are white, the night is indigo where
objects are black.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (218, 32, 38),
    "orange": (250, 132, 16),
    "yellow": (252, 222, 30),
    "green": (6, 112, 62),
    "blue": (24, 72, 224),
    "purple": (146, 48, 178),
    "black": (16, 16, 18),
    "white": (252, 252, 250),
}


@dataclass(frozen=True)
class Place:
    """A background: the colours its sky and ground run through, from top to bottom."""

    sky: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]


PLACES: dict[str, Place] = {
    "street": Place(((178, 190, 204), (208, 212, 216)), ((112, 112, 116), (92, 92, 97))),
    "sea": Place(((150, 205, 236), (216, 238, 246)), ((62, 172, 186), (18, 112, 138))),
    "grass": Place(((128, 192, 242), (208, 232, 248)), ((150, 204, 82), (112, 170, 52))),
    "beach": Place(((150, 212, 244), (222, 240, 246)), ((240, 218, 170), (222, 190, 132))),
    "snow": Place(((168, 180, 198), (200, 208, 222)), ((206, 222, 242), (178, 200, 230))),
    "night": Place(((20, 22, 70), (62, 56, 132)), ((40, 44, 82), (28, 32, 62))),
}


@dataclass(frozen=True)
class Category:
    """A kind of object: COCO's number and group, its shape's half width and half height, and how it behaves."""

    coco_id: int
    group: str
    width: float
    height: float
    kind: Literal["vehicle", "boat", "flyer", "animal", "thing"]


CATEGORIES: dict[str, Category] = {
    "car": Category(3, "vehicle", 1.0, 0.52, "vehicle"),
    "airplane": Category(5, "vehicle", 1.0, 0.56, "flyer"),
    "bus": Category(6, "vehicle", 1.0, 0.62, "vehicle"),
    "truck": Category(8, "vehicle", 1.0, 0.6, "vehicle"),
    "boat": Category(9, "vehicle", 1.0, 0.92, "boat"),
    "fire hydrant": Category(11, "outdoor", 0.64, 1.0, "thing"),
    "stop sign": Category(13, "outdoor", 0.68, 1.0, "thing"),
    "bird": Category(16, "animal", 1.0, 0.72, "flyer"),
    "cat": Category(17, "animal", 0.74, 1.0, "animal"),
    "dog": Category(18, "animal", 1.0, 0.82, "animal"),
    "elephant": Category(22, "animal", 1.0, 0.78, "animal"),
    "umbrella": Category(28, "accessory", 1.0, 1.0, "thing"),
    "kite": Category(38, "sports", 0.7, 1.0, "flyer"),
    "cup": Category(47, "kitchen", 0.92, 0.86, "thing"),
    "banana": Category(52, "food", 1.0, 0.56, "thing"),
    "apple": Category(53, "food", 0.88, 1.0, "thing"),
    "orange": Category(55, "food", 0.94, 0.94, "thing"),
    "chair": Category(62, "furniture", 0.64, 1.0, "thing"),
    "clock": Category(85, "indoor", 0.94, 0.94, "thing"),
    "teddy bear": Category(88, "indoor", 0.84, 1.0, "thing"),
}


@dataclass(frozen=True)
class Thing:
    """One object of a scene; lengths are fractions of the picture's side, y points down."""

    category: str
    colour: str
    x: float
    y: float
    size: float
    angle: float
    mirrored: bool
    pose: float

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the upright shape; the longer of the two is ``size``."""
        category = CATEGORIES[self.category]
        return category.width * self.size, category.height * self.size


@dataclass(frozen=True)
class Scene:
    """A place, the objects in it, and how the second object stands to the first: left, right or above."""

    place: str
    things: tuple[Thing, ...]
    relation: Literal["left", "right", "above"] | None
    texture: int


def compose(rng: np.random.Generator, max_objects: int) -> Scene:
    """A random scene of one to ``max_objects`` objects, all of different categories."""
    chances = np.array([0.6, 0.25, 0.15][:max_objects])
    count = 1 + int(rng.choice(max_objects, p=chances / chances.sum()))
    names = [str(name) for name in rng.permutation(list(CATEGORIES))[:count]]
    relation: Literal["left", "right", "above"] | None = None
    if count > 1:
        relation = "left" if rng.random() < 0.5 else "right"
        if count == 2 and CATEGORIES[names[1]].kind == "flyer" and rng.random() < 0.7:
            relation = "above"
    spots = {1: one_spot, 2: two_spots, 3: three_spots}[count](rng, relation)
    things = tuple(thing(rng, name, *spot) for name, spot in zip(names, spots, strict=True))
    place = str(rng.choice(list(PLACES)))
    return Scene(place, things, relation, int(rng.integers(2**31)))


def one_scene(place: str, category: str, colour: str, rng: np.random.Generator) -> Scene:
    """A scene with one given object in one given place; the rest is random."""
    return Scene(place, (thing(rng, category, *one_spot(rng)[0], colour=colour),), None, int(rng.integers(2**31)))


SINGLE_SIZES = (0.5, 0.72)
Spot = tuple[float, float, float]  # x, y of the middle of the base, size


def one_spot(rng: np.random.Generator, relation: str | None = None) -> list[Spot]:
    """Where a single object stands: near the middle, a third to seven tenths of the picture."""
    size = rng.uniform(*SINGLE_SIZES)
    return [(rng.uniform(0.38, 0.62), rng.uniform(0.74, 0.9), size)]


def two_spots(rng: np.random.Generator, relation: str | None) -> list[Spot]:
    """Where two objects stand; the second is to the ``relation`` of the first."""
    sizes = rng.uniform(0.36, 0.46, 2)
    if relation == "above":
        x = rng.uniform(0.36, 0.64)
        return [
            (x, rng.uniform(0.84, 0.93), sizes[0]),
            (x + rng.uniform(-0.1, 0.1), rng.uniform(0.36, 0.42), sizes[1] * 0.94),
        ]
    sides = (rng.uniform(0.72, 0.76), rng.uniform(0.24, 0.28))
    first, second = sides if relation == "left" else sides[::-1]
    return [(first, rng.uniform(0.7, 0.9), sizes[0]), (second, rng.uniform(0.7, 0.9), sizes[1])]


def three_spots(rng: np.random.Generator, relation: str | None) -> list[Spot]:
    """Where three objects stand: the first in the middle, the second to its ``relation``, the third opposite."""
    sizes = rng.uniform(0.28, 0.34, 3)
    sides = (0.18, 0.82) if relation == "left" else (0.82, 0.18)
    middle = (0.5, rng.uniform(0.62, 0.7) if rng.random() < 0.5 else rng.uniform(0.84, 0.92), sizes[0])
    return [middle, *((side, rng.uniform(0.68, 0.9), size) for side, size in zip(sides, sizes[1:], strict=True))]


def thing(rng: np.random.Generator, category: str, x: float, base: float, size: float, colour: str = "") -> Thing:
    """An object with its base at a spot; flyers are lifted into the air when there is room above them."""
    kind = CATEGORIES[category].kind
    height = CATEGORIES[category].height * size
    y = base - height / 2
    if kind == "flyer" and base > 0.5:
        y = max(height / 2 + 0.04, y - rng.uniform(0.16, 0.34))
    tilt = {"flyer": 16.0, "vehicle": 3.0, "boat": 6.0, "animal": 4.0, "thing": 7.0}[kind]
    return Thing(
        category,
        colour or str(rng.choice(list(COLOURS))),
        float(x),
        float(max(y, height / 2 + 0.02)),
        float(size),
        float(rng.uniform(-tilt, tilt)),
        bool(rng.random() < 0.5),
        float(rng.random()),
    )
