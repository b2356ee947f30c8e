"""Shapes of things that carry people: bus, car, truck, boat, airplane."""

from t2icli.data.scenes.pen import Pen, arc
from t2icli.data.scenes.world import COLOURS


def wheels(pen: Pen, places: tuple[float, ...], y: float, radius: float) -> None:
    """Tyres with hubs."""
    for x in places:
        pen.disc(x, y, radius, pen.tyre)
        pen.disc(x, y, radius * 0.45, (190, 192, 196))


def bus(pen: Pen) -> None:
    """A coach seen from the side, with a row of windows and a door at the front."""
    pen.box(-1, -0.62, 1, 0.46, pen.body, cut=0.12, rim=True)
    for i in range(5):
        left = -0.9 + 0.31 * i
        pen.box(left, -0.46, left + 0.25, -0.1, pen.glass, cut=0.03)
    pen.box(0.68, -0.46, 0.92, 0.34, pen.glass, cut=0.03)
    pen.line([(0.8, -0.46), (0.8, 0.34)], pen.dark, 0.03)
    pen.line([(-0.97, 0.1), (0.62, 0.1)], pen.dark, 0.05)
    pen.disc(0.95, 0.3, 0.05, (255, 240, 180))
    wheels(pen, (-0.58, 0.42), 0.42, 0.2)


def car(pen: Pen) -> None:
    """A small car from the side: cabin, bonnet, two doors."""
    pen.polygon([(-0.62, -0.1), (-0.42, -0.5), (0.24, -0.52), (0.56, -0.1)], pen.body, rim=True)
    pen.polygon(
        [
            (-1, 0.3),
            (-0.98, -0.06),
            (-0.64, -0.14),
            (0.56, -0.14),
            (0.9, -0.04),
            (1, 0.12),
            (0.98, 0.32),
            (-0.96, 0.34),
        ],
        pen.body,
        rim=True,
    )
    pen.box(-0.6, -0.14, 0.52, 0.06, pen.body)
    pen.polygon([(-0.5, -0.12), (-0.36, -0.4), (-0.08, -0.41), (-0.08, -0.12)], pen.glass)
    pen.polygon([(-0.01, -0.12), (-0.01, -0.41), (0.2, -0.42), (0.43, -0.12)], pen.glass)
    pen.line([(-0.05, -0.1), (-0.05, 0.26)], pen.dark, 0.03)
    pen.disc(0.92, 0.06, 0.06, (255, 240, 180))
    wheels(pen, (-0.56, 0.58), 0.3, 0.22)


def truck(pen: Pen) -> None:
    """A lorry: a long load behind a cab."""
    pen.box(-1, -0.6, 0.36, 0.34, pen.body, cut=0.05, rim=True)
    for x in (-0.66, -0.32, 0.02):
        pen.line([(x, -0.54), (x, 0.28)], pen.dark, 0.03)
    pen.polygon([(0.44, 0.34), (0.44, -0.34), (0.74, -0.34), (0.94, 0.0), (1, 0.04), (1, 0.34)], pen.body, rim=True)
    pen.polygon([(0.54, -0.24), (0.7, -0.24), (0.85, 0.02), (0.54, 0.02)], pen.glass)
    pen.box(-0.98, 0.34, 0.98, 0.42, pen.tyre)
    wheels(pen, (-0.7, -0.3, 0.68), 0.41, 0.19)


def boat(pen: Pen) -> None:
    """A sailing boat: hull and main sail in the boat's colour, a pale foresail."""
    pen.line([(0.0, -0.9), (0.0, 0.5)], (120, 84, 52), 0.06)
    pen.polygon([(-0.05, -0.88), (-0.05, 0.3), (-0.82, 0.3)], pen.body, rim=True)
    pen.polygon([(0.07, -0.7), (0.07, 0.3), (0.64, 0.3)], pen.light, rim=True)
    pen.polygon([(-1, 0.42), (1, 0.42), (0.72, 0.92), (-0.74, 0.92)], pen.body, rim=True)
    pen.line([(-0.9, 0.56), (0.9, 0.56)], pen.mark, 0.06)


def airplane(pen: Pen) -> None:
    """An airliner from the side with near and far wing, tail and windows."""
    pen.polygon([(0.1, -0.08), (-0.2, -0.46), (-0.36, -0.46), (-0.16, -0.06)], pen.dark)
    pen.polygon([(-0.66, -0.08), (-0.98, -0.56), (-0.8, -0.56), (-0.4, -0.12)], pen.body, rim=True)
    nose = arc(0.7, 0.03, 0.3, 0.17, -90, 90, 10)
    pen.polygon([(-0.96, -0.08), (-0.7, -0.14), *nose, (-0.5, 0.2), (-0.92, 0.04)], pen.body, rim=True)
    pen.polygon([(0.28, 0.08), (-0.28, 0.56), (-0.48, 0.56), (-0.14, 0.08)], pen.light, rim=True)
    pen.polygon([(-0.66, 0.02), (-0.98, 0.24), (-0.84, 0.24), (-0.5, 0.06)], pen.light, rim=True)
    windows = COLOURS["black"] if pen.mark == COLOURS["black"] else pen.glass
    for i in range(7):
        pen.disc(-0.4 + 0.15 * i, -0.04, 0.035, windows)
    pen.polygon([(0.78, -0.1), (0.9, -0.06), (0.96, 0.0), (0.78, 0.0)], windows)
