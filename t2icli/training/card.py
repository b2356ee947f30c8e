"""The run's card: what was trained, on what, with what, how far."""

import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import t2icli
from t2icli.distributed import World
from t2icli.memory import count
from t2icli.training import run as run_folder
from t2icli.training.trainer import Trainer


class Card:
    """``card.json`` of a run, rewritten whenever the run's position is logged."""

    def __init__(self, run: Path, trainer: Trainer, world: World) -> None:
        self.run = run
        self.write(
            {
                "recipe": trainer.recipe.model_dump(mode="json"),
                "t2i": t2icli.__version__,
                "python": sys.version.split()[0],
                "torch": torch.__version__,
                "machine": {"host": platform.node(), "system": platform.platform(), "device": device_name(world)},
                "processes": world.size,
                "data": {"shards": str(trainer.folder.folder), "manifest": trainer.folder.manifest_hash},
                "text": trainer.reader.identity(),
                "weights": [found.record() for term in trainer.terms.values() for found in term.used],
                "parameters": {
                    "generator": count(trainer.system.generator),
                    "discriminator": count(trainer.system.discriminator),
                },
                "state": "training",
            }
        )

    def write(self, facts: dict[str, Any]) -> None:
        """Join facts with the card on disk."""
        run_folder.write_card(self.run, facts | {"updated": datetime.now(UTC).isoformat(timespec="seconds")})


def device_name(world: World) -> str:
    """What the networks run on."""
    if world.device.type == "cuda":
        return torch.cuda.get_device_name(world.device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
