"""From a scene to a picture and the box of each object."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from t2icli.data.scenes import animals, objects, vehicles
from t2icli.data.scenes.backdrops import backdrop
from t2icli.data.scenes.pen import Pen
from t2icli.data.scenes.world import CATEGORIES, COLOURS, Colour, Scene, Thing

SUPERSAMPLING = 4
SHAPES: dict[str, Callable[[Pen], None]] = {
    "airplane": vehicles.airplane,
    "apple": objects.apple,
    "banana": objects.banana,
    "bird": animals.bird,
    "boat": vehicles.boat,
    "bus": vehicles.bus,
    "car": vehicles.car,
    "cat": animals.cat,
    "chair": objects.chair,
    "clock": objects.clock,
    "cup": objects.cup,
    "dog": animals.dog,
    "elephant": animals.elephant,
    "fire hydrant": objects.fire_hydrant,
    "kite": objects.kite,
    "orange": objects.orange,
    "stop sign": objects.stop_sign,
    "teddy bear": animals.teddy_bear,
    "truck": vehicles.truck,
    "umbrella": objects.umbrella,
}


@dataclass(frozen=True)
class Region:
    """Where an object is, in pixels of the finished picture; ``area`` counts its own pixels."""

    x: float
    y: float
    width: float
    height: float
    area: float


def paint(scene: Scene, size: int) -> tuple[Image.Image, list[Region]]:
    """The picture of a scene, ``size`` pixels square, and one region per object."""
    side = size * SUPERSAMPLING
    rng = np.random.default_rng(scene.texture)
    canvas = backdrop(scene.place, side, rng)
    light = Image.linear_gradient("L").resize((side, side)).point(lambda value: 255 - value // 14)
    regions = []
    # What stands further up stands further back and is drawn first.
    layers = {}
    for index in sorted(range(len(scene.things)), key=lambda i: scene.things[i].y + scene.things[i].extent[1] / 2):
        thing = scene.things[index]
        touch_ground(canvas, scene.place, thing, side)
        layers[index] = cut_out(thing, side, tinted(COLOURS[thing.colour], rng))
        colour = ImageChops.multiply(layers[index].convert("RGB"), Image.merge("RGB", [light] * 3))
        canvas.paste(colour, mask=layers[index].getchannel("A"))
    regions = [region(layers[index]) for index in range(len(scene.things))]
    return canvas.resize((size, size), Image.Resampling.BOX), regions


def cut_out(thing: Thing, side: int, body: Colour) -> Image.Image:
    """One object on a transparent canvas."""
    # The layer starts in the body's colour so that antialiasing never mixes in another.
    layer = Image.new("RGBA", (side, side), (*body, 0))
    pen = Pen(ImageDraw.Draw(layer), thing.colour, body, thing.size * side / 2, thing.pose)
    pen.place(thing.x * side, thing.y * side, thing.angle, thing.mirrored)
    SHAPES[thing.category](pen)
    return layer


def touch_ground(canvas: Image.Image, place: str, thing: Thing, side: int) -> None:
    """A shadow under what stands on the ground, foam round what stands in the sea."""
    if CATEGORIES[thing.category].kind == "flyer":
        return
    width, height = thing.extent
    x, y = thing.x * side, (thing.y + height * 0.48) * side
    half = width * side * 0.5
    patch = Image.new("L", canvas.size, 0)
    draw = ImageDraw.Draw(patch)
    draw.ellipse((x - half, y - half * 0.14, x + half, y + half * 0.2), fill=90 if place != "sea" else 150)
    canvas.paste((20, 20, 40) if place != "sea" else (206, 236, 238), mask=patch)


def tinted(colour: Colour, rng: np.random.Generator) -> Colour:
    """A colour moved by a few steps, as no two red things are the same red."""
    red, green, blue = (int(c) for c in np.clip(np.array(colour) + rng.integers(-10, 11, 3), 4, 253))
    return red, green, blue


def region(layer: Image.Image) -> Region:
    """The box and area of what is drawn on a layer."""
    alpha = layer.getchannel("A")
    left, top, right, bottom = alpha.getbbox() or (0, 0, 1, 1)
    area = (alpha.width * alpha.height - alpha.histogram()[0]) / SUPERSAMPLING**2
    scale = 1 / SUPERSAMPLING
    return Region(left * scale, top * scale, (right - left) * scale, (bottom - top) * scale, area)
