"""Read place and colour from the pixels of a drawn or generated scene, with no network.

The place is read from the picture's edge, the colour from what in the middle differs from the edge of its row.
"""

import numpy as np
from numpy.typing import NDArray

from t2icli.data.scenes.world import COLOURS, PLACES

Picture = NDArray[np.uint8]  # (H, W, 3)

EDGE = 1 / 16  # of the side: how deep the edge is
CHROMATIC = [name for name in COLOURS if name not in ("black", "white")]
DIFFERS = 60.0  # distance in RGB from which a pixel is not background
CHROMA = 70.0  # difference of the largest and smallest channel from which a pixel has a hue
ENOUGH = 0.3  # share of the object's pixels with a hue; shadows, outlines and windows are grey on any object


def read_place(picture: Picture) -> str:
    """The place whose sky and ground are nearest to the picture's upper and lower edge."""
    depth = max(1, round(len(picture) * EDGE))
    seen = np.concatenate([np.median(rows.reshape(-1, 3), axis=0) for rows in (picture[:depth], picture[-depth:])])
    palettes = {name: np.concatenate([place.sky[0], place.ground[1]]) for name, place in PLACES.items()}
    return min(palettes, key=lambda name: float(np.abs(seen - palettes[name]).sum()))


def read_colour(picture: Picture) -> str:
    """The colour of the object in the middle."""
    pixels = object_pixels(picture)
    strong = pixels[np.ptp(pixels, axis=1) >= CHROMA]
    if len(strong) >= ENOUGH * len(pixels):
        return nearest(strong, CHROMATIC)
    return nearest(pixels[np.ptp(pixels, axis=1) < CHROMA], ["black", "white"])


def nearest(pixels: NDArray[np.float64], names: list[str]) -> str:
    """The colour that most of the pixels are nearest to."""
    distances = np.stack([np.linalg.norm(pixels - np.array(COLOURS[name]), axis=1) for name in names])
    return names[int(np.bincount(distances.argmin(0), minlength=len(names)).argmax())]


def object_pixels(picture: Picture) -> NDArray[np.float64]:
    """Pixels of the middle that differ from both edges of their row: (n, 3)."""
    values = picture.astype(np.float64)
    side = values.shape[1]
    depth, margin = max(1, round(side * EDGE)), side // 5
    left, right = values[:, :depth].mean(1), values[:, -depth:].mean(1)
    middle = values[margin : side - margin // 2, margin : side - margin]
    rows = slice(margin, side - margin // 2)
    away = np.minimum(
        np.linalg.norm(middle - left[rows, None], axis=2), np.linalg.norm(middle - right[rows, None], axis=2)
    )
    return middle[away > min(DIFFERS, float(np.quantile(away, 0.8)))]
