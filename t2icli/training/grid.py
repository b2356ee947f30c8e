"""Pictures while a run trains: the same captions and noise every time, so that only the generator differs."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.utils import save_image

from t2icli.data.loader import Loader
from t2icli.storage import write_atomically
from t2icli.systems._base import System
from t2icli.training.trainer import Trainer, stored_sentence

COLUMNS = 16  # captions in a grid


class SampleGrid:
    """Rows of real pictures, of the averaged generator's and of the trained one's, a caption a column."""

    def __init__(self, trainer: Trainer, device: torch.device) -> None:
        recipe, folder = trainer.recipe, trainer.folder
        loader = Loader(
            folder,
            image_size=recipe.data.image_size,
            batch_size=min(COLUMNS, len(folder)),
            sentence=stored_sentence(recipe),
            max_words=recipe.text.max_words,
            flip=False,
            noise_dim=trainer.system.noise_dim,
            seed=recipe.train.seed,
        )
        loaded = next(loader.batches(0))[0]
        self.image, self.text = loaded.pairs(torch.device("cpu")).image, trainer.reader.loaded(loaded)
        self.noise = trainer.system.drawing_noise(loaded.noise.to(device))

    @torch.no_grad()
    def save(self, path: Path, averaged: nn.Module, system: System) -> None:
        """Write one PNG; ``averaged`` is the generator whose weights are averaged."""
        rows = [self.image, self.draw(system, averaged), self.draw(system, system.generator)]
        pictures = torch.cat([row.float().cpu().clamp(-1, 1) for row in rows])
        write_atomically(path, lambda t: save_image((pictures + 1) / 2, t, nrow=len(self.image), format="png"))

    def draw(self, system: System, generator: nn.Module) -> Tensor:
        """Pictures by one of the two generators, in evaluation mode."""
        current, training = system.generator, system.training
        system.generator = generator
        try:
            return system.eval().generate(self.text, self.noise).images[-1]
        finally:
            system.generator = current
            system.train(training)
