"""One generator update and its discriminator updates, for every system alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from t2icli.batch import Batch, Fake
from t2icli.distributed import average_gradients
from t2icli.systems._base import Losses, System

Autocast = Callable[[], AbstractContextManager[object]]
Terms = Mapping[str, Callable[[Batch, Fake], Losses]]


def train_step(
    system: System,
    terms: Terms,
    batches: Sequence[Batch],
    generator_optimizer: Optimizer,
    discriminator_optimizer: Optimizer,
    autocast: Autocast,
) -> dict[str, Tensor]:
    """Update the discriminator once a batch and the generator once, on the last batch; returns the losses.

    Images of a batch are generated once and serve both sides.
    """
    *extra, last = batches
    for batch in extra:
        # Only updates of the generator move its running statistics (as XMC-GAN's released code has it).
        with autocast():
            with torch.no_grad(), buffers_restored(system.generator):
                fake = system.generate(batch.text, batch.noise)
            d = system.d_losses(batch, fake)
        total(d).backward(inputs=list(system.discriminator.parameters()))
        update(discriminator_optimizer, system.discriminator)

    with autocast():
        fake = system.generate(last.text, last.noise)
    if system.update == "simultaneous":  # both gradients at the same weights, before either step
        with autocast():
            d, g = system.joint_losses(last, fake)
            g |= losses_of(terms, last, fake)
        total(d).backward(inputs=list(system.discriminator.parameters()), retain_graph=True)
        total(g).backward(inputs=list(system.generator.parameters()))
        update(discriminator_optimizer, system.discriminator)
    else:  # the generator meets the updated discriminator
        with autocast():
            d = system.d_losses(last, fake.detach())
        total(d).backward(inputs=list(system.discriminator.parameters()))
        update(discriminator_optimizer, system.discriminator)
        with autocast():
            g = system.g_losses(last, fake) | losses_of(terms, last, fake)
        total(g).backward(inputs=list(system.generator.parameters()))
    update(generator_optimizer, system.generator)
    return {f"d/{k}": v.detach() for k, v in d.items()} | {f"g/{k}": v.detach() for k, v in g.items()}


def losses_of(terms: Terms, batch: Batch, fake: Fake) -> Losses:
    """The losses of all terms, each named ``term/part``."""
    return {f"{name}/{part}": loss for name, term in terms.items() for part, loss in term(batch, fake).items()}


def total(losses: Losses) -> Tensor:
    """The sum that is minimised."""
    return torch.stack([loss.float() for loss in losses.values()]).sum()


def update(optimizer: Optimizer, module: nn.Module) -> None:
    """Average the gradients over the processes and take one step."""
    average_gradients(module)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@contextmanager
def buffers_restored(module: nn.Module) -> Iterator[None]:
    """Forget what forwards inside the block did to a module's buffers."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    for buffer, value in before:
        buffer.copy_(value)
