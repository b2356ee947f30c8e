"""Everything that training changes or needs, built from a recipe."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Adam

from t2icli import registry
from t2icli.data.loader import Loader
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.text import Sentence
from t2icli.distributed import broadcast
from t2icli.encoders._base import Encoder
from t2icli.memory import outline, refuse_training
from t2icli.nn.batch_norm import BatchNorm
from t2icli.reading import Reader, check_words, training_reader
from t2icli.recipe import Optim, Recipe
from t2icli.setting import Setting
from t2icli.systems._base import System
from t2icli.terms._base import Term, TermConfig
from t2icli.training.ema import Ema
from t2icli.weights import Weights


@dataclass
class Trainer:
    """Data, networks, terms and optimizers of a recipe."""

    recipe: Recipe
    folder: ShardFolder
    reader: Reader
    system: System
    terms: dict[str, Term]
    ema: Ema
    generator_optimizer: Adam
    discriminator_optimizer: Adam

    @property
    def images_per_step(self) -> int:
        """Real images that one generator update and its discriminator updates see."""
        return self.recipe.train.batch_size * self.recipe.train.d_steps

    @property
    def steps(self) -> int:
        """Generator updates in the whole run."""
        return math.ceil(self.recipe.train.images / self.images_per_step)


def build(recipe: Recipe, weights: Weights, device: torch.device) -> Trainer:
    """Networks, terms and optimizers of a recipe, with the weights that its seed gives."""
    folder = ShardFolder(recipe.data.shards, recipe.data.split)
    reader = training_reader(recipe, folder, device)
    setting = Setting(recipe.data.image_size, reader.dim, recipe.train.negatives)
    outline_of(recipe, setting, device)
    torch.manual_seed(recipe.train.seed)
    system: System = registry.load("t2icli.systems", recipe.system).build(recipe.model, setting)
    system.to(device).to(memory_format=torch.channels_last)  # convolutions are up to twice as fast
    if recipe.train.sync_batch_norm:
        for module in system.modules():
            if isinstance(module, BatchNorm):
                module.synchronised = True
    broadcast(system)
    terms = {
        name: build_term(name, table, setting, weights, folder).to(device) for name, table in terms_of(recipe).items()
    }
    return Trainer(
        recipe,
        folder,
        reader,
        system,
        terms,
        Ema(system.generator, recipe.train.ema_decay),
        adam(system.generator, recipe.optim.generator_lr, recipe.optim),
        adam(system.discriminator, recipe.optim.discriminator_lr, recipe.optim),
    )


def outline_of(recipe: Recipe, setting: Setting, device: torch.device) -> System:
    """The networks of a recipe without their numbers; what cannot fit into a device's memory is refused."""
    system: System = outline(lambda: registry.load("t2icli.systems", recipe.system).build(recipe.model, setting))
    refuse_training(system.generator, system.discriminator, device)
    return system


def build_term(name: str, table: TermConfig, setting: Setting, weights: Weights, folder: ShardFolder) -> Term:
    """A term of the recipe; an encoder in it must know the words of the captions that it will read."""
    term: Term = registry.load("t2icli.terms", name).build(table, setting, weights)
    term.warm_up = table.warm_up
    for module in term.modules():
        if isinstance(module, Encoder):
            check_words(module.vocabulary, folder, f"terms.{name}")
    return term


def terms_of(recipe: Recipe) -> dict[str, TermConfig]:
    """The tables of the terms that take part: those whose weight is not zero."""
    tables = {name: getattr(recipe.terms, name) for name in type(recipe.terms).model_fields}
    return {name: table for name, table in tables.items() if table.weight}


def stored_sentence(recipe: Recipe) -> Sentence | None:
    """Which sentence vector is made of BERT's word vectors; none where a matcher reads the captions."""
    return recipe.text.sentence if recipe.text.matcher is None else None


def adam(module: nn.Module, rate: float, optim: Optim) -> Adam:
    """One optimizer for all of a side's networks: Adam works parameter by parameter."""
    return Adam(module.parameters(), rate, betas=optim.betas, eps=optim.eps, fused=True)


def make_loader(recipe: Recipe, folder: ShardFolder, noise_dim: int, rank: int = 0, processes: int = 1) -> Loader:
    """The loader of a recipe; data that cannot serve it is refused in words."""
    return Loader(
        folder,
        image_size=recipe.data.image_size,
        batch_size=recipe.train.batch_size,
        d_steps=recipe.train.d_steps,
        sentence=stored_sentence(recipe),
        max_words=recipe.text.max_words,
        flip=recipe.data.flip,
        captions=recipe.data.captions,
        noise_dim=noise_dim,
        seed=recipe.train.seed,
        rank=rank,
        world=processes,
        workers=recipe.data.workers,
    )
