"""What DF-GAN's paper and code promise, beside the golden numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from torch import Tensor
from torch.nn import functional as F

from t2icli.batch import Batch
from t2icli.errors import DataError
from t2icli.losses.penalties import matching_aware
from t2icli.released import Released
from t2icli.setting import Setting
from t2icli.systems.dfgan import DFGAN, Config, Fusion, UpBlock, import_released


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


def test_penalty_of_a_flat_score_has_a_gradient() -> None:
    weight = torch.zeros(1, requires_grad=True)
    image = torch.ones(2, 1, requires_grad=True)
    for norm in ("joint", "sum"):
        matching_aware((image * weight).sum(1), (image,), 6.0, norm).backward()
        assert weight.grad.isfinite().all()


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


def test_files_that_are_something_else() -> None:

    path = Path("x.pth")
    with pytest.raises(DataError, match="one file is imported"):
        import_released([])
    with pytest.raises(DataError, match="should hold a model with netG"):
        import_released([Released(path, {"model": {"netH": {}}})])
    with pytest.raises(DataError, match="is no generator of DF-GAN's code of 2022: it lacks"):
        import_released([Released(path, {"encoder.weight": torch.zeros(3, 4)})])
    with pytest.raises(DataError, match="should hold a state dict, but 'epoch' is a int"):
        import_released([Released(path, {"fc.weight": torch.zeros(1), "epoch": 3})])
