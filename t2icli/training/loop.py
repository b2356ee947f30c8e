"""The loop that trains every system. It names none of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from t2icli.batch import Batch, Fake, Loaded
from t2icli.console import say
from t2icli.distributed import (
    World,
    any_process,
    average_values,
    check_same_weights,
    decided_by_first,
    session,
)
from t2icli.errors import Diverged, Interrupted, Preempted
from t2icli.reading import Reader
from t2icli.recipe import Recipe
from t2icli.terms._base import Losses, Term
from t2icli.training import run as run_folder
from t2icli.training.checkpoint import Checkpoint
from t2icli.training.diary import Diary
from t2icli.training.divergence import diverged
from t2icli.training.log import RunningMeans
from t2icli.training.seeds import step_seed
from t2icli.training.signals import StopRequest, watched
from t2icli.training.step import train_step
from t2icli.training.trainer import Trainer, build, make_loader
from t2icli.weights import Weights

STEPS_BETWEEN_QUESTIONS = 10  # several processes ask each other this often whether one is to stop
ADVICE = "Lower optim.generator_lr and optim.discriminator_lr in a new run"


def train(recipe: Recipe, choose: Callable[[], Path], weights: Sequence[str] = ()) -> Path:
    """Train, or go on training, in the run folder that the first process chooses; every process calls this."""
    with session() as world, ExitStack() as stack:
        run = decided_by_first(choose)
        local = world.share(recipe.train.batch_size)
        trainer = build(recipe, Weights(weights), world.device)
        # refuses data that cannot serve the recipe, before a folder is made
        make_loader(recipe, trainer.folder, trainer.system.noise_dim, world.rank, world.size)
        held = stack.enter_context(run_folder.claimed(run, recipe)) if world.first else None
        checkpoint = Checkpoint(
            run,
            {
                "system": recipe.system,
                "data": trainer.folder.manifest_hash,
                "text": trainer.reader.identity()["sha256"],
                "terms": {name: [found.sha256 for found in term.used] for name, term in trainer.terms.items()},
                "processes": world.size,
            },
            networks=trainer.system,
            average=trainer.ema.network,
            generator_optimizer=trainer.generator_optimizer,
            discriminator_optimizer=trainer.discriminator_optimizer,
        )
        step = checkpoint.load_if_present(world.device)
        images = step * trainer.images_per_step
        if step >= trainer.steps:
            say_first(world, f"{run}: already trained to the end ({images:,} images)")
            return run
        if held is not None:
            run_folder.create(run, recipe)
        together = f"; {world.size} processes, {local} images each" if world.size > 1 else ""
        say_first(world, f"training in {run} from image {images:,}{together}")
        diary = stack.enter_context(Diary(run, trainer, world, images, held)) if held is not None else None
        request = stack.enter_context(watched())
        stopped_at = follow(trainer, world, checkpoint, diary, request, step)
    if stopped_at is not None:
        kind = Interrupted if request.interrupted else Preempted
        what = "interrupted" if request.interrupted else "asked to stop"
        raise kind(f"{what} at {stopped_at:,} images; everything is saved in {run}, the same command goes on")
    return run


def follow(
    trainer: Trainer, world: World, checkpoint: Checkpoint, diary: Diary | None, request: StopRequest, step: int
) -> int | None:
    """Steps from ``step`` to the end, with what is due between them; images shown if asked to stop before it."""
    clock, per_step, means = trainer.recipe.train, trainer.images_per_step, RunningMeans()
    for batches in batches_from(trainer, world, step):
        torch.manual_seed(step_seed(checkpoint.seeds, clock.seed, step, world.rank))
        means.add(one_step(trainer, world, batches, step * per_step))
        step += 1
        images, last = step * per_step, step >= trainer.steps
        asked = world.size == 1 or step % STEPS_BETWEEN_QUESTIONS == 0
        stop = asked and any_process(request.raised, world.device)
        saving = last or stop or due(images, per_step, clock.save_every)
        if saving or due(images, per_step, clock.log_every):
            values = average_values(means.take(), world.device)
            refuse_what_is_not_finite(values, step, images, checkpoint, world, saving, ADVICE)
            if diary is not None:
                diary.note(images, values)
        if diary is not None:
            diary.advance(per_step)
            if last or due(images, per_step, clock.sample_every):
                diary.draw(images)
        if saving:
            check_same_weights(trainer.system)
            if diary is not None:
                diary.held.check()
                checkpoint.save(step)
                diary.keep_weights(images, "finished" if last else "stopped" if stop else "training")
        if last or stop:
            break
    return None if last else images


def one_step(trainer: Trainer, world: World, batches: Sequence[Batch], images: int = 0) -> dict[str, Tensor]:
    """All updates of a step, the average's included, ``images`` real ones having been shown; returns the losses."""
    losses = train_step(
        trainer.system,
        {name: warmed_up(term, images) for name, term in trainer.terms.items()},
        batches,
        trainer.generator_optimizer,
        trainer.discriminator_optimizer,
        lambda: world.autocast(trainer.recipe.train.precision),
    )
    trainer.ema.update(trainer.system.generator)
    return losses


def warmed_up(term: Term, images: int) -> Callable[[Batch, Fake], Losses]:
    """A term at the weight that it has after so many images."""
    share = min(1.0, images / term.warm_up) if term.warm_up else 1.0
    return term if share == 1 else lambda batch, fake: {k: share * loss for k, loss in term(batch, fake).items()}


def batches_from(trainer: Trainer, world: World, step: int) -> Iterator[list[Batch]]:
    """Endless batches on the device, from a generator update on."""
    loader = make_loader(trainer.recipe, trainer.folder, trainer.system.noise_dim, world.rank, world.size)
    for batches in loader.batches(step):
        yield [complete(trainer.reader, loaded, world.device) for loaded in batches]


def complete(reader: Reader, loaded: Loaded, device: torch.device) -> Batch:
    """A loaded batch on the device, its captions read."""
    pairs = loaded.pairs(device)
    text = reader.loaded(loaded)
    return Batch(pairs.image, text, loaded.noise.to(device, non_blocking=True), pairs.captions, pairs.classes)


def due(images: int, per_step: int, every: int) -> bool:
    """Whether the last step crossed a multiple of ``every`` images."""
    return images // every > (images - per_step) // every


def refuse_what_is_not_finite(
    values: dict[str, float], step: int, images: int, checkpoint: Checkpoint, world: World, saving: bool, advice: str
) -> None:
    """Stop all processes before a state that is beyond repair would be saved: losses, weights, moments."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    bad += checkpoint.not_finite() if saving else []
    if any_process(bool(bad), world.device):
        named = bad or ["something in another process"]
        mistake = diverged(checkpoint.run, step, images, named, checkpoint.states(), world.first)
        raise Diverged(f"{mistake}. {advice}")


def say_first(world: World, message: str) -> None:
    """A line for people, once."""
    if world.first:
        say(message)
