"""A pen that draws a shape in its own coordinates (x to the right, y down, unit half side) onto a canvas."""

import cmath
import math
from collections.abc import Sequence

from PIL import ImageDraw

from t2icli.data.scenes.world import COLOURS, Colour

Points = Sequence[tuple[float, float]]
CIRCLE = [(math.cos(math.tau * i / 28), math.sin(math.tau * i / 28)) for i in range(28)]


def shade(colour: Colour, factor: float) -> Colour:
    """A colour darkened (factor below 1) or lightened towards white (above 1)."""
    if factor <= 1:
        red, green, blue = (round(channel * factor) for channel in colour)
    else:
        red, green, blue = (round(channel + (255 - channel) * (factor - 1)) for channel in colour)
    return red, green, blue


class Pen:
    """Draws parts of one object; ``body`` is its colour, the others are what goes well with it."""

    def __init__(self, canvas: ImageDraw.ImageDraw, name: str, body: Colour, scale: float, pose: float) -> None:
        self.canvas = canvas
        self.pose = pose
        self.scale = scale
        self.origin = 0j
        self.turn = 1 + 0j
        self.mirrored = False
        self.body = body
        # Black objects show their parts by lighter lines, all others by darker ones.
        self.dark = (74, 74, 84) if name == "black" else shade(body, 0.7)
        self.rim = (96, 96, 110) if name == "black" else shade(body, 0.55)
        self.light = (58, 58, 64) if name == "black" else shade(body, 1.3)
        self.glass = (112, 150, 176) if name == "white" else (206, 230, 242)
        self.tyre = (78, 78, 84) if name == "black" else (34, 34, 38)
        self.mark = COLOURS["black"] if name in ("white", "yellow", "orange") else COLOURS["white"]

    def place(self, x: float, y: float, angle: float, mirrored: bool) -> None:
        """Put the shape's middle at a pixel of the canvas, turned by degrees and perhaps mirrored."""
        self.origin = complex(x, y)
        self.turn = cmath.rect(self.scale, math.radians(angle))
        self.mirrored = mirrored

    def pixels(self, points: Points) -> list[tuple[float, float]]:
        """Shape coordinates as pixels of the canvas."""
        side = -1 if self.mirrored else 1
        placed = [self.origin + self.turn * complex(side * x, y) for x, y in points]
        return [(point.real, point.imag) for point in placed]

    def polygon(self, points: Points, colour: Colour, rim: bool = False) -> None:
        """A filled polygon, with a dark rim where asked for."""
        corners = self.pixels(points)
        self.canvas.polygon(corners, fill=(*colour, 255))
        if rim:
            self.canvas.line([*corners, corners[0]], fill=(*self.rim, 255), width=self.thickness(0.045), joint="curve")

    def disc(self, x: float, y: float, rx: float, colour: Colour, ry: float | None = None, rim: bool = False) -> None:
        """A filled ellipse."""
        tall = rx if ry is None else ry
        self.polygon([(x + rx * c, y + tall * s) for c, s in CIRCLE], colour, rim)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        colour: Colour,
        cut: float = 0.0,
        rim: bool = False,
    ) -> None:
        """A filled rectangle with corners cut off by ``cut``."""
        if not cut:
            self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, rim)
            return
        bend = cut * 0.3
        corners = []
        for x, y, right, down in ((x0, y0, 1, 1), (x1, y0, -1, 1), (x1, y1, -1, -1), (x0, y1, 1, -1)):
            arc = [(x, y + down * cut), (x + right * bend, y + down * bend), (x + right * cut, y)]
            corners += arc if right == down else arc[::-1]
        self.polygon(corners, colour, rim)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """A stroke with round joints."""
        self.canvas.line(self.pixels(points), fill=(*colour, 255), width=self.thickness(width), joint="curve")

    def thickness(self, width: float) -> int:
        """A stroke's width in pixels, at least one."""
        return max(1, round(width * self.scale))


def arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 14
) -> list[tuple[float, float]]:
    """Points along an ellipse between two angles in degrees, clockwise as seen since y points down."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]
