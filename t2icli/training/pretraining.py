"""The loop that trains every encoder: matchers and captioners, on real images and their captions.

One process; an encoder learns in hours what a generator learns in days. Order, choices and dropout are functions of
(seed, step), as in ``loop.py``, so a run that was killed goes on as if nothing had happened.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from t2icli import registry
from t2icli.batch import Pairs
from t2icli.console import progress, say
from t2icli.data.loader import Loader
from t2icli.data.shard_folder import ShardFolder
from t2icli.distributed import World, session
from t2icli.encoders._base import Encoder, Phase
from t2icli.encoders._files import WEIGHTS, save_encoder
from t2icli.errors import Interrupted, Preempted
from t2icli.locks import Hold
from t2icli.recipe import EncoderRecipe
from t2icli.training import run as run_folder
from t2icli.training.checkpoint import Checkpoint
from t2icli.training.fitting import optimizer_misfit, take_over
from t2icli.training.log import Log, RunningMeans
from t2icli.training.loop import due, refuse_what_is_not_finite
from t2icli.training.seeds import step_seed
from t2icli.training.signals import StopRequest, watched
from t2icli.training.step import total
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

ADVICE = "Lower the learning rate in the [model] table in a new run"
HELD_OUT_BATCH = 100  # the group size of retrieval


def build_encoder(recipe: EncoderRecipe, folder: ShardFolder, weights: Weights) -> Encoder:
    """The encoder of a recipe with the weights that its seed gives, and pretrained ones where it asks for them."""
    torch.manual_seed(recipe.train.seed)
    module = registry.load("t2icli.encoders", recipe.encoder)
    encoder: Encoder = module.build(recipe.model, Vocabulary(folder.vocabulary), weights)
    return encoder


class Course:
    """The phases one after the other: which one a step belongs to, and the optimizer that learns in it."""

    def __init__(self, phases: Sequence[Phase], batch_size: int, images_per_epoch: int) -> None:
        self.phases, self.batch_size, self.epoch = phases, batch_size, images_per_epoch
        self.ends = list(accumulate(math.ceil(phase.images / batch_size) for phase in phases))
        self.index = -1
        self.optimizer: Optimizer
        self.best = -math.inf  # of the measure by which the current phase's weights are chosen

    @property
    def steps(self) -> int:
        """All phases together."""
        return self.ends[-1]

    @property
    def phase(self) -> Phase:
        """The current one."""
        return self.phases[self.index]

    def enter(self, index: int) -> None:
        """Begin a phase with an optimizer of its own."""
        self.index, self.best = index, -math.inf
        self.optimizer = self.phase.optimizer(self.phase.parameters)

    def prepare(self, step: int) -> None:
        """Be in the phase of a step, with its optimizer at its rate."""
        index = next(number for number, end in enumerate(self.ends) if step < end)
        if index != self.index:
            self.enter(index)
        done = (step - (self.ends[index - 1] if index else 0)) * self.batch_size
        if self.phase.restart and done // self.epoch > (done - self.batch_size) // self.epoch and done:
            self.optimizer = self.phase.optimizer(self.phase.parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = self.phase.rate(done, self.epoch)

    def is_last_of_phase(self, step: int) -> bool:
        """Whether a phase ends after so many steps."""
        return step in self.ends

    def improved(self, measures: Mapping[str, float]) -> bool:
        """Whether weights with these measures are to be kept."""
        if self.phase.chosen_by is None:
            return True
        value = measures[self.phase.chosen_by]
        better, self.best = value > self.best, max(value, self.best)
        return better

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"phase": self.index, "best": self.best, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was saved."""
        self.enter(state["phase"])
        self.best = state["best"]
        take_over(self.optimizer, state["optimizer"])

    def misfit(self, state: Any) -> str | None:
        """What of a state does not fit this course, in words."""
        if not isinstance(state, Mapping) or not {"phase", "best", "optimizer"} <= state.keys():
            return "should have a phase, its best measure and an optimizer"
        number, best = state["phase"], state["best"]
        if type(number) is not int or not 0 <= number < len(self.phases):
            return f"is in phase {number!r}, and there are {len(self.phases)}"
        if type(best) is not float or math.isnan(best):
            return f"has a best measure of {best!r}"
        phase = self.phases[number]
        return optimizer_misfit(phase.optimizer(phase.parameters), state["optimizer"])


@dataclass
class Pretraining:
    """A run that is under way."""

    recipe: EncoderRecipe
    run: Path
    encoder: Encoder
    course: Course
    world: World
    checkpoint: Checkpoint
    log: Log
    held: Hold

    def held_out(self) -> Iterator[Pairs]:
        """Pairs to validate on: the same ones every time."""
        data = self.recipe.data
        folder = ShardFolder(data.shards, data.held_out)
        size = min(HELD_OUT_BATCH, len(folder))
        loader = Loader(
            folder,
            image_size=data.image_size,
            batch_size=size,
            sentence=None,
            max_words=self.recipe.text.max_words,
            flip=False,
            noise_dim=0,
            workers=data.workers,
        )
        count = max(1, min(self.encoder.validation_images, len(folder)) // size)
        for (loaded,) in islice(loader.batches(), count):
            yield loaded.pairs(self.world.device)

    def update(self, pairs: Pairs) -> dict[str, torch.Tensor]:
        """One step of the current phase."""
        phase, optimizer = self.course.phase, self.course.optimizer
        with self.world.autocast(self.recipe.train.precision):
            losses = phase.losses(pairs)
        total(losses).backward(inputs=list(phase.parameters))
        if phase.clip:
            clip_grad_norm_(phase.clipped, phase.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {f"{phase.name}/{name}": loss.detach() for name, loss in losses.items()}

    def validate(self, images: int) -> None:
        """Measure on held-out pairs, and keep the weights if they are the ones to be kept."""
        self.encoder.eval()
        with torch.no_grad():
            measures = dict(self.encoder.validate(self.held_out()))
        self.encoder.train()
        self.log.write(images, {f"held_out/{name}": value for name, value in measures.items()})
        say(f"{images:,} images, held out: " + ", ".join(f"{name} {value:.4g}" for name, value in measures.items()))
        if self.course.improved(measures):
            self.keep(images, measures)

    def keep(self, images: int, measures: Mapping[str, float]) -> None:
        """Write the weights that generators are trained with."""
        facts = {"recipe": self.recipe.model_dump(mode="json", exclude_none=True), "images": images}
        save_encoder(self.run / WEIGHTS, self.recipe.encoder, self.encoder, facts | {"held_out": dict(measures)})
        run_folder.write_card(self.run, {"images": images, "held_out": dict(measures)})

    def save(self, step: int, state: str) -> None:
        """Write what the run needs to go on."""
        self.held.check()
        self.checkpoint.save(step)
        run_folder.write_card(self.run, {"state": state, "images_trained": step * self.recipe.train.batch_size})


def pretrain(recipe: EncoderRecipe, run: Path, weights: Sequence[str] = ()) -> Path:
    """Train, or go on training, the encoder of a recipe in a run folder."""
    with session() as world, ExitStack() as stack:
        folder = ShardFolder(recipe.data.shards, recipe.data.split)
        ShardFolder(recipe.data.shards, recipe.data.held_out)  # validated on in hours, refused now
        encoder = build_encoder(recipe, folder, Weights(weights)).to(world.device)
        loader = loader_of(recipe, folder)
        course = Course(encoder.phases(), recipe.train.batch_size, len(folder))
        held = stack.enter_context(run_folder.claimed(run, recipe))
        facts = {"encoder": recipe.encoder, "data": folder.manifest_hash}
        checkpoint = Checkpoint(run, facts, encoder=encoder, course=course)
        step = checkpoint.load_if_present(world.device)
        per_step = recipe.train.batch_size
        if step >= course.steps:
            say(f"{run}: already trained to the end ({step * per_step:,} images)")
            return run
        run_folder.create(run, recipe)
        say(f"training in {run} from image {step * per_step:,}")
        run_folder.write_card(run, card(recipe, encoder))
        log = Log(run, step * per_step)
        stack.callback(log.close)
        request = stack.enter_context(watched())
        going = Pretraining(recipe, run, encoder.train(), course, world, checkpoint, log, held)
        stopped_at = follow(going, request, loader, step)
    if stopped_at is not None:
        kind = Interrupted if request.interrupted else Preempted
        raise kind(f"stopped at {stopped_at:,} images; everything is saved in {run}, the same command goes on")
    return run


def follow(going: Pretraining, request: StopRequest, loader: Loader, step: int) -> int | None:
    """Steps from ``step`` to the end, with what is due between them; images shown if asked to stop before it."""
    clock, course, means = going.recipe.train, going.course, RunningMeans()
    with progress("training", (course.steps - step) * clock.batch_size, "images") as advance:
        for (loaded,) in loader.batches(step):
            course.prepare(step)
            torch.manual_seed(step_seed(going.checkpoint.seeds, clock.seed, step))
            means.add(going.update(loaded.pairs(going.world.device)))
            step += 1
            advance(clock.batch_size)
            images, ends, last = step * clock.batch_size, course.is_last_of_phase(step), step >= course.steps
            saving = ends or request.raised or due(images, clock.batch_size, clock.save_every)
            if saving or due(images, clock.batch_size, clock.log_every):
                values = means.take()
                refuse_what_is_not_finite(values, step, images, going.checkpoint, going.world, saving, ADVICE)
                going.log.write(images, values)
            if ends or due(images, clock.batch_size, clock.validate_every):
                going.validate(images)
            if saving:
                going.save(step, "finished" if last else "stopped" if request.raised else "training")
            if last or request.raised:
                break
    return None if last else images


def loader_of(recipe: EncoderRecipe, folder: ShardFolder) -> Loader:
    """Batches of real images with the captions as words."""
    return Loader(
        folder,
        image_size=recipe.data.image_size,
        batch_size=recipe.train.batch_size,
        sentence=None,
        max_words=recipe.text.max_words,
        flip=recipe.data.flip,
        noise_dim=0,
        seed=recipe.train.seed,
        workers=recipe.data.workers,
    )


def card(recipe: EncoderRecipe, encoder: Encoder) -> dict[str, Any]:
    """What the run is."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "torch": torch.__version__,
        "weights": [found.record() for found in encoder.used],
        "vocabulary": {"words": len(encoder.vocabulary.words), "sha256": encoder.vocabulary.sha256},
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "learning": sum(p.numel() for p in {id(p): p for phase in encoder.phases() for p in phase.parameters}.values()),
        "state": "training",
    }
