"""Shapes of things on the street, in the kitchen and in the hand."""

import math

from t2icli.data.scenes.pen import Pen, arc
from t2icli.data.scenes.world import Colour

LEAF: Colour = (66, 150, 48)
WOOD: Colour = (112, 76, 46)
PITH: Colour = (255, 246, 214)
STEEL: Colour = (150, 152, 158)

# S, T, O and P as strokes.
LETTERS: tuple[list[tuple[float, float]], ...] = (
    [(0.8, -0.8), (-0.2, -1), (-0.8, -0.6), (0.8, 0.5), (0.2, 1), (-0.8, 0.8)],
    [(-1, -1), (1, -1), (0, -1), (0, 1)],
    [(-0.6, -0.9), (0.6, -0.9), (0.9, 0), (0.6, 0.9), (-0.6, 0.9), (-0.9, 0), (-0.6, -0.9)],
    [(-0.8, 1), (-0.8, -1), (0.6, -1), (0.9, -0.5), (0.6, 0.05), (-0.8, 0.05)],
)


def stop_sign(pen: Pen) -> None:
    """An octagon with a border and four letters on a post."""
    pen.box(-0.07, 0.2, 0.07, 1.0, STEEL)
    corners = [(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in range(22, 382, 45)]
    pen.polygon([(0.72 * x, -0.34 + 0.7 * y) for x, y in corners], pen.mark)
    pen.polygon([(0.64 * x, -0.34 + 0.62 * y) for x, y in corners], pen.body)
    # The letters are not mirrored with the sign: a stop sign reads the same from every picture.
    mirrored, pen.mirrored = pen.mirrored, False
    for shift, stroke in zip((-0.42, -0.15, 0.13, 0.4), LETTERS, strict=True):
        pen.line([(shift + 0.1 * x, -0.34 + 0.17 * y) for x, y in stroke], pen.mark, 0.065)
    pen.mirrored = mirrored


def fire_hydrant(pen: Pen) -> None:
    """A hydrant: domed top, two side caps, a flange at the foot."""
    pen.box(-0.52, 0.8, 0.52, 1.0, pen.dark, cut=0.05, rim=True)
    for side in (-1, 1):
        pen.box(side * 0.62 - 0.09, -0.26, side * 0.62 + 0.05, 0.08, pen.dark, rim=True)
        pen.box(min(side * 0.3, side * 0.54), -0.2, max(side * 0.3, side * 0.54), 0.02, pen.body, rim=True)
    pen.box(-0.38, -0.46, 0.38, 0.84, pen.body, rim=True)
    pen.polygon([(-0.42, -0.48), *arc(0, -0.48, 0.4, 0.4, 180, 360, 10), (0.42, -0.48)], pen.body, rim=True)
    pen.box(-0.5, -0.56, 0.5, -0.42, pen.dark, cut=0.04, rim=True)
    pen.box(-0.12, -1.0, 0.12, -0.84, pen.dark, rim=True)
    pen.disc(0, -0.08, 0.22, pen.light, rim=True)
    pen.disc(0, -0.08, 0.09, pen.dark)


def umbrella(pen: Pen) -> None:
    """An open umbrella with panels and a hooked handle."""
    handle = [(0, -0.3), (0, 0.74), *arc(0.16, 0.74, 0.16, 0.2, 180, 20, 8)]
    pen.line(handle, WOOD, 0.09)
    pen.line([(0, -1.0), (0, -0.8)], STEEL, 0.07)
    edge = []
    for i in range(4):
        edge += arc(0.75 - 0.5 * i, 0.02, 0.25, 0.12, 0, -180, 6)
    pen.polygon([*arc(0, 0.02, 1.0, 0.9, 180, 360, 20), *edge], pen.body, rim=True)
    for i in (-1, 0, 1):
        pen.line([(0, -0.86), (0.3 * i, -0.5), (0.5 * i, -0.06)], pen.dark, 0.04)


def kite(pen: Pen) -> None:
    """A diamond with crossed sticks and a tail of bows."""
    sway = 0.24 * (pen.pose - 0.5)
    tail = [(0, 0.3), (0.12 + sway, 0.5), (-0.1 + sway, 0.72), (0.06 + 2 * sway, 0.98)]
    pen.line(tail, pen.rim, 0.04)
    for x, y in tail[1:]:
        pen.polygon([(x - 0.14, y - 0.09), (x + 0.14, y + 0.09), (x + 0.14, y - 0.09), (x - 0.14, y + 0.09)], pen.body)
    pen.polygon([(0, -1.0), (0.7, -0.42), (0, 0.36), (-0.7, -0.42)], pen.body, rim=True)
    pen.polygon([(0, -0.96), (0.66, -0.42), (0, -0.42)], pen.light)
    pen.polygon([(0, 0.32), (-0.66, -0.42), (0, -0.42)], pen.dark)
    pen.line([(0, -1.0), (0, 0.36)], pen.rim, 0.03)
    pen.line([(-0.7, -0.42), (0.7, -0.42)], pen.rim, 0.03)


def cup(pen: Pen) -> None:
    """A mug with a handle, full of coffee."""
    handle = arc(0.52, 0.1, 0.34, 0.38, -90, 90)
    pen.line(handle, pen.rim, 0.2)
    pen.line(handle, pen.body, 0.14)
    pen.polygon([(-0.9, -0.6), (0.56, -0.6), (0.48, 0.7), *arc(-0.17, 0.7, 0.65, 0.16, 0, 180)], pen.body, rim=True)
    pen.disc(-0.17, -0.6, 0.73, pen.light, ry=0.24, rim=True)
    pen.disc(-0.17, -0.58, 0.6, (92, 58, 36), ry=0.16)
    pen.line([(-0.7, -0.24), (-0.62, 0.5)], pen.light, 0.09)


def banana(pen: Pen) -> None:
    """A crescent with a stem."""
    outer = arc(0, -0.5, 1.0, 1.06, 8, 172, 18)
    inner = arc(0, -0.56, 0.8, 0.62, 165, 15, 18)
    pen.polygon([*outer, *inner], pen.body, rim=True)
    pen.line(arc(0, -0.52, 0.9, 0.84, 25, 155, 14), pen.dark, 0.04)
    pen.polygon([(-0.99, -0.34), (-0.94, -0.56), (-0.82, -0.54), (-0.78, -0.38)], WOOD)
    pen.polygon([(0.99, -0.38), (0.9, -0.46), (0.82, -0.36), (0.96, -0.28)], (60, 44, 30))


def apple(pen: Pen) -> None:
    """Two lobes, a stem and a leaf."""
    pen.disc(-0.32, 0.2, 0.54, pen.body, ry=0.76, rim=True)
    pen.disc(0.32, 0.2, 0.54, pen.body, ry=0.76, rim=True)
    pen.disc(0, 0.26, 0.5, pen.body, ry=0.66)
    pen.disc(0, -0.46, 0.22, pen.dark, ry=0.1)
    pen.line([(0, -0.44), (0.04, -0.74), (0.14, -0.96)], WOOD, 0.09)
    pen.polygon([(0.1, -0.7), (0.34, -0.98), (0.74, -0.94), (0.5, -0.68)], LEAF)
    pen.disc(-0.46, -0.06, 0.12, pen.light, ry=0.26)


def orange(pen: Pen) -> None:
    """A cut orange: the round fruit with its segments showing."""
    pen.disc(0, 0, 0.94, pen.body, rim=True)
    pen.disc(0, 0, 0.76, PITH if pen.body[2] < 225 or pen.body[0] < 225 else pen.dark)
    for i in range(8):
        start = 45 * i + 4 + 45 * pen.pose
        wedge = arc(0, 0, 0.7, 0.7, start, start + 37, 5)
        middle = math.radians(start + 18.5)
        pen.polygon([(0.08 * math.cos(middle), 0.08 * math.sin(middle)), *wedge], pen.body)


def chair(pen: Pen) -> None:
    """A kitchen chair turned a little to the side."""
    for x, top in ((-0.46, 0.1), (0.42, 0.1)):
        pen.box(x - 0.07, top, x + 0.07, 0.84, pen.dark)
    for x in (-0.56, 0.54):
        pen.box(x - 0.08, 0.2, x + 0.08, 1.0, pen.body, rim=True)
    pen.box(-0.56, -1.0, 0.56, -0.28, pen.body, cut=0.12, rim=True)
    for x in (-0.26, 0.0, 0.26):
        pen.box(x - 0.06, -0.82, x + 0.06, -0.44, pen.dark)
    for x in (-0.42, 0.42):
        pen.box(x - 0.06, -0.3, x + 0.06, 0.12, pen.body, rim=True)
    pen.polygon([(-0.48, 0.04), (0.48, 0.04), (0.64, 0.3), (-0.64, 0.3)], pen.body, rim=True)


def clock(pen: Pen) -> None:
    """A round clock with a face in its colour, marks and two hands."""
    pen.disc(0, 0, 0.94, pen.rim)
    pen.disc(0, 0, 0.84, pen.body)
    for i in range(12):
        c, s = math.cos(math.tau * i / 12), math.sin(math.tau * i / 12)
        inner = 0.58 if i % 3 == 0 else 0.66
        pen.line([(inner * c, inner * s), (0.76 * c, 0.76 * s)], pen.mark, 0.08 if i % 3 == 0 else 0.04)
    for length, turn, width in ((0.4, pen.pose, 0.1), (0.62, 12 * pen.pose, 0.07)):
        c, s = math.cos(math.tau * turn), math.sin(math.tau * turn)
        pen.line([(0, 0), (length * c, length * s)], pen.mark, width)
    pen.disc(0, 0, 0.08, pen.mark)
