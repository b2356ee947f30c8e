"""Whole training steps against the official loops of DF-GAN, XMC-GAN and AttnGAN (tests/reference/training_steps.json).

Two or three steps in float64 through ``one_step``: the order of the updates, Adam, running statistics and the average.
Of every tensor the file holds the sum, the sum of absolute values and two entries, in the official layout; the fill
of weights and inputs, and the tolerances, are those of the file's description. Rates, betas and the average's decay are
taken from the shipped recipes, so that these are pinned as well.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from attngan_family import hashed
from test_xmcgan_golden import Case, translate
from torch import Tensor, nn

from t2icli import registry
from t2icli.batch import Batch, Text
from t2icli.distributed import World
from t2icli.nn.spectral_norm import SpectralConv2d, SpectralLinear
from t2icli.recipe_files import load_recipe
from t2icli.released import Released, Rules, renamed
from t2icli.setting import Setting
from t2icli.systems import _staged, dfgan
from t2icli.systems._base import System
from t2icli.terms import damsm
from t2icli.training.ema import Ema
from t2icli.training.loop import one_step
from t2icli.training.step import total
from t2icli.training.trainer import Trainer, adam
from t2icli.weights import Weights

REFERENCE = Path(__file__).parents[1] / "reference" / "training_steps.json"
Summary = list[float]
EXACT = 1e-9  # of single entries
WITHOUT_GRADIENT = 1e-7  # biases before a batch norm: Adam makes whole steps of what rounding leaves of a zero gradient


@cache
def golden(system: str) -> dict[str, Any]:
    return json.loads(REFERENCE.read_text())[system]


@pytest.fixture(autouse=True)
def double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What code brings to float32 stays float64."""
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    yield
    torch.set_default_dtype(torch.float32)


# ---------------------------------------------------------------------------- comparing


def entries(x: Tensor) -> Tensor:
    flat = x.detach().flatten()
    return torch.stack([flat[len(flat) // 3], flat[4 * len(flat) // 5]])


def same(found: Tensor, expected: Summary, what: str, *, drawn: bool = False, exact: float = EXACT) -> None:
    close = {"rtol": 0.0, "msg": lambda text: f"{what}: {text}"}
    torch.testing.assert_close(entries(found), torch.tensor(expected[2:]), atol=exact, **close)
    sums = torch.stack([found.detach().sum(), found.detach().abs().sum()])
    near = exact * 10 + (1e-10 if drawn else 2e-11) * expected[1]
    torch.testing.assert_close(sums, torch.tensor(expected[:2]), atol=near, **close)


def same_losses(found: Mapping[str, Tensor], expected: Mapping[str, float]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, abs=EXACT * max(1, abs(value)), rel=0), name


def same_state(
    network: nn.Module, expected: Mapping[str, Summary], rules: Rules, left_out: tuple[str, ...] = ()
) -> int:
    """Compare a network with official summaries by official names; returns how many tensors were compared."""
    ours = network.state_dict()
    named = renamed({name: name for name in expected if name not in left_out}, rules)
    for here, there in named.items():
        same(ours[here], expected[there], there)
    return len(named)


def trainer_of(system: System, recipe: str, terms: dict[str, Any] | None = None) -> Trainer:
    """What ``one_step`` reads of a trainer; optimizers and average as the trainer makes them of a shipped recipe."""
    shipped = load_recipe(recipe)
    optim, decay = shipped.optim, shipped.train.ema_decay
    return SimpleNamespace(
        recipe=SimpleNamespace(train=SimpleNamespace(precision="float32")),
        system=system.train(),
        terms=terms or {},
        ema=Ema(system.generator, decay),
        generator_optimizer=adam(system.generator, optim.generator_lr, optim),
        discriminator_optimizer=adam(system.discriminator, optim.discriminator_lr, optim),
    )


def step(trainer: Trainer, *batches: Batch) -> dict[str, Tensor]:
    return one_step(trainer, World(0, 1, torch.device("cpu")), list(batches))


def wave(shape: tuple[int, ...], phase: int, scale: float) -> Tensor:
    return scale * hashed(shape, phase)


def filled(shapes: Mapping[str, list[int]], special: Callable[[str, Tensor], Tensor | None]) -> dict[str, Tensor]:
    """A state dict by official names, filled by the rule of the AttnGAN family without rounding to float32."""
    state = {}
    for name, shape in shapes.items():
        u = hashed(shape, sum(map(ord, name)) % 97)
        value = special(name, u)
        if value is not None:
            pass
        elif name.endswith("running_mean"):
            value = 0.2 * u
        elif name.endswith("running_var"):
            value = 1 + 0.5 * u
        elif len(shape) == 1:
            value = 1 + 0.2 * u if name.endswith(".weight") else 0.2 * u
        else:
            value = u * (12 * shape[0] / u.numel()) ** 0.5
        state[name] = value
    return state


def imported(name: str, files: list[Released], **changes: Any) -> System:
    """A system through our own import, in float64."""
    module = registry.load("t2icli.systems", name)
    found = module.import_released(files)
    system = module.build(module.Config(**found.model | changes), Setting(found.image_size, found.word_dim))
    for part, state in found.networks.items():
        getattr(system, part).load_state_dict(state)
    return system


# ---------------------------------------------------------------------------- DF-GAN


def opened(name: str, u: Tensor) -> Tensor | None:
    """Two exceptions of the fill, which keep the signal alive."""
    if "fc_gamma" in name and name.endswith("linear2.bias"):
        return 1 + 0.2 * u
    return 0.7 + 0.2 * u if name.endswith(".gamma") else None


def dfgan_batch(k: int) -> Batch:
    sentence = wave((5, 20), 7 + 10 * k, 3.4)
    text = Text(sentence[:, None, :0], sentence, torch.ones(5, 1, dtype=torch.bool), torch.ones(5, 1).long())
    image, noise = wave((5, 3, 64, 64), 5 + 10 * k, 2.0), wave((5, 12), 3 + 10 * k, 3.4)
    return Batch(image, text, noise, ("",) * 5, torch.full((5,), -1))


def test_three_steps_of_dfgan() -> None:
    facts = golden("dfgan")
    parts = {part: filled(shapes, opened) for part, shapes in facts["shapes"].items()}
    system = imported("dfgan", [Released(Path("state.pth"), {"model": parts})])
    trainer = trainer_of(system, "dfgan-cub")

    def compare(expected: dict[str, Any]) -> int:
        judge, dead = {**expected["netD"], **expected["netC"]}, tuple(facts["dead"])
        compared = same_state(system.generator, expected["netG"], dfgan.GENERATOR_NAMES)
        return compared + same_state(system.discriminator, judge, dfgan.DISCRIMINATOR_NAMES, dead)

    assert compare(facts["start"]) == len(system.state_dict())
    for k, expected in enumerate(facts["steps"]):
        same_losses(step(trainer, dfgan_batch(k)), expected["losses"])
        compare(expected)
        for averaged, trained in zip(trainer.ema.network.parameters(), system.generator.parameters(), strict=True):
            torch.testing.assert_close(averaged, trained, atol=EXACT, rtol=0)


# ---------------------------------------------------------------------------- XMC-GAN

LENGTHS = ([3, 5, 4], [5, 2, 4], [4, 3, 5], [2, 5, 3])  # of the captions, by discriminator batch


def xmcgan_batch(j: int) -> Batch:
    def random(seed: int, *shape: int) -> Tensor:
        numbers = np.random.RandomState(seed + 100 * j).standard_normal(shape)
        return torch.from_numpy(numbers.astype(np.float32)).double()

    words, lengths = random(11, 3, 5, 12), torch.tensor(LENGTHS[j])
    real = np.random.RandomState(13 + 100 * j).uniform(size=(3, 128, 128, 3)).astype(np.float32)
    mask = torch.arange(5) < lengths[:, None]
    text = Text(words, words.sum(1) / lengths[:, None], mask, torch.zeros(3, 5, dtype=torch.long))
    image = torch.from_numpy(real).double().permute(0, 3, 1, 2) * 2 - 1
    return Batch(image, text, random(12, 3, 8), ("",) * 3, torch.full((3,), -1))


def in_flax_layout(x: Tensor) -> Tensor:
    """Kernels as HWIO and [in, out]."""
    return x.permute(2, 3, 1, 0) if x.dim() == 4 else x.T if x.dim() == 2 else x


class Flax:
    """Our tensors by the official paths."""

    def __init__(self, system: System, average: nn.Module, no_gradient: list[str]) -> None:
        self.system, self.average, self.loose = system, average, set(no_gradient)

    def compare(self, expected: dict[str, Summary], tensors: Mapping[str, Tensor]) -> None:
        for path, summary in expected.items():
            ours = tensors[translate(path)]
            exact = WITHOUT_GRADIENT if path in self.loose else EXACT
            same(ours if path.endswith("u0") else in_flax_layout(ours), summary, path, exact=exact)

    def ours(self) -> dict[str, Tensor]:
        return dict(self.system.named_parameters()) | dict(self.system.named_buffers())

    def averaged(self) -> dict[str, Tensor]:
        tensors = dict(self.average.named_parameters()) | dict(self.average.named_buffers())
        return {f"generator.{name}": value for name, value in tensors.items()}


@pytest.fixture
def xmcgan(monkeypatch: pytest.MonkeyPatch) -> System:
    """Filled by the rule of xmcgan.json, rounded to float32 like that file's, then made double."""
    torch.set_default_dtype(torch.float32)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda x: x.to(torch.float32))
        system = Case(128).system
    torch.set_default_dtype(torch.float64)
    return system.double()


def test_two_steps_of_xmcgan(xmcgan: System) -> None:
    facts = golden("xmcgan")
    trainer = trainer_of(xmcgan, "xmcgan-coco-128")
    flax = Flax(xmcgan, trainer.ema.network, facts["no_gradient"])
    halfway: list[dict[str, Tensor]] = []  # after each update of the discriminator: both networks
    totals: list[float] = []
    trainer.discriminator_optimizer.register_step_post_hook(
        lambda *_: halfway.append({name: value.detach().clone() for name, value in flax.ours().items()})
    )
    alone = xmcgan.d_losses

    def overheard(batch: Batch, fake: Any) -> dict[str, Tensor]:
        losses = alone(batch, fake)
        totals.append(total(losses).item())
        return losses

    xmcgan.d_losses = overheard
    for kind, place in (("g_params", flax.ours()), ("d_params", flax.ours()), ("g_batch_stats", flax.ours())):
        flax.compare(facts["start"][kind], place)
    flax.compare(facts["start"]["d_u0"], flax.ours())
    for k, expected in enumerate(facts["steps"]):
        before = {name: value.clone() for name, value in flax.ours().items() if "running" in name}
        losses = step(trainer, xmcgan_batch(2 * k), xmcgan_batch(2 * k + 1))
        d_only = halfway[2 * k]
        flax.compare(expected["after_d_only"]["d_params"], d_only)
        flax.compare(expected["after_d_only"]["d_u0"], d_only)
        assert all(torch.equal(d_only[name], value) for name, value in before.items())
        for kind in ("g_params", "d_params", "g_batch_stats", "d_u0"):
            flax.compare(expected[kind], flax.ours())
        flax.compare(expected["g_average"], flax.averaged())
        flax.compare(expected["g_batch_stats"], flax.averaged())
        found = {"first_d_total": torch.tensor(totals[k])}
        for side, names in (("d", ("sentence", "word")), ("g", ("sentence", "word", "image"))):
            found[f"{side}_adversarial"] = losses[f"{side}/adversarial"]
            found[f"{side}_contrastive"] = torch.stack([losses[f"{side}/{name}"] for name in names]).sum()
            found[f"{side}_total"] = found[f"{side}_adversarial"] + found[f"{side}_contrastive"]
        same_losses(found, expected["losses"])
    spectral = sum(isinstance(module, SpectralConv2d | SpectralLinear) for module in xmcgan.modules())
    assert spectral == len(facts["start"]["d_u0"])
    first = xmcgan_batch(0)
    with torch.no_grad():
        drawn = (trainer.ema.network(first.text, first.noise)).permute(0, 2, 3, 1)
    same(drawn, facts["drawn"]["image_nhwc_0_1"], "drawn", drawn=True)
    assert float(drawn.std(correction=0)) == pytest.approx(facts["drawn"]["std"], abs=EXACT)


# ---------------------------------------------------------------------------- AttnGAN


class Stub(nn.Module):
    """A matcher that means square patches of a picture, in the place of Inception and LSTM."""

    gammas = (4.0, 5.0, 10.0)

    def __init__(self) -> None:
        super().__init__()
        self.regions, self.whole = wave((20, 3), 51, 2.0), wave((20, 3), 52, 2.0)
        self.text = self
        self.current: Text | None = None

    def read(self, captions: tuple[str, ...]) -> Text:
        assert self.current is not None
        return self.current

    def read_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        places = nn.functional.avg_pool2d(images, 16, stride=15).flatten(2).transpose(1, 2)  # (B, 289, 3)
        return places @ self.regions.T, places.mean(1) @ self.whole.T


def attngan_text(k: int) -> Text:
    mask = torch.arange(9) < torch.tensor([9, 7, 4, 2])[:, None]
    words = wave((4, 20, 9), 23 + 10 * k, 2.0).transpose(1, 2) * mask[:, :, None]
    return Text(words, wave((4, 20), 24 + 10 * k, 2.0), mask, mask.long())


def attngan_batch(k: int) -> Batch:
    noise = torch.cat([wave((4, 11), 3 + 10 * k, 3.4), wave((4, 7), 25 + 10 * k, 3.4)], 1)
    image = wave((4, 3, 256, 256), 5 + 10 * k, 2.0)
    return Batch(image, attngan_text(k), noise, ("",) * 4, torch.tensor([4, 8, 4, 2]))


@pytest.fixture
def attngan() -> Any:
    shapes = golden("attngan")["shapes"]
    files = [Released(Path(f"{part}.pth"), filled(shapes[part], lambda *_: None)) for part in shapes]
    return imported("attngan", files, padded_words="as_released")


def test_two_steps_of_attngan(attngan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, stub = golden("attngan"), Stub()
    monkeypatch.setattr(damsm, "load_matcher", lambda path: (stub, None))
    term = damsm.build(damsm.Config(matcher=Path("stub"), weight=5.0), Setting(256, 20), Weights())
    trainer = trainer_of(attngan, "attngan-cub", {"damsm": term})

    def compare(expected: dict[str, Any]) -> None:
        same_state(attngan.generator, expected["netG"], _staged.GENERATOR_NAMES)
        for number, judge in enumerate(attngan.judges()):
            same_state(judge, expected[f"netD{number}"], _staged.DISCRIMINATOR_NAMES)
        buffers = {name: value for name, value in expected["netG"].items() if "running" in name}
        compared = same_state(trainer.ema.network, expected["average"] | buffers, _staged.GENERATOR_NAMES)
        assert compared == len(trainer.ema.network.state_dict())

    compare(facts["start"])
    for k, expected in enumerate(facts["steps"]):
        stub.current = attngan_text(k)
        same_losses(step(trainer, attngan_batch(k)), expected["losses"])
        compare(expected)
    text = attngan_text(1)
    noise = torch.cat([wave((4, 11), 3, 3.4), torch.zeros(4, 7)], 1)
    with torch.no_grad():
        images, _ = trainer.ema.network(noise, text.sentence, text.words, text.mask)
    for number, (image, summary) in enumerate(zip(images, facts["drawn"], strict=True)):
        same(image, summary, f"drawn {number}", drawn=True)
