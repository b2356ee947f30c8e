"""What the first process writes while a run trains: lines, pictures, weights and the card."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from t2icli.console import progress
from t2icli.distributed import World
from t2icli.locks import Hold
from t2icli.training.card import Card
from t2icli.training.checkpoint import WEIGHTS, save_weights
from t2icli.training.grid import SampleGrid
from t2icli.training.log import Log
from t2icli.training.trainer import Trainer


class Diary:
    """Open while a run trains; ``images`` is where it goes on, and ``held`` the lock under which it is written."""

    def __init__(self, run: Path, trainer: Trainer, world: World, images: int, held: Hold) -> None:
        self.run, self.trainer, self.held = run, trainer, held
        self.card = Card(run, trainer, world)
        self.grid = SampleGrid(trainer, world.device)
        self.log = Log(run, images)
        self.left = trainer.steps * trainer.images_per_step - images

    def __enter__(self) -> Self:
        self.stack = ExitStack()
        self.advance = self.stack.enter_context(progress("training", self.left, "images"))
        self.stack.callback(self.log.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()

    def note(self, images: int, values: dict[str, float]) -> None:
        """A line of the log, and the position on the card."""
        line = self.log.write(images, values)
        self.card.write({key: line[key] for key in ("images", "images_per_second") if key in line})

    def draw(self, images: int) -> None:
        """A grid of samples."""
        path = self.run / "samples" / f"{images:012d}.png"
        self.grid.save(path, self.trainer.ema.network, self.trainer.system)

    def keep_weights(self, images: int, state: str) -> None:
        """The averaged generator for others to use, with all it needs said in its header."""
        header = {
            "recipe": self.trainer.recipe.model_dump(mode="json", exclude_none=True),
            "text": self.trainer.reader.identity(),
            "images": images,
        }
        save_weights(self.run / WEIGHTS, self.trainer.ema.network, header)
        self.trainer.reader.keep((self.run / WEIGHTS).parent)
        self.card.write({"images": images, "state": state})
