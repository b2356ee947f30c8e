"""What DF-GAN's paper and code promise, beside the golden numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.batch import Batch
from t2icli.errors import DataError
from t2icli.losses.penalties import matching_aware
from t2icli.released import Released
from t2icli.setting import Setting
from t2icli.systems.dfgan import DFGAN, Config, Fusion, UpBlock, import_released
from t2icli.training.step import total

REFERENCE = Path(__file__).parents[1] / "reference"


def made(size: int = 32, **keys: object) -> tuple[DFGAN, Batch]:
    torch.manual_seed(0)
    system = DFGAN(Config(channels=4, noise_dim=8, **keys), Setting(size, WORD_DIM))
    return system, made_up_batch(size, system.noise_dim)


def open_gates(system: DFGAN) -> None:
    """Let the residual sides of the discriminator take part, which they do not at the start."""
    for name, parameter in system.discriminator.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.5)


def test_fusion_begins_as_two_rectifiers() -> None:
    x = torch.randn(2, 5, 4, 4)
    expected = F.leaky_relu(F.leaky_relu(x, 0.2), 0.2)
    torch.testing.assert_close(Fusion(5, 7)(x, torch.randn(2, 7)), expected)


def test_pointwise_maps_before_upsampling_give_the_same() -> None:
    block = UpBlock(6, 4, 7)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x, condition = torch.randn(2, 6, 5, 5), torch.randn(2, 7)
    large = F.interpolate(x, scale_factor=2, mode="nearest")
    main = block.conv0(block.fusion0(large, condition))
    expected = block.conv1(block.fusion1(main, condition)) + block.shortcut(large)
    torch.testing.assert_close(block(x, condition), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_sizes(size: int) -> None:
    system, batch = made(size)
    fake = system.generate(batch.text, batch.noise)
    assert fake.images[0].shape == (4, 3, size, size)
    assert system.discriminator.image(fake.images[0]).shape == (4, 32, 4, 4)
    assert system.discriminator(fake.images[0], batch.text.sentence).shape == (4,)


def test_penalty_is_the_norm_that_differences_give() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        system, batch = made()
        open_gates(system)
        image, sentence = batch.image[:2].double().requires_grad_(), batch.text.sentence[:2].double().requires_grad_()
        score = system.discriminator(image, sentence)
        found = matching_aware(score, (image, sentence), power=2.0, norm="joint")
        gradients = torch.autograd.grad(score.sum(), (image, sentence))
        # A step along the gradient g raises the score by |g|^2 a step.
        step = 1e-6
        with torch.no_grad():
            moved = system.discriminator(*(x + step * g for x, g in zip((image, sentence), gradients, strict=True)))
        torch.testing.assert_close(found, ((moved - score.detach()) / step).mean(), rtol=1e-4, atol=0)
    finally:
        torch.set_default_dtype(torch.float32)


def linear_score(image: Tensor, sentence: Tensor) -> Tensor:
    return 3 * image.sum(1) + 4 * sentence.sum(1)


@pytest.mark.parametrize(("norm", "length"), [("joint", 5.0), ("sum", 7.0)])
def test_norms(norm: str, length: float) -> None:
    image, sentence = torch.zeros(2, 1, requires_grad=True), torch.zeros(2, 1, requires_grad=True)
    found = matching_aware(linear_score(image, sentence), (image, sentence), 6.0, norm)
    torch.testing.assert_close(found, torch.tensor(length**6))


@pytest.mark.parametrize("norm", ["joint", "sum"])
@pytest.mark.parametrize("power", [1.0, 2.0, 6.0])
def test_penalty_of_a_flat_score_has_a_gradient(norm: str, power: float) -> None:
    weight, image = torch.zeros(1, requires_grad=True), torch.ones(2, 1, requires_grad=True)
    matching_aware((image * weight).sum(1), (image,), power, norm).backward()
    assert weight.grad.isfinite().all()


def unmoved(network: nn.Module) -> set[str]:
    """Parameters that a loss does not move."""
    return {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}


def test_gradients_reach_every_parameter() -> None:
    system, batch = made()
    # As they begin, residual sides are shut and affine maps ignore the text: only what opens them learns.
    fake = system.generate(batch.text, batch.noise)
    total(system.d_losses(batch, fake.detach())).backward()
    assert unmoved(system.discriminator) == {
        f"image.blocks.{block}.conv{place}.weight" for block in range(3) for place in (0, 1)
    }
    total(system.g_losses(batch, fake)).backward(inputs=list(system.generator.parameters()))
    shut = unmoved(system.generator)
    assert len(shut) == 2 * 2 * 4 * 3 and all(".fusion" in name and ".0." in name for name in shut)
    # Once they are open, everything does.
    open_gates(system)
    for name, parameter in system.generator.named_parameters():
        if ".fusion" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    system.zero_grad()
    fake = system.generate(batch.text, batch.noise)
    total(system.d_losses(batch, fake.detach())).backward()
    assert not unmoved(system.discriminator)
    total(system.g_losses(batch, fake)).backward(inputs=list(system.generator.parameters()))
    assert not unmoved(system.generator)


def test_penalty_alone_trains_every_weight_of_the_discriminator() -> None:
    system, batch = made()
    open_gates(system)
    fake = system.generate(batch.text, batch.noise).detach()
    system.d_losses(batch, fake)["penalty"].backward()
    # A bias moves the score, not its slope.
    assert unmoved(system.discriminator) == {n for n, _ in system.discriminator.named_parameters() if "bias" in n}


def test_mismatched_pairs_are_all_images_rolled_by_one() -> None:
    system, batch = made()
    open_gates(system)
    fake = system.generate(batch.text, batch.noise).detach()
    losses = system.d_losses(batch, fake)
    scores = system.discriminator(batch.image.roll(-1, 0), batch.text.sentence)
    torch.testing.assert_close(losses["mismatched"], F.relu(1 + scores).mean() / 2)
    assert set(losses) == {"real", "fake", "mismatched", "penalty"}
    assert "penalty" not in made(penalty=0.0)[0].d_losses(batch, fake)


def test_penalty_stays_in_float32_under_autocast() -> None:
    system, batch = made()
    open_gates(system)
    fake = system.generate(batch.text, batch.noise).detach()
    expected = system.d_losses(batch, fake)
    with torch.autocast("cpu", torch.bfloat16):
        found = system.d_losses(batch, fake)
    for name in ("real", "mismatched", "penalty"):
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    assert found["fake"] != expected["fake"]


def test_noise_that_pictures_are_drawn_from() -> None:
    system, _ = made()
    noise = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    drawn = system.drawing_noise(noise)
    assert drawn.abs().max() <= 2 * 0.88
    assert float(drawn.mean()) == pytest.approx(0, abs=0.01)
    # the deviation of a normal cut at two is 0.8796
    assert float(drawn.std()) == pytest.approx(0.8796 * 0.88, abs=0.01)
    assert torch.equal(drawn[:5], system.drawing_noise(noise[:5]))
    assert (drawn[noise.flatten().argsort()].diff(dim=0) >= 0).all()  # larger stays larger
    assert made(truncation=0.0)[0].drawing_noise(noise) is noise


def test_words_are_not_read() -> None:
    system, batch = made()
    other = replace(batch.text, words=torch.randn_like(batch.text.words))
    a, b = system.generate(batch.text, batch.noise), system.generate(other, batch.noise)
    assert torch.equal(a.images[0], b.images[0])


def refused(content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_released([Released(Path("x.pth"), content)])


def test_files_that_are_something_else() -> None:
    with pytest.raises(DataError, match="no generator of DF-GAN's code of 2022 .* in no file"):
        import_released([])
    refused([1], "x.pth: no network that is known here: a list")
    refused({"model": {"netH": {}}}, "x.pth: no network that is known here: a table of model")
    refused({"encoder.weight": torch.zeros(3, 4)}, "a table of encoder.weight")
    refused({"fc.weight": torch.zeros(1), "epoch": 3}, "a table of fc.weight, epoch")
    refused({"block0.affine0.fc_gamma.linear1.weight": torch.zeros(1)}, "a generator of DF-GAN's code of 2020")
    refused({"GBlocks.0.c1.weight": torch.zeros(1)}, "is no generator of DF-GAN's code of 2022: it lacks to_rgb")


def released_names() -> dict[str, dict[str, Tensor]]:
    return torch.load(REFERENCE / "dfgan_nf4_64.pth", weights_only=True)["model"]


def test_tensors_that_do_not_fit_are_named() -> None:
    generator = released_names()["netG"]
    refused({**generator, "odd": torch.zeros(2)}, "has odd, which is not known")
    refused({n: t for n, t in generator.items() if n != "GBlocks.1.c1.bias"}, r"lacks blocks.1.conv0.bias \(16,\)")
    refused({**generator, "GBlocks.0.c1.weight": torch.zeros(3, 3)}, r"blocks.0.conv0.weight is \(3, 3\), should be")
    # What the sizes are measured by must be able to tell them.
    refused({**generator, "to_rgb.1.weight": torch.zeros(3)}, r"to_rgb.1.weight is \(3,\), which is no weight")
    refused({**generator, "to_rgb.1.weight": torch.zeros(3, 0, 3, 3)}, "which is no weight")
    refused({**generator, "fc.weight": torch.zeros(512, 26)}, r"has 26 inputs, no more than the noise \(26\)")


def test_a_generator_alone() -> None:
    parts = released_names()
    for content in (parts["netG"], {f"module.{name}": tensor for name, tensor in parts["netG"].items()}):
        found = import_released([Released(Path("netG.pth"), content)])
        assert (found.model, found.image_size, found.word_dim) == ({"channels": 4, "noise_dim": 10}, 64, 16)
        assert set(found.networks) == {"generator"} and not found.notes


def test_half_a_discriminator_is_left_out_in_words() -> None:
    parts = released_names()
    for half in ("netD", "netC"):
        model = {"netG": parts["netG"], half: parts[half]}
        found = import_released([Released(Path("x.pth"), {"model": model})])
        assert set(found.networks) == {"generator"} and half in found.notes[0]
