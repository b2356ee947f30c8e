"""The six places, drawn on a canvas of any side."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from t2icli.data.scenes.world import PLACES, Colour

Draw = ImageDraw.ImageDraw


def backdrop(place: str, side: int, rng: np.random.Generator) -> Image.Image:
    """A picture of a place without objects, ``side`` pixels square."""
    horizon = int(side * rng.uniform(0.4, 0.54))
    image = Image.fromarray(column(place, side, horizon, rng.uniform(-8, 8, 3))[:, None]).resize((side, side))
    DETAILS[place](ImageDraw.Draw(image), side, horizon, rng)
    return image


def column(place: str, side: int, horizon: int, tint: np.ndarray) -> np.ndarray:
    """One column of sky and ground, uint8 (side, 3)."""
    palette = PLACES[place]
    sky = np.linspace(*palette.sky, horizon)
    ground = np.linspace(*palette.ground, side - horizon)
    return np.clip(np.concatenate([sky, ground]) + tint, 0, 255).astype(np.uint8)


def street(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """Houses, a pavement, and a road with a dashed line."""
    greys: list[Colour] = [(150, 142, 136), (128, 130, 140), (170, 160, 150), (140, 126, 118)]
    foot = horizon + int(side * 0.06)
    x = -int(side * rng.uniform(0, 0.15))
    while x < side:
        width = int(side * rng.uniform(0.16, 0.28))
        top = horizon - int(side * rng.uniform(0.14, 0.36))
        draw.rectangle((x, top, x + width, foot), fill=greys[rng.integers(4)])
        pane = side // 24
        for left in range(x + pane, x + width - pane, 2 * pane):
            for upper in range(top + pane, foot - 2 * pane, int(2.4 * pane)):
                draw.rectangle((left, upper, left + pane, upper + int(pane * 1.3)), fill=(96, 106, 122))
        x += width + 1
    draw.rectangle((0, foot, side, foot + side // 20), fill=(176, 172, 166))
    middle = int(side * 0.9)
    dash = side // 6
    for left in range(-int(rng.integers(dash)), side, dash):
        draw.rectangle((left, middle, left + dash // 2, middle + side // 45), fill=(232, 230, 220))


def sea(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """Rows of small waves, wider towards the viewer."""
    clouds(draw, side, horizon, rng)
    for _ in range(26):
        y = horizon + (side - horizon) * float(rng.random()) ** 0.8
        width = side * (0.04 + 0.12 * (y - horizon) / (side - horizon))
        x = float(rng.uniform(-0.1, 1)) * side
        box = (x, y, x + width, y + width * 0.3)
        draw.arc(box, 190, 350, fill=(150, 216, 220), width=max(1, side // 90))


def grass(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """A hill, tufts and a few daisies."""
    clouds(draw, side, horizon, rng)
    x = float(rng.uniform(-0.3, 0.6)) * side
    draw.ellipse((x, horizon - side * 0.08, x + side * 0.9, horizon + side * 0.3), fill=(150, 204, 86))
    for _ in range(50):
        x, y = float(rng.random()) * side, horizon + (side - horizon) * float(rng.uniform(0.1, 1))
        length = side * 0.045
        blade = [(x - length * 0.4, y - length), (x, y), (x + length * 0.4, y - length)]
        draw.line(blade, fill=(92, 152, 40), width=max(1, side // 110))
    for _ in range(8):
        x, y = float(rng.random()) * side, horizon + (side - horizon) * float(rng.uniform(0.2, 1))
        dot(draw, x, y, side * 0.012, (250, 250, 235))


def beach(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """A strip of sea with foam, sand with pebbles and shells."""
    clouds(draw, side, horizon, rng)
    strip = int(side * rng.uniform(0.1, 0.16))
    draw.rectangle((0, horizon - strip, side, horizon), fill=(56, 166, 190))
    for left in range(0, side, side // 8):
        foam = (left - side // 10, horizon - side // 40, left + side // 10, horizon + side // 50)
        draw.ellipse(foam, fill=(236, 244, 242))
    for _ in range(40):
        x, y = float(rng.random()) * side, horizon + (side - horizon) * float(rng.uniform(0.12, 1))
        dot(draw, x, y, side * float(rng.uniform(0.004, 0.012)), (196, 162, 108))


def snow(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """Fir trees under snow at the horizon, drifts, falling flakes."""
    for _ in range(int(rng.integers(4, 8))):
        x, tall = float(rng.random()) * side, side * float(rng.uniform(0.16, 0.3))
        for level in range(3):
            top = horizon + side * 0.03 - tall * (1 - 0.24 * level)
            half = tall * (0.16 + 0.07 * level)
            tree = [(x, top), (x - half, top + tall * 0.42), (x + half, top + tall * 0.42)]
            draw.polygon(tree, fill=(112, 140, 146))
            draw.polygon([tree[0], mean(tree[0], tree[1]), mean(tree[0], tree[2])], fill=(220, 230, 242))
    for _ in range(3):
        x, y = float(rng.uniform(-0.3, 0.8)) * side, horizon + (side - horizon) * float(rng.uniform(0.2, 0.8))
        draw.arc((x, y, x + side * 0.6, y + side * 0.16), 190, 350, fill=(160, 184, 218), width=max(1, side // 60))
    for _ in range(40):
        x, y = float(rng.random()) * side, float(rng.random()) * side
        dot(draw, x, y, side * float(rng.uniform(0.005, 0.011)), (240, 245, 252))


def night(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """Stars, a crescent moon, dark hills."""
    for _ in range(46):
        x, y = float(rng.random()) * side, float(rng.random()) * horizon
        dot(draw, x, y, side * float(rng.uniform(0.003, 0.009)), (236, 236, 210))
    x, y, radius = float(rng.uniform(0.1, 0.9)) * side, horizon * float(rng.uniform(0.16, 0.34)), side * 0.06
    dot(draw, x, y, radius, (244, 238, 196))
    dot(draw, x + radius * 0.55, y - radius * 0.25, radius * 0.9, (32, 32, 86))
    for _ in range(2):
        x = float(rng.uniform(-0.4, 0.5)) * side
        draw.ellipse((x, horizon - side * 0.07, x + side * 0.9, horizon + side * 0.4), fill=(40, 44, 82))


def clouds(draw: Draw, side: int, horizon: int, rng: np.random.Generator) -> None:
    """One or two clouds in a day sky."""
    for _ in range(int(rng.integers(1, 3))):
        x, y = float(rng.uniform(0, 0.9)) * side, horizon * float(rng.uniform(0.12, 0.5))
        for shift, radius in ((0, 0.05), (0.06, 0.07), (0.13, 0.05)):
            dot(draw, x + shift * side, y, radius * side * 0.8, (240, 245, 249))


def dot(draw: Draw, x: float, y: float, radius: float, colour: Colour) -> None:
    """A filled circle."""
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def mean(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The point half way."""
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


DETAILS: dict[str, Callable[[Draw, int, int, np.random.Generator], None]] = {
    "street": street,
    "sea": sea,
    "grass": grass,
    "beach": beach,
    "snow": snow,
    "night": night,
}
