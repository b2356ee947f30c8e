"""What a run tells while it trains: lines for scripts, curves for TensorBoard."""

import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from t2icli.documents import parse_json, read_bytes
from t2icli.storage import write_text

SIZE_LIMIT = 1 << 28  # bytes; a line of 200 bytes for each of a million times that a line was due


class RunningMeans:
    """Means of named losses, gathered on the device and read only when a line is due."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        """Count one step's losses in."""
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss.double() if name in self.sums else loss.double()
        self.count += 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        values = torch.stack(list(self.sums.values())).tolist() if self.sums else []
        means = {name: value / self.count for name, value in zip(self.sums, values, strict=True)}
        self.sums, self.count = {}, 0
        return means


class Log:
    """``log.jsonl``, one object a line, and the same numbers for TensorBoard.

    ``images`` is where the run goes on: lines a killed run wrote past its last checkpoint are dropped, and so are
    damaged ones, because nothing is decided by a log.
    """

    def __init__(self, run: Path, images: int) -> None:
        self.path = run / "log.jsonl"
        if self.path.is_file():
            lines = read_bytes(self.path, SIZE_LIMIT).split(b"\n")
            kept = b"".join(line + b"\n" for line in lines if counted(line) <= images)
            write_text(self.path, kept.decode())
        self.file = self.path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(run / "tensorboard"), purge_step=images)
        self.images, self.time = images, time.monotonic()

    def write(self, images: int, values: dict[str, float]) -> dict[str, float]:
        """Add a line with the values and the rate since the last one; returns what was written."""
        now = time.monotonic()
        line: dict[str, float] = {"images": images}
        if images > self.images:
            line["images_per_second"] = round((images - self.images) / (now - self.time), 2)
        line |= values
        self.images, self.time = images, now
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        for name, value in line.items():
            if name != "images":
                self.board.add_scalar(name, value, images)
        return line

    def close(self) -> None:
        """Finish both."""
        self.file.close()
        self.board.close()


def counted(line: bytes) -> float:
    """The image count of a line; a line that a kill cut short, or damage changed, counts as never reached."""
    try:
        value = parse_json(line.decode())
    except ValueError:
        return math.inf
    images = value.get("images") if isinstance(value, dict) else None
    return images if isinstance(images, int | float) and not isinstance(images, bool) and images >= 0 else math.inf
