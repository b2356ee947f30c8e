"""DF-GAN against numbers from its released code of 2022 (tests/reference/dfgan*)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from t2icli.batch import Batch, Fake, Text
from t2icli.released import Released, renamed
from t2icli.setting import Setting
from t2icli.systems.dfgan import DFGAN, DISCRIMINATOR_NAMES, GENERATOR_NAMES, Config, import_released
from t2icli.training.step import total

REFERENCE = Path(__file__).parents[1] / "reference"
DEAD = {64: 65_792, 128: 131_584, 256: 197_376}  # numbers in shortcuts that the code registers and never uses


@cache
def facts() -> dict[str, Any]:
    return json.loads((REFERENCE / "dfgan.json").read_text())


def close(found: Tensor, expected: Any, **tolerance: float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected).to(found.dtype).reshape(found.shape), **tolerance)


def batch_of(image: Tensor, sentence: Tensor, noise: Tensor) -> Batch:
    empty = sentence[:, None, :0]
    text = Text(empty, sentence, torch.ones(len(image), 1, dtype=torch.bool), torch.ones(len(image), 1).long())
    return Batch(image, text, noise, ("",) * len(image), torch.full((len(image),), -1))


# ---------------------------------------------------------------------------- small networks of the released code


@pytest.fixture(params=["plain", "module."])
def imported(request: pytest.FixtureRequest) -> DFGAN:
    content = torch.load(REFERENCE / "dfgan_nf4_64.pth", weights_only=True)
    if request.param == "module.":
        content["model"] = {
            part: {f"module.{name}": value for name, value in state.items()} for part, state in content["model"].items()
        }
    found = import_released([Released(Path("state_epoch_1.pth"), content)])
    assert (found.model, found.image_size, found.word_dim) == ({"channels": 4, "noise_dim": 10}, 64, 16)
    system = DFGAN(Config(**found.model), Setting(found.image_size, found.word_dim))
    for part, state in found.networks.items():
        getattr(system, part).load_state_dict(state)
    return system


def test_images_scores_losses_and_gradients(imported: DFGAN) -> None:
    golden = {name: torch.as_tensor(value) for name, value in np.load(REFERENCE / "dfgan_nf4_64.npz").items()}
    batch = batch_of(golden["real"], golden["sent"], golden["z"])
    fake = imported.generate(batch.text, batch.noise)
    close(fake.images[-1], golden["fake"], atol=1e-5, rtol=0)
    features = imported.discriminator.image(batch.image)
    sentence = batch.text.sentence
    close(imported.discriminator.head(features, sentence), golden["pred_real"], atol=1e-5, rtol=0)
    close(imported.discriminator.head(features.roll(-1, 0), sentence), golden["pred_mis"], atol=1e-5, rtol=0)
    close(imported.discriminator(fake.images[-1], sentence), golden["pred_fake"], atol=1e-5, rtol=0)
    d = imported.d_losses(batch, fake.detach())
    for name, key, share in (("real", "errD_real", 1), ("fake", "errD_fake", 2), ("mismatched", "errD_mis", 2)):
        close(d[name] * share, golden[key], rtol=1e-5, atol=0)
    close(d["penalty"], golden["magp"], rtol=1e-5, atol=0)
    close(total(d), golden["errD"], rtol=1e-5, atol=0)
    g = imported.g_losses(batch, fake)
    close(total(g), golden["errG"], rtol=1e-5, atol=0)
    # The stored norms of the discriminator are of both losses: they were read after both had gone backward. The
    # gradient of its own loss alone is in the values in float64 below.
    (total(d) + total(g)).backward(inputs=list(imported.discriminator.parameters()), retain_graph=True)
    total(g).backward(inputs=list(imported.generator.parameters()))
    compared = 0
    for prefix, rules, network in (
        ("gradG.", GENERATOR_NAMES, imported.generator),
        ("gradD.", DISCRIMINATOR_NAMES, imported.discriminator),
        ("gradC.", DISCRIMINATOR_NAMES, imported.discriminator),
    ):
        norms = {k[len(prefix) :].removesuffix(".norm"): v for k, v in golden.items() if k.startswith(prefix)}
        ours = dict(network.named_parameters())
        for name, norm in renamed(norms, rules).items():
            if name in ours:
                close(ours[name].grad.norm(), norm, rtol=1e-4, atol=1e-9)
                compared += 1
    assert compared == len(list(imported.parameters()))


# ---------------------------------------------------------------------------- full width, float64


def filled(state: dict[str, list[int]]) -> dict[str, Tensor]:
    """The fill of specs: values of a sine, its phase the place of the key among the sorted ones."""
    tensors = {}
    for number, name in enumerate(sorted(state)):
        shape = state[name]
        count = int(np.prod(shape))
        if count == 1:
            tensors[name] = torch.full(shape, 0.5, dtype=torch.float64)
            continue
        place = torch.arange(count, dtype=torch.float64)
        size = (count / shape[0]) ** -0.5 if len(shape) > 1 else 0.1
        tensors[name] = (size * torch.sin(0.37 * place * torch.sqrt(place + 1) + number)).view(shape)
    return tensors


def wave(shape: tuple[int, ...], function: Any, step: float, size: float = 1.0) -> Tensor:
    count = int(np.prod(shape))
    return (size * function(step * torch.arange(count, dtype=torch.float64))).view(shape)


def squared_gradients(system: DFGAN, batch: Batch) -> Tensor:
    """What the penalty is made of: for each real pair the squared length of its score's gradient ``(B,)``."""
    inputs = batch.image.clone().requires_grad_(), batch.text.sentence.clone().requires_grad_()
    gradients = torch.autograd.grad(system.discriminator(*inputs).sum(), inputs)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1).square().sum(1)


@pytest.mark.parametrize("side", [64, pytest.param(256, marks=pytest.mark.slow)])
def test_full_width_in_float64(side: int) -> None:
    golden = facts()["values"][str(side)]
    parts = {part: filled(facts()[str(side)][part]["shapes"]) for part in ("netG", "netD", "netC")}
    found = import_released([Released(Path("x.pth"), {"model": parts})])
    system = DFGAN(Config(**found.model), Setting(found.image_size, found.word_dim)).double()
    assert (found.image_size, found.word_dim, found.model["channels"]) == (side, 256, 32)
    for part, state in found.networks.items():
        getattr(system, part).load_state_dict(state)
    batch = batch_of(
        wave((4, 3, side, side), torch.sin, 0.013),
        wave((4, 256), torch.sin, 0.07, 0.5),
        wave((4, 100), torch.cos, 0.11),
    )
    near = {"atol": 1e-6, "rtol": 0}
    image = system.generator(batch.noise, batch.text.sentence)
    close(image.mean(), golden["fake_mean"], **near)
    close(image.abs().mean(), golden["fake_abs_mean"], **near)
    close(image[0, 0, 0, 0], golden["fake_0_0_0_0"], **near)
    close(image[3, 2, -1, -1], golden["fake_3_2_last"], **near)
    features = system.discriminator.image(batch.image)
    close(features.mean(), golden["feat_mean"], **near)
    close(features.abs().mean(), golden["feat_abs_mean"], **near)
    sentence = batch.text.sentence
    close(system.discriminator.head(features, sentence), golden["pred_real"], **near)
    close(system.discriminator.head(features.roll(-1, 0), sentence), golden["pred_mis"], **near)
    close(system.discriminator(image, sentence), golden["pred_fake"], **near)
    close(squared_gradients(system, batch), golden["grad_sq_norm"], **near)
    d = system.d_losses(batch, Fake((image.detach(),)))
    close(d["penalty"], golden["magp"], atol=0, rtol=1e-6)
    close(d["real"], golden["errD_real"], **near)
    close(2 * d["mismatched"], golden["errD_mis"], **near)
    close(2 * d["fake"], golden["errD_fake"], **near)
    close(total(d), golden["errD_total"], **near)
    close(total(system.g_losses(batch, Fake((image,)))), golden["errG"], **near)
    sum(d.values()).backward()
    gradient = system.discriminator.image.first.weight.grad
    close(gradient.sum(), golden["grad_conv_img_weight_sum"], **near)
    close(gradient.abs().sum(), golden["grad_conv_img_weight_abs_sum"], **near)


# ---------------------------------------------------------------------------- sizes and names


@pytest.mark.parametrize("side", [64, 128, 256])
def test_parameters_and_names(side: int) -> None:
    official = facts()[str(side)]
    with torch.device("meta"):
        system = DFGAN(Config(), Setting(side, 256))

    def count(network: torch.nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert count(system.generator) == official["netG"]["params"]
    assert count(system.discriminator.image) + DEAD[side] == official["netD"]["params"]
    assert count(system.discriminator.head) == official["netC"]["params"]
    names = renamed(official["netG"]["shapes"], GENERATOR_NAMES)
    assert {n: list(p.shape) for n, p in system.generator.state_dict().items()} == names
    judge = renamed({**official["netD"]["shapes"], **official["netC"]["shapes"]}, DISCRIMINATOR_NAMES)
    ours = {n: list(p.shape) for n, p in system.discriminator.state_dict().items()}
    assert ours.items() <= judge.items()
    dead = judge.keys() - ours.keys()
    assert sum(int(np.prod(judge[name])) for name in dead) == DEAD[side]
    assert all("shortcut" in name for name in dead)
