"""One step of a system so small that every update can be written down."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from made_up import WORD_DIM, made_up_batch, made_up_text
from torch import Tensor, nn

from t2icli.batch import Batch, Fake, Text
from t2icli.setting import Setting
from t2icli.systems._base import Losses, System
from t2icli.systems.xmcgan import XMCGAN, Config
from t2icli.training import step as step_module
from t2icli.training.loop import warmed_up
from t2icli.training.step import buffers_restored, train_step

RATE_G, RATE_D = 0.1, 0.01


class Number(nn.Module):
    """One parameter, and a buffer that counts forwards in training."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return self.value * x


class Product(System):
    """G(z) = g z and D(x) = d x; D minimises D(G) - D(real), G minimises -D(G)."""

    def __init__(self, update: str) -> None:
        super().__init__()
        self.update = update
        self.generator, self.discriminator, self.noise_dim = Number(2.0), Number(3.0), 1
        self.detached: list[bool] = []

    def generate(self, text: Text, noise: Tensor) -> Fake:
        return Fake((self.generator(noise),))

    def d_losses(self, batch: Batch, fake: Fake) -> Losses:
        self.detached.append(not fake.images[-1].requires_grad)
        generated, real = self.discriminator(fake.images[-1]).mean(), self.discriminator(batch.image).mean()
        return {"fake": generated, "real": -real}

    def g_losses(self, batch: Batch, fake: Fake) -> Losses:
        return {"fake": -self.discriminator(fake.images[-1]).mean()}


def batch(real: float, noise: float) -> Batch:
    x = torch.ones(2, 1, dtype=torch.float64)
    return Batch(real * x, made_up_text(2), noise * x, ("", ""), torch.full((2,), -1))


def one_step(system: System, *batches: Batch, terms: Any = None) -> dict[str, Tensor]:
    optimizers = (
        torch.optim.SGD(system.generator.parameters(), RATE_G),
        torch.optim.SGD(system.discriminator.parameters(), RATE_D),
    )
    return train_step(system, terms or {}, batches, *optimizers, nullcontext)


def values(system: Product) -> tuple[float, float]:
    return system.generator.value.item(), system.discriminator.value.item()


def test_alternating_the_generator_meets_the_updated_discriminator() -> None:
    system = Product("alternating")
    losses = one_step(system, batch(real=5.0, noise=7.0))
    d = 3.0 - RATE_D * (2.0 * 7.0 - 5.0)
    assert values(system) == (pytest.approx(2.0 + RATE_G * d * 7.0), pytest.approx(d))
    found = {name: float(value) for name, value in losses.items()}
    assert found == pytest.approx({"d/fake": 3.0 * 14.0, "d/real": -15.0, "g/fake": -d * 14.0})
    assert not any(loss.requires_grad for loss in losses.values())
    assert system.detached == [True]


def test_simultaneous_both_gradients_are_taken_at_the_old_weights() -> None:
    system = Product("simultaneous")
    losses = one_step(system, batch(real=5.0, noise=7.0))
    assert values(system) == (pytest.approx(2.0 + RATE_G * 3.0 * 7.0), pytest.approx(3.0 - RATE_D * (14.0 - 5.0)))
    assert float(losses["g/fake"]) == pytest.approx(-3.0 * 14.0)


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_the_discriminator_learns_from_every_batch_and_the_generator_from_the_last(update: str) -> None:
    system = Product(update)
    one_step(system, batch(real=1.0, noise=4.0), batch(real=6.0, noise=-2.0), batch(real=5.0, noise=7.0))
    d = 3.0 - RATE_D * (2.0 * 4.0 - 1.0) - RATE_D * (2.0 * -2.0 - 6.0)
    after = d - RATE_D * (14.0 - 5.0)
    met = after if update == "alternating" else d
    assert values(system) == (pytest.approx(2.0 + RATE_G * met * 7.0), pytest.approx(after))
    assert system.generator.seen == 1  # two forwards for the discriminator alone are forgotten
    assert system.discriminator.seen == 2 * 3 + 1
    assert system.detached[:2] == [True, True]


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_gradients_are_those_of_all_processes(update: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the processes agree on takes each gradient's place before the step; here it is the double."""

    def agreed(module: nn.Module) -> None:
        for parameter in module.parameters():
            parameter.grad *= 2

    monkeypatch.setattr(step_module, "average_gradients", agreed)
    system = Product(update)
    one_step(system, batch(real=5.0, noise=7.0))
    d = 3.0 - 2 * RATE_D * (14.0 - 5.0)
    met = d if update == "alternating" else 3.0
    assert values(system) == (pytest.approx(2.0 + 2 * RATE_G * met * 7.0), pytest.approx(d))


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_no_gradient_is_left_behind(update: str) -> None:
    system = Product(update)
    one_step(system, batch(5.0, 7.0), batch(5.0, 7.0))
    assert all(parameter.grad is None for parameter in system.parameters())


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_terms_join_the_generators_losses_only(update: str) -> None:
    system = Product(update)
    losses = one_step(system, batch(5.0, 7.0), terms={"far": lambda _, fake: {"off": 2 * fake.images[-1].mean()}})
    d = 3.0 - RATE_D * (14.0 - 5.0)
    met = d if update == "alternating" else 3.0
    assert values(system) == (pytest.approx(2.0 - RATE_G * (2 * 7.0 - met * 7.0)), pytest.approx(d))
    assert float(losses["g/far/off"]) == pytest.approx(28.0)


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_every_forward_runs_in_the_precision_of_the_recipe_and_no_backward_does(update: str) -> None:
    inside = False
    seen: list[tuple[str, bool]] = []

    @contextmanager
    def precision() -> Iterator[None]:
        nonlocal inside
        inside = True
        yield
        inside = False

    class Watched(Product):
        def generate(self, text: Text, noise: Tensor) -> Fake:
            seen.append(("generate", inside))
            return super().generate(text, noise)

        def d_losses(self, batch: Batch, fake: Fake) -> Losses:
            seen.append(("d", inside))
            return super().d_losses(batch, fake)

        def g_losses(self, batch: Batch, fake: Fake) -> Losses:
            seen.append(("g", inside))
            return super().g_losses(batch, fake)

    system = Watched(update)
    system.generator.value.register_hook(lambda _: seen.append(("backward", not inside)))
    optimizers = [torch.optim.SGD(side.parameters(), 0.1) for side in (system.generator, system.discriminator)]
    train_step(system, {"far": term_of(seen, lambda: inside)}, [batch(5.0, 7.0)] * 2, *optimizers, precision)
    assert [name for name, _ in seen] == ["generate", "d", "generate", "d", "g", "term", "backward"]
    assert all(right for _, right in seen)


def term_of(seen: list[tuple[str, bool]], inside: Callable[[], bool]) -> Callable[[Batch, Fake], Losses]:
    """A term that notes where it was called."""

    def term(batch: Batch, fake: Fake) -> Losses:
        seen.append(("term", inside()))
        return {"off": fake.images[-1].mean()}

    return term


def test_statistics_of_updates_of_the_discriminator_alone_are_forgotten() -> None:
    """XMC-GAN's own batch norms: after a step they have seen the last batch and nothing else."""
    torch.manual_seed(0)
    narrow = Config(generator_channels=4, discriminator_channels=4, noise_dim=8, sentence_dim=8)
    system = XMCGAN(narrow, Setting(32, WORD_DIM))
    twin = copy.deepcopy(system)
    first, last = made_up_batch(32, 8, seed=1), made_up_batch(32, 8, seed=2)
    one_step(system, first, last)
    twin.generate(last.text, last.noise)
    buffers = dict(twin.generator.named_buffers())
    assert len(buffers) > 4
    for name, found in system.generator.named_buffers():
        torch.testing.assert_close(found, buffers[name], msg=name)


def test_buffers_come_back() -> None:
    norm = nn.BatchNorm1d(2)
    with buffers_restored(norm):
        norm(torch.randn(4, 2))
        assert norm.num_batches_tracked == 1 and norm.running_mean.abs().sum() > 0
    assert norm.num_batches_tracked == 0 and torch.equal(norm.running_mean, torch.zeros(2))
    norm(torch.randn(4, 2))
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(("images", "share"), [(0, 0.0), (10, 0.25), (40, 1.0), (400, 1.0)])
def test_a_term_warms_up_evenly(images: int, share: float) -> None:
    class Constant:
        warm_up = 40

        def __call__(self, batch: Batch, fake: Fake) -> Losses:
            return {"it": torch.tensor(8.0)}

    assert float(warmed_up(Constant(), images)(None, None)["it"]) == 8.0 * share
    at_once = Constant()
    at_once.warm_up = 0
    assert warmed_up(at_once, images) is at_once
