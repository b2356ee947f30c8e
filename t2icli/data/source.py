"""What every reader of a data set yields: pictures on disk with their captions, sorted into splits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Box:
    """An object in a picture; x and y are its upper left corner, all in pixels of the original image."""

    category: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Record:
    """One picture with its captions."""

    id: int
    path: Path
    captions: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    class_index: int = -1  # -1: the data set has no classes
    crop: tuple[int, int, int, int] | None = None  # left, top, right, bottom of what is stored; None: all of it


@dataclass
class Source:
    """A data set as its reader found it."""

    dataset: str
    splits: dict[str, list[Record]]
    categories: tuple[str, ...] = ()  # names that boxes use
    left_out: list[dict[str, Any]] = field(default_factory=list)  # lines of quarantine.jsonl

    def leave_out(self, split: str, image: str, reason: str, caption: bool = False) -> None:
        """Note a picture, or only a caption of it, that cannot be used."""
        self.left_out.append(
            {"split": split, "image": image, "what": "caption" if caption else "image", "reason": reason}
        )
