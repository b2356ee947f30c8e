"""XMC-GAN against the numbers of the official JAX code (tests/reference/xmcgan.json; spec section 8.2).

Whole networks at tiny width, filled by the reference's rule. Paths there are Flax's; ``TRANSLATION`` says
what each of them is called here.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from t2icli.batch import Batch, Text
from t2icli.nn.batch_norm import BatchNorm
from t2icli.setting import Setting
from t2icli.systems.xmcgan import XMCGAN, Config

GOLDEN = json.loads((Path(__file__).parents[1] / "reference" / "xmcgan.json").read_text())

TRANSLATION = [
    (r"^GenBlock_(\d)/", r"generator.coarse_blocks.\1."),
    (r"^GenSpatialBlock_(\d)/", r"generator.fine_blocks.\1."),
    (r"(Local)?ConditionalBatchNorm_(\d)/BatchNorm_0/", r"modulation\2.norm."),
    (r"(Local)?ConditionalBatchNorm_(\d)/(Dense|Conv)_0/", r"modulation\2.gamma."),
    (r"(Local)?ConditionalBatchNorm_(\d)/(Dense|Conv)_1/", r"modulation\2.beta."),
    (r"^modulation0\.", r"generator.last_modulation."),
    (r"^Dense_0/", "generator.sentence."),
    (r"^Dense_1/", "generator.first."),
    (r"^Conv_0/", "generator.query."),
    (r"^Conv_1/", "generator.to_image."),
    (r"^DiscOptimizedBlock_0/", "discriminator.blocks.0."),
    (r"^SpectralConv_0/", "discriminator.to_regions."),
    (r"(Spectral)?Conv_2/", "shortcut."),
    (r"(Spectral)?Conv_(\d)/", r"conv\2."),
    (r"kernel$", "weight"),
    (r"u0$", "u"),
    (r"mean$", "running_mean"),
    (r"var$", "running_var"),
]


def translate(path: str) -> str:
    disc = re.match(r"^DiscBlock_(\d)/", path)
    if disc:
        path = f"discriminator.blocks.{int(disc[1]) + 1}." + path[disc.end() :]
    dense = re.match(r"^SpectralDense_(\d)/", path)
    if dense:
        path = ("discriminator.logit." if dense[1] == "0" else "discriminator.sentence.") + path[dense.end() :]
    for pattern, name in TRANSLATION:
        path = re.sub(pattern, name, path)
    return path


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape)


def as_ours(array: np.ndarray) -> Tensor:
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(order) if order else array).astype(np.float32))


class Case:
    """One of the reference's networks, its inputs and its numbers."""

    def __init__(self, size: int) -> None:
        self.golden = GOLDEN[f"net_{size}"]
        c = self.golden["config"]
        config = Config(
            generator_channels=c["gf_dim"],
            discriminator_channels=c["df_dim"],
            noise_dim=c["z_dim"],
            sentence_dim=c["cond_size"] - c["z_dim"],
        )
        self.system = XMCGAN(config, Setting(image_size=size, word_dim=c["embedding_dim"]))
        self.tensors = dict(self.system.named_parameters()) | dict(self.system.named_buffers())
        for seed, path, shape, scale in self.golden["g_params"] + self.golden["d_params"]:
            self.fill(path, random(seed, *shape) * scale)
        for seed, path, shape, _ in self.golden["d_u0"]:
            self.tensors[translate(path)].data.copy_(torch.from_numpy(random(seed, *shape)))
        words = torch.from_numpy(random(11, 3, 5, 12)).float()
        lengths = torch.tensor(self.golden["inputs"]["max_len"])
        mask = torch.arange(5) < lengths[:, None]
        sentence = words.sum(1) / lengths[:, None]
        real = np.random.RandomState(13).uniform(size=(3, size, size, 3)).astype(np.float32)
        self.batch = Batch(
            image=torch.from_numpy(real).permute(0, 3, 1, 2) * 2 - 1,
            text=Text(words, sentence, mask, torch.zeros(3, 5, dtype=torch.long)),
            noise=torch.from_numpy(random(12, 3, 8)).float(),
            captions=("",) * 3,
            classes=torch.full((3,), -1),
        )

    def fill(self, path: str, array: np.ndarray) -> None:
        target = self.tensors[translate(path)]
        value = as_ours(array)
        assert value.shape == target.shape, path
        target.data.copy_(value)

    def image(self) -> Tensor:
        """Generated images as the reference lays them out: (B, H, W, C) in [0, 1]."""
        fake = self.system.generate(self.batch.text, self.batch.noise).images[0]
        return (fake.permute(0, 2, 3, 1) + 1) / 2


@pytest.fixture(params=[128, 256])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def check_pixels(image: Tensor, pixels: dict, tolerance: float) -> None:
    for place, value in pixels.items():
        b, y, x = map(int, place.split(","))
        torch.testing.assert_close(image[b, y, x], torch.tensor(value), atol=tolerance, rtol=0)


def test_image_in_training(case: Case) -> None:
    image = case.image().detach()
    expected = case.golden["fake_train"]
    check_pixels(image, case.golden["fake_train_pixels"], 1e-5)
    assert image.double().mean().item() == pytest.approx(expected["mean"], abs=1e-6)
    assert image.double().std(correction=0).item() == pytest.approx(expected["std"], abs=1e-6)
    assert image.double().abs().sum().item() == pytest.approx(expected["sum_abs"], rel=1e-5)


def test_image_in_evaluation(case: Case) -> None:
    case.system.eval()
    image = case.image().detach()
    # tanh saturates here because the running statistics are still 0 and 1 (spec 8.2)
    check_pixels(image, case.golden["fake_eval_pixels"], 1e-4)
    assert image.double().mean().item() == pytest.approx(case.golden["fake_eval"]["mean"], abs=1e-5)


def test_running_statistics_after_one_update(case: Case) -> None:
    case.image()
    for path, first_four in case.golden["bn_after"].items():
        found = case.tensors[translate(path)][:4]
        torch.testing.assert_close(found, torch.tensor(first_four), atol=1e-5, rtol=1e-5, msg=path)


def test_losses_and_logits(case: Case) -> None:
    system, batch = case.system, case.batch
    fake = system.generate(batch.text, batch.noise)
    judged = system.judge(batch, fake)
    expected = torch.tensor(case.golden["d_logits_real_then_fake"])
    torch.testing.assert_close(judged.logits, expected, atol=1e-5, rtol=1e-5)
    for path, first_four in case.golden["u0_after_first4"].items():
        found = dict(system.named_buffers())[translate(path)].flatten()[:4]
        torch.testing.assert_close(found, torch.tensor(first_four), atol=1e-5, rtol=1e-5, msg=path)
    d_losses, g_losses = system.real_losses(batch.text, judged), system.fake_losses(batch.text, judged)
    stats = case.golden["d_stats"]
    assert d_losses["sentence"].item() == pytest.approx(stats["real_sentence_loss"], abs=1e-4)
    assert d_losses["word"].item() == pytest.approx(stats["real_word_loss"], abs=1e-4)
    assert g_losses["sentence"].item() == pytest.approx(stats["fake_sentence_loss"], abs=1e-4)
    assert g_losses["word"].item() == pytest.approx(stats["fake_word_loss"], abs=1e-4)
    assert g_losses["image"].item() == pytest.approx(stats["image_contrastive_loss"], abs=1e-4)
    assert sum(d_losses.values()).item() == pytest.approx(case.golden["d_loss"], abs=1e-4)
    assert sum(g_losses.values()).item() == pytest.approx(case.golden["g_loss_without_resnet"], abs=1e-4)


@pytest.mark.parametrize("side", ["d", "g"])
def test_gradient_norms(case: Case, side: str) -> None:
    system, batch = case.system, case.batch
    fake = system.generate(batch.text, batch.noise)
    losses = system.joint_losses(batch, fake)[side == "g"]
    network: nn.Module = system.generator if side == "g" else system.discriminator
    sum(losses.values()).backward(inputs=list(network.parameters()))
    total = torch.stack([p.grad.double().square().sum() for p in network.parameters()]).sum().sqrt().item()
    assert total == pytest.approx(case.golden[f"grad_norm_{side}"], rel=1e-4)
    for path, norm in case.golden[f"grad_norm_per_tensor_{side}"].items():
        found = case.tensors[translate(path)].grad.double().norm().item()
        assert found == pytest.approx(norm, rel=1e-4, abs=2e-5), path


def test_every_tensor_of_the_reference_has_its_place(case: Case) -> None:
    ours = {name for name, _ in case.system.named_parameters()}
    theirs = {translate(path) for _, path, _, _ in case.golden["g_params"] + case.golden["d_params"]}
    assert ours == theirs
    assert sum(isinstance(m, BatchNorm) for m in case.system.modules()) * 2 == len(case.golden["bn_after"])
