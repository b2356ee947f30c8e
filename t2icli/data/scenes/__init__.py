"""The data set that t2i draws itself: everyday scenes in the COCO 2014 layout, deterministic from a seed.

``world`` says what exists, ``drawing`` turns a scene into a picture, ``captions`` into words,
``understanding`` reads such words back, ``folder`` writes it all in COCO's layout.
"""

from t2icli.data.scenes.captions import describe
from t2icli.data.scenes.drawing import paint
from t2icli.data.scenes.folder import draw
from t2icli.data.scenes.understanding import Content, understand
from t2icli.data.scenes.world import CATEGORIES, COLOURS, PLACES, Scene, Thing, compose, one_scene

__all__ = [
    "CATEGORIES",
    "COLOURS",
    "PLACES",
    "Content",
    "Scene",
    "Thing",
    "compose",
    "describe",
    "draw",
    "one_scene",
    "paint",
    "understand",
]
