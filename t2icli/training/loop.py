"""The loop that trains every system. It names none of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Adam

from t2icli import registry
from t2icli.batch import Batch
from t2icli.console import say
from t2icli.data.loader import Loader
from t2icli.data.shards import ShardFolder
from t2icli.errors import Diverged, Interrupted, Preempted
from t2icli.nn.batch_norm import BatchNorm
from t2icli.recipe import Optim, Recipe
from t2icli.setting import Setting
from t2icli.systems._base import System
from t2icli.terms._base import Term, TermConfig
from t2icli.training import run as run_folder
from t2icli.training.card import Card
from t2icli.training.checkpoint import WEIGHTS, Checkpoint, save_weights
from t2icli.training.distributed import (
    World,
    any_process,
    average_values,
    broadcast,
    check_same_weights,
    decided_by_first,
    session,
)
from t2icli.training.ema import Ema
from t2icli.training.grid import SampleGrid
from t2icli.training.log import Log, RunningMeans
from t2icli.training.signals import watched
from t2icli.training.step import train_step
from t2icli.weights import Weights

STEPS_BETWEEN_QUESTIONS = 10  # several processes ask each other this often whether one is to stop


@dataclass
class Trainer:
    """Everything that training changes or needs, built from a recipe."""

    recipe: Recipe
    folder: ShardFolder
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
    setting = Setting(recipe.data.image_size, folder.word_dim, recipe.train.negatives)
    torch.manual_seed(recipe.train.seed)
    system: System = registry.load("t2icli.systems", recipe.system).build(recipe.model, setting)
    system.to(device).to(memory_format=torch.channels_last)  # convolutions are up to twice as fast
    if recipe.train.sync_batch_norm:
        for module in system.modules():
            if isinstance(module, BatchNorm):
                module.synchronised = True
    broadcast(system)
    terms = {
        name: registry.load("t2icli.terms", name).build(table, setting, weights).to(device)
        for name, table in terms_of(recipe).items()
    }
    return Trainer(
        recipe,
        folder,
        system,
        terms,
        Ema(system.generator, recipe.train.ema_decay),
        adam(system.generator, recipe.optim.generator_lr, recipe.optim),
        adam(system.discriminator, recipe.optim.discriminator_lr, recipe.optim),
    )


def terms_of(recipe: Recipe) -> dict[str, TermConfig]:
    """The tables of the terms that take part: those whose weight is not zero."""
    tables = {name: getattr(recipe.terms, name) for name in type(recipe.terms).model_fields}
    return {name: table for name, table in tables.items() if table.weight}


def adam(module: nn.Module, rate: float, optim: Optim) -> Adam:
    """One optimizer for all of a side's networks: Adam works parameter by parameter."""
    return Adam(module.parameters(), rate, betas=optim.betas, eps=optim.eps, fused=True)


def train(recipe: Recipe, choose: Callable[[], Path], weights: Sequence[str] = ()) -> Path:
    """Train, or go on training, in the run folder that the first process chooses; every process calls this."""
    with session() as world, ExitStack() as stack:
        run = decided_by_first(choose)
        if world.first:
            run_folder.create(run, recipe)
            stack.enter_context(run_folder.lock(run))
        local = world.share(recipe.train.batch_size)
        trainer = build(recipe, Weights(weights), world.device)
        checkpoint = Checkpoint(
            run,
            {"recipe": recipe.system, "data": trainer.folder.manifest_hash, "processes": world.size},
            system=trainer.system,
            ema=trainer.ema.network,
            generator_optimizer=trainer.generator_optimizer,
            discriminator_optimizer=trainer.discriminator_optimizer,
        )
        step = checkpoint.load_if_present(world.device)
        card = Card(run, trainer, world) if world.first else None
        if step >= trainer.steps:
            say_first(world, f"{run}: already trained to the end ({step * trainer.images_per_step:,} images)")
            return run
        together = f"; {world.size} processes, {local} images each" if world.size > 1 else ""
        say_first(world, f"training in {run} from image {step * trainer.images_per_step:,}{together}")
        follow(trainer, world, run, checkpoint, card, step)
    return run


def follow(trainer: Trainer, world: World, run: Path, checkpoint: Checkpoint, card: Card | None, step: int) -> None:
    """Steps from ``step`` to the end, with what is due between them: lines, pictures, checkpoints, stopping."""
    recipe, per_step = trainer.recipe, trainer.images_per_step
    log = Log(run, step * per_step) if world.first else None
    grid = SampleGrid(trainer.folder, recipe, trainer.system.noise_dim, world.device) if world.first else None
    means = RunningMeans()

    def save() -> None:
        check_same_weights(trainer.system)
        if world.first:
            checkpoint.save(step)
            header = {
                "recipe": recipe.model_dump(mode="json", exclude_none=True),
                "text": trainer.folder.text_identity.to_json(),
                "images": step * per_step,
            }
            save_weights(run / WEIGHTS, trainer.ema.network, header)

    with watched() as request:
        for batches in batches_from(trainer, world, step):
            torch.manual_seed(hash((recipe.train.seed, step, world.rank)) % 2**63)
            losses = train_step(
                trainer.system,
                trainer.terms,
                batches,
                trainer.generator_optimizer,
                trainer.discriminator_optimizer,
                lambda: world.autocast(recipe.train.precision),
            )
            trainer.ema.update(trainer.system.generator)
            means.add(losses)
            step += 1
            images, last = step * per_step, step >= trainer.steps
            stop = (world.size == 1 or step % STEPS_BETWEEN_QUESTIONS == 0) and any_process(
                request.raised, world.device
            )
            saving = last or stop or due(images, per_step, recipe.train.save_every)
            if saving or due(images, per_step, recipe.train.log_every):
                values = average_values(means.take(), world.device)
                refuse_what_is_not_finite(values, images, checkpoint)
                if log is not None and card is not None:
                    card.progress(log.write(images, values), images)
            if grid is not None and (last or due(images, per_step, recipe.train.sample_every)):
                grid.save(run / "samples" / f"{images:012d}.png", trainer.ema.network, trainer.system)
            if saving:
                save()
            if last or stop:
                break
    if log is not None and card is not None:
        log.close()
        card.finish(images, done=last)
    if last:
        return
    if request.interrupted:
        raise Interrupted(f"interrupted at {images:,} images; everything is saved in {run}, the same command goes on")
    raise Preempted(f"asked to stop at {images:,} images; everything is saved in {run}, the same command goes on")


def batches_from(trainer: Trainer, world: World, step: int) -> Iterator[list[Batch]]:
    """Endless batches on the device, from a generator update on."""
    loader = make_loader(trainer.recipe, trainer.folder, trainer.system.noise_dim, world.rank, world.size)
    for batches in loader.batches(step):
        yield [
            Batch(
                batch.image.to(world.device, non_blocking=True, memory_format=torch.channels_last),
                batch.text.to(world.device),
                batch.noise.to(world.device, non_blocking=True),
            )
            for batch in batches
        ]


def make_loader(recipe: Recipe, folder: ShardFolder, noise_dim: int, rank: int = 0, processes: int = 1) -> Loader:
    """The loader of a recipe; data that cannot serve it is refused in words."""
    return Loader(
        folder,
        image_size=recipe.data.image_size,
        batch_size=recipe.train.batch_size,
        d_steps=recipe.train.d_steps,
        sentence=recipe.text.sentence,
        flip=recipe.data.flip,
        noise_dim=noise_dim,
        seed=recipe.train.seed,
        rank=rank,
        world=processes,
        workers=recipe.data.workers,
    )


def due(images: int, per_step: int, every: int) -> bool:
    """Whether the last step crossed a multiple of ``every`` images."""
    return images // every > (images - per_step) // every


def refuse_what_is_not_finite(values: dict[str, float], images: int, checkpoint: Checkpoint) -> None:
    """Stop before a state that is beyond repair would be saved."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        kept = checkpoint.states()
        where = f"the last good state is {kept[-1]}" if kept else "no state was saved yet"
        raise Diverged(
            f"diverged before image {images:,}: not finite: {', '.join(bad)}; {where}. "
            "The same command goes on from there; lower optim.generator_lr and optim.discriminator_lr in a new run"
        )


def say_first(world: World, message: str) -> None:
    """A line for people, once."""
    if world.first:
        say(message)
