"""Scenes that t2i draws itself, in the COCO 2014 layout; nothing has to be downloaded."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from t2icli.data import scenes
from t2icli.data.readers import coco
from t2icli.data.source import Source
from t2icli.recipe import Section

DEFAULT_ROOT = Path("data/raw/scenes")


class Config(Section):
    """What is drawn."""

    size: Literal[32, 64, 128] = Field(64, description="pixels a side of the drawn pictures")
    train: int = Field(4000, ge=1, le=1_000_000, description="pictures in the train split")
    val: int = Field(2000, ge=1, le=1_000_000, description="pictures in the val split")
    max_objects: int = Field(3, ge=1, le=3, description="a picture shows one object up to this many")


def read(config: Config, root: Path | None, seed: int) -> Source:
    """The drawn pictures; drawn first where ``root`` does not hold them, or holds others of this kind."""
    root = root or DEFAULT_ROOT
    scenes.draw(root, config.size, config.train, config.val, seed, config.max_objects)
    source = coco.read(coco.Config(), root, seed)
    source.dataset, source.published = "scenes", {}
    return source
