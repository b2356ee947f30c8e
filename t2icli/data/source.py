"""What every reader of a data set yields: pictures on disk with their captions, sorted into splits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSED_OVER = "passed over"  # what a line of left_out is about: a file that looks like a picture and is not meant
FARTHEST = 1e6  # pixels that a side of a box, or its corner, may measure; no picture is so large


@dataclass(frozen=True, slots=True)
class Box:
    """An object in a picture; x and y are its upper left corner, all in pixels of the original image."""

    category: str
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)  # a data set has hundreds of thousands
class Record:
    """One picture with its captions."""

    id: int
    path: Path
    captions: tuple[str, ...]
    boxes: tuple[Box, ...] = ()
    class_index: int = -1  # -1: the data set has no classes
    crop: tuple[int, int, int, int] | None = None  # left, top, right, bottom of what is stored; None: all of it
    part: tuple[int, int] | None = None  # where the picture lies in its file (a tar): offset and length in bytes
    member: str = ""  # the picture's name in such a file

    @property
    def name(self) -> str:
        """What messages call the picture: the name of its file, and of its member where it lies in a tar."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name


@dataclass
class Source:
    """A data set as its reader found it."""

    dataset: str
    splits: dict[str, list[Record]]
    categories: tuple[str, ...] = ()  # names that boxes use
    left_out: list[dict[str, Any]] = field(default_factory=list)  # lines of quarantine.jsonl
    published: dict[str, int] = field(default_factory=dict)  # split -> pairs of image and caption that papers count
    notes: list[str] = field(default_factory=list)  # what people should know of how the raw data were read

    def leave_out(self, split: str, image: str, reason: str, caption: bool = False) -> None:
        """Note a picture, or only a caption of it, that cannot be used."""
        self.left_out.append(
            {"split": split, "image": image, "what": "caption" if caption else "image", "reason": reason}
        )

    def pass_over(self, name: str, reason: str) -> None:
        """Note a file that may look like a picture, and is no fault."""
        self.left_out.append({"split": "all", "image": name, "what": PASSED_OVER, "reason": reason})
