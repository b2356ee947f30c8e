"""What a run tells while it trains: lines for scripts, curves for TensorBoard."""

import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


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

    ``images`` is where the run goes on: lines a killed run wrote past its last checkpoint are dropped.
    """

    def __init__(self, run: Path, images: int) -> None:
        self.path = run / "log.jsonl"
        if self.path.is_file():
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if counted(line) <= images]
            self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
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


def counted(line: str) -> float:
    """The image count of a line; a line that a kill cut short counts as never reached."""
    try:
        return float(json.loads(line)["images"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
