"""Shapes of animals: bird, cat, dog, elephant; and the teddy bear, which is built like one."""

from t2icli.data.scenes.pen import Pen, arc
from t2icli.data.scenes.world import Colour

BEAK: Colour = (250, 176, 40)
EYE: Colour = (20, 20, 24)


def eye(pen: Pen, x: float, y: float, radius: float) -> None:
    """A white eye with a pupil, so that it shows on any colour."""
    pen.disc(x, y, radius, (246, 246, 246))
    pen.disc(x + radius * 0.2, y, radius * 0.6, EYE)


def bird(pen: Pen) -> None:
    """A bird in flight, the wing up or down with the pose."""
    tip = -0.72 + 1.1 * pen.pose if pen.pose < 0.5 else -0.16 + 0.86 * pen.pose
    pen.polygon([(-0.5, 0.06), (-1.0, -0.08), (-0.96, 0.16), (-0.98, 0.34), (-0.46, 0.26)], pen.dark, rim=True)
    pen.polygon([(0.22, 0.0), (0.02, tip * 0.9), (-0.16, tip * 0.96), (-0.06, 0.04)], pen.dark)
    pen.disc(-0.06, 0.12, 0.58, pen.body, ry=0.3, rim=True)
    pen.disc(0.54, -0.06, 0.26, pen.body, rim=True)
    pen.disc(0.34, 0.08, 0.22, pen.body)
    pen.polygon([(0.76, -0.12), (1.0, 0.0), (0.74, 0.08)], BEAK)
    pen.polygon([(0.18, 0.06), (-0.22, tip), (-0.46, tip), (-0.38, 0.12), (-0.1, 0.16)], pen.light, rim=True)
    eye(pen, 0.6, -0.1, 0.08)


def cat(pen: Pen) -> None:
    """A sitting cat that looks at you, its tail round one side."""
    lift = 0.5 * pen.pose
    tail = [(0.34, 0.84), (0.6, 0.8), (0.68, 0.5 - lift * 0.5), (0.58, 0.2 - lift)]
    pen.line(tail, pen.rim, 0.22)
    pen.line(tail, pen.body, 0.16)
    pen.polygon([(-0.3, -0.1), (0.3, -0.1), (0.5, 0.6), (0.44, 1.0), (-0.44, 1.0), (-0.5, 0.6)], pen.body, rim=True)
    for side in (-1, 1):
        pen.polygon([(side * 0.48, -0.5), (side * 0.46, -1.0), (side * 0.1, -0.78)], pen.body, rim=True)
        pen.polygon([(side * 0.4, -0.66), (side * 0.4, -0.88), (side * 0.22, -0.76)], (240, 168, 170))
    pen.disc(0, -0.42, 0.52, pen.body, ry=0.42, rim=True)
    for side in (-1, 1):
        pen.disc(side * 0.2, -0.46, 0.1, (206, 232, 120))
        pen.disc(side * 0.2, -0.46, 0.05, EYE, ry=0.09)
        pen.line([(side * 0.12, -0.24), (side * 0.6, -0.28)], pen.mark, 0.025)
        pen.disc(side * 0.18, 0.94, 0.15, pen.light, ry=0.1)
    pen.polygon([(-0.07, -0.3), (0.07, -0.3), (0, -0.22)], (236, 120, 130))
    pen.line([(0, 0.4), (0, 0.92)], pen.dark, 0.035)


def dog(pen: Pen) -> None:
    """A standing dog from the side: snout, hanging ear, collar, wagging tail."""
    stride = 0.16 * (pen.pose - 0.5)
    pen.line([(-0.64, -0.1), (-0.84, -0.34), (-0.9, -0.62 + 0.3 * pen.pose)], pen.rim, 0.2)
    pen.line([(-0.64, -0.1), (-0.84, -0.34), (-0.9, -0.6 + 0.3 * pen.pose)], pen.body, 0.14)
    for x, colour in ((-0.46, pen.dark), (0.36, pen.dark), (-0.64, pen.body), (0.2, pen.body)):
        swing = stride if colour == pen.body else -stride
        pen.polygon(
            [(x - 0.1, 0.2), (x + 0.12, 0.2), (x + 0.1 + swing, 0.82), (x - 0.1 + swing, 0.82)], colour, rim=True
        )
    pen.box(-0.78, -0.24, 0.46, 0.36, pen.body, cut=0.22, rim=True)
    pen.polygon([(0.14, 0.0), (0.34, -0.5), (0.66, -0.4), (0.48, 0.2)], pen.body)
    pen.disc(0.52, -0.5, 0.3, pen.body, ry=0.28, rim=True)
    pen.box(0.56, -0.52, 1.0, -0.24, pen.body, cut=0.1, rim=True)
    pen.box(0.5, -0.5, 0.66, -0.28, pen.body)
    pen.disc(0.95, -0.46, 0.07, pen.tyre)
    pen.polygon([(0.26, -0.72), (0.5, -0.68), (0.42, -0.2), (0.26, -0.14), (0.2, -0.4)], pen.dark, rim=True)
    eye(pen, 0.62, -0.56, 0.07)
    pen.line([(0.24, -0.14), (0.56, -0.06)], (220, 60, 60) if pen.mark == (16, 16, 18) else pen.mark, 0.07)


def elephant(pen: Pen) -> None:
    """An elephant from the side with big ear, trunk and tusk."""
    curl = 0.3 * pen.pose
    for x, colour in ((-0.44, pen.dark), (0.24, pen.dark), (-0.68, pen.body), (0.02, pen.body)):
        pen.box(x - 0.13, 0.1, x + 0.15, 0.78, colour, cut=0.04, rim=True)
    pen.line([(-0.86, -0.1), (-0.97, 0.1), (-0.93, 0.3)], pen.rim, 0.06)
    pen.disc(-0.26, -0.1, 0.64, pen.body, ry=0.5, rim=True)
    trunk = [(0.72, -0.1), (0.86, 0.14), (0.84, 0.4), (0.93, 0.6 - curl)]
    pen.line(trunk, pen.rim, 0.25)
    pen.line(trunk, pen.body, 0.19)
    pen.disc(0.52, -0.3, 0.36, pen.body, ry=0.36, rim=True)
    pen.line([(0.66, -0.08), (0.74, 0.1)], pen.body, 0.2)
    pen.polygon([(0.6, 0.02), (0.7, -0.02), (0.72, 0.3)], (250, 246, 230))
    pen.disc(0.22, -0.28, 0.28, pen.dark, ry=0.36, rim=True)
    pen.disc(0.22, -0.28, 0.2, pen.light, ry=0.27)
    eye(pen, 0.64, -0.4, 0.065)


def teddy_bear(pen: Pen) -> None:
    """A sitting toy bear with round ears, muzzle and belly in a lighter tone."""
    lift = 0.34 * pen.pose
    for side in (-1, 1):
        pen.disc(side * 0.36, -0.82, 0.18, pen.body, rim=True)
        pen.disc(side * 0.36, -0.82, 0.09, pen.light)
        pen.disc(side * 0.6, 0.1 - lift, 0.22, pen.body, ry=0.17, rim=True)
    pen.disc(0, 0.34, 0.52, pen.body, ry=0.54, rim=True)
    pen.disc(0, 0.36, 0.3, pen.light, ry=0.34)
    pen.disc(0, -0.46, 0.48, pen.body, ry=0.44, rim=True)
    for side in (-1, 1):
        pen.disc(side * 0.44, 0.78, 0.28, pen.body, ry=0.22, rim=True)
        pen.disc(side * 0.48, 0.8, 0.14, pen.light, ry=0.12)
        eye(pen, side * 0.18, -0.54, 0.08)
    pen.disc(0, -0.32, 0.2, pen.light, ry=0.16)
    pen.disc(0, -0.38, 0.08, pen.tyre, ry=0.06)
    pen.line(arc(0, -0.34, 0.1, 0.12, 30, 150, 6), pen.tyre, 0.03)
