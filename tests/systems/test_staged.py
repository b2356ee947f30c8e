"""AttnGAN's and MirrorGAN's sizes, attention and losses; test_staged_golden.py has the released code's numbers."""

import math
from dataclasses import replace

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli import registry
from t2icli.batch import Batch, Text
from t2icli.errors import RecipeError
from t2icli.nn.stage_discriminators import StageDiscriminator
from t2icli.nn.stages import ConditioningAugmentation, FirstStage, ResidualBlock, WordAttention, up_block
from t2icli.setting import Setting
from t2icli.systems._staged import StagedSystem, at_size, divergence
from t2icli.systems.mirrorgan import SentenceAttention

BOTH = ["attngan", "mirrorgan"]
NOISE_DIM, CONDITION_DIM = 5, 3


def tiny(name: str = "attngan", size: int = 32, seed: int = 0, **keys: object) -> StagedSystem:
    torch.manual_seed(seed)
    narrow = {"generator_channels": 4, "discriminator_channels": 4, "residual_blocks": 1, "stages": 2}
    narrow |= {"noise_dim": NOISE_DIM, "condition_dim": CONDITION_DIM}
    module = registry.load("t2icli.systems", name)
    return module.build(module.Config(**(narrow | keys)), Setting(size, WORD_DIM))


def made_up(size: int = 32, seed: int = 0) -> Batch:
    return made_up_batch(size, NOISE_DIM + CONDITION_DIM, seed=seed)


def of_one_length(text: Text) -> Text:
    shortest = int(text.mask.sum(1).min())
    return Text(text.words[:, :shortest], text.sentence, text.mask[:, :shortest], text.tokens[:, :shortest])


def one(text: Text, number: int) -> Text:
    fields = (getattr(text, field) for field in ("words", "sentence", "mask", "tokens"))
    return Text(*(field[number : number + 1] for field in fields))


# ---------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("size", "stages", "sizes"),
    [(256, 3, [64, 128, 256]), (256, 1, [256]), (64, 3, [16, 32, 64]), (32, 2, [16, 32]), (32, 3, [8, 16, 32])],
)
def test_stages_and_their_first_width(size: int, stages: int, sizes: list[int]) -> None:
    with torch.device("meta"):
        system = tiny(size=size, stages=stages)
    assert system.sizes == sizes
    assert len(system.discriminator) == len(system.generator.to_images) == stages
    first = system.generator.first
    assert len(first.up) == math.log2(sizes[0] / 4)
    assert first.project.out_features == 2 * 16 * 4 * sizes[0] // 4  # at 4x4 as many times wider as it is smaller
    assert system.noise_dim == NOISE_DIM + CONDITION_DIM


def test_stages_that_begin_too_small_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"model.stages: 3 stages up to 16 px begin at 4 px"):
        tiny(size=16, stages=3)


@pytest.mark.parametrize(
    ("size", "halved", "kept"),
    [
        (8, [4], []),
        (16, [4, 8], []),
        (32, [4, 8, 16], []),
        (64, [4, 8, 16, 32], []),
        (128, [4, 8, 16, 32, 64], [32]),
        (256, [4, 8, 16, 32, 64, 128], [64, 32]),
    ],
)
def test_discriminator_widths(size: int, halved: list[int], kept: list[int]) -> None:
    judge = StageDiscriminator(size, 4, WORD_DIM)
    convolutions = [block[0] for block in judge.trunk]
    assert [c.out_channels for c in convolutions if c.stride == (2, 2)] == halved
    assert [c.out_channels for c in convolutions if c.stride == (1, 1)] == kept
    features = judge(torch.randn(2, 3, size, size))
    assert features.shape == (2, (halved + kept)[-1], 4, 4)
    assert judge.real(features).shape == judge.fits(features, torch.randn(2, WORD_DIM)).shape == (2,)


def test_only_the_first_convolution_goes_without_a_norm() -> None:
    judge = StageDiscriminator(64, 4, WORD_DIM)
    assert [len(block) for block in judge.trunk] == [2, 3, 3, 3]
    with_bias = {n for n, layer in judge.named_modules() if isinstance(layer, nn.Conv2d) and layer.bias is not None}
    assert with_bias == {"conditional", "unconditional"}


# ---------------------------------------------------------------------------- AttnDCGAN


def test_attndcgan_draws_and_judges_one_image() -> None:
    system = tiny("attndcgan", size=64, stages=3)
    batch = made_up(64)
    fake = system.generate(batch.text, batch.noise)
    assert [image.shape[-1] for image in fake.images] == [64] == system.sizes
    assert {"attention32", "attention64"} < fake.extras.keys()
    assert len(system.generator.later) == 2 and len(system.generator.to_images) == len(system.discriminator) == 1
    assert not any("unconditional" in name for name, _ in system.named_parameters())


def test_attndcgans_losses_by_hand() -> None:
    system = tiny("attndcgan").eval()
    batch = made_up()
    fake, sentence = system.generate(batch.text, batch.noise), batch.text.sentence
    judge = system.discriminator[0]
    own, wrong = judge.fits(judge(batch.image), sentence), judge.fits(judge(batch.image)[:-1], sentence[1:])
    generated = judge.fits(judge(fake.images[-1]), sentence)

    def yes(logits: Tensor) -> Tensor:
        return -logits.sigmoid().log().mean()

    def no(logits: Tensor) -> Tensor:
        return -(1 - logits.sigmoid()).log().mean()

    found = system.d_losses(batch, fake)
    torch.testing.assert_close(found, {"adversarial": yes(own) + (no(generated) + no(wrong)) / 2})
    found = system.g_losses(batch, fake)
    kl = divergence(fake.extras["mu"], fake.extras["logvar"])
    torch.testing.assert_close(found, {"adversarial": yes(generated), "kl": kl})
    assert list(tiny("attndcgan", kl_weight=0.0).g_losses(batch, fake)) == ["adversarial"]


@pytest.mark.parametrize("name", ["attngan", "mirrorgan", "attndcgan"])
def test_the_answers_of_all_stages_may_weigh_half(name: str) -> None:
    """VLMGAN's paper halves them in the generator's loss, and nowhere else."""
    whole, half = tiny(name).eval(), tiny(name, adversarial=0.5).eval()
    batch = made_up()
    fake = whole.generate(batch.text, batch.noise)
    ours, theirs = half.g_losses(batch, fake), whole.g_losses(batch, fake)
    assert ours == {key: loss if key == "kl" else loss / 2 for key, loss in theirs.items()}
    assert half.d_losses(batch, fake) == whole.d_losses(batch, fake)


# ---------------------------------------------------------------------------- blocks by hand


def test_up_block_by_hand() -> None:
    torch.manual_seed(0)
    block = up_block(3, 2).eval()
    x = torch.randn(2, 3, 4, 4)
    a, b = F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), block[1].weight, padding=1).chunk(2, 1)
    torch.testing.assert_close(block(x), a / math.sqrt(1 + 1e-5) * torch.sigmoid(b / math.sqrt(1 + 1e-5)))


def test_nothing_is_activated_after_the_sum_of_a_residual_block() -> None:
    block = ResidualBlock(3)
    nn.init.zeros_(block.block[4].weight)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(block(x), x)


def test_conditioning_augmentation_by_hand() -> None:
    torch.manual_seed(0)
    augmentation = ConditioningAugmentation(WORD_DIM, 3)
    sentence, epsilon = torch.randn(2, WORD_DIM), torch.randn(2, 3)
    a, b = augmentation.project(sentence).chunk(2, 1)
    mu, logvar = (a * torch.sigmoid(b)).chunk(2, 1)
    condition, found_mu, found_logvar = augmentation(sentence, epsilon)
    assert torch.equal(found_mu, mu) and torch.equal(found_logvar, logvar)
    torch.testing.assert_close(condition, mu + logvar.exp().sqrt() * epsilon)


def test_condition_comes_before_noise() -> None:
    system = tiny()
    seen: list[Tensor] = []
    system.generator.first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = made_up()
    system.generate(batch.text, batch.noise)
    condition, _, _ = system.generator.augmentation(batch.text.sentence, batch.noise[:, NOISE_DIM:])
    assert torch.equal(seen[0], torch.cat([condition, batch.noise[:, :NOISE_DIM]], 1))


def test_first_stage_by_hand() -> None:
    torch.manual_seed(0)
    stage = FirstStage(5, 2, doublings=0).eval()
    vector = torch.randn(3, 5)
    a, b = (stage.project(vector) / math.sqrt(1 + 1e-5)).chunk(2, 1)
    torch.testing.assert_close(stage(vector), (a * torch.sigmoid(b)).view(3, 2, 4, 4))


# ---------------------------------------------------------------------------- attention


def attended(attention: WordAttention, text: Text, size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.randn(len(text.mask), 3, size, size, generator=torch.Generator().manual_seed(seed))
    return attention(x, text.words, text.mask)


def test_word_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention, text = WordAttention(3, WORD_DIM, "masked"), made_up().text
    context, weights = attended(attention, text)
    x = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for caption, length in enumerate(text.mask.sum(1).tolist()):
        keys = text.words[caption, :length] @ attention.project.weight[:, :, 0, 0].T
        expected = torch.softmax(keys @ x[caption, :, 1, 2], 0)
        torch.testing.assert_close(weights[caption, :length, 1, 2], expected)
        torch.testing.assert_close(context[caption, :, 1, 2], expected @ keys)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("padded_words", ["masked", "as_released"])
def test_attention_sums_to_one_over_words(name: str, padded_words: str) -> None:
    batch = made_up(64)
    fake = tiny(name, 64, stages=3, padded_words=padded_words).generate(batch.text, batch.noise)
    for size in (32, 64):
        attention = fake.extras[f"attention{size}"]
        assert attention.shape == (4, batch.text.mask.shape[1], size // 2, size // 2)
        torch.testing.assert_close(attention.sum(1), torch.ones(4, size // 2, size // 2))
        if padded_words == "masked":
            assert not attention[~batch.text.mask].any()


def test_mask_as_released_is_that_of_the_row_modulo_the_batch() -> None:
    mask = made_up().text.mask
    rows = WordAttention(3, WORD_DIM, "as_released").rows(mask, 9)
    for caption in range(4):
        for place in range(9):
            assert torch.equal(rows[caption, place], mask[(caption * 9 + place) % 4])


def test_masks_differ_only_where_lengths_do() -> None:
    batch = made_up()
    attentions = []
    for padded_words in ("masked", "as_released"):
        torch.manual_seed(0)
        attentions.append(WordAttention(3, WORD_DIM, padded_words))
    right, released = attentions
    short = of_one_length(batch.text)
    assert torch.equal(attended(right, short)[0], attended(released, short)[0])
    assert torch.equal(attended(right, one(batch.text, 0))[0], attended(released, one(batch.text, 0))[0])
    assert not torch.allclose(attended(right, batch.text)[0], attended(released, batch.text)[0], atol=1e-3)


def test_sentence_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention = SentenceAttention(3, CONDITION_DIM)
    x, condition = torch.randn(2, 3, 4, 4), torch.randn(2, CONDITION_DIM)
    sentence = attention.project(condition)
    weights = torch.softmax(attention.weigh.weight[:, :, 0, 0] @ (x[1, :, 2, 3] * sentence[1]), 0)
    torch.testing.assert_close(attention(x, condition)[1, :, 2, 3], sentence[1] * weights)


# ---------------------------------------------------------------------------- what a picture depends on


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("padded_words", ["masked", "as_released"])
@torch.no_grad()
def test_a_caption_of_a_batch_is_that_caption_alone(name: str, padded_words: str) -> None:
    batch = made_up()
    text = batch.text if padded_words == "masked" else of_one_length(batch.text)
    system = tiny(name, padded_words=padded_words).eval()
    together = system.generate(text, batch.noise)
    for number in range(4):
        alone = system.generate(one(text, number), batch.noise[number : number + 1])
        for whole, single in zip(together.images, alone.images, strict=True):
            torch.testing.assert_close(whole[number : number + 1], single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BOTH)
def test_padded_words_change_nothing(name: str) -> None:
    batch = made_up()
    noisy = torch.where(batch.text.mask[:, :, None], batch.text.words, torch.randn_like(batch.text.words) * 100)
    images = [
        tiny(name).generate(replace(batch.text, words=words), batch.noise).images[-1]
        for words in (batch.text.words, noisy)
    ]
    assert torch.equal(*images)


@pytest.mark.parametrize("name", BOTH)
def test_words_change_only_the_later_stages(name: str) -> None:
    batch = made_up()
    coarse, fine = tiny(name).generate(batch.text, batch.noise).images
    turned = replace(batch.text, words=batch.text.words.flip(0), mask=batch.text.mask.flip(0))
    other_coarse, other_fine = tiny(name).generate(turned, batch.noise).images
    assert torch.equal(coarse, other_coarse)
    assert (fine - other_fine).abs().max() > 1e-3


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("part", ["sentence", "picture's noise", "condition's noise"])
def test_sentence_and_both_noises_change_every_stage(name: str, part: str) -> None:
    batch = made_up()
    text, noise = batch.text, batch.noise.clone()
    if part == "sentence":
        text = replace(text, sentence=text.sentence.flip(0))
    else:
        place = slice(None, NOISE_DIM) if part == "picture's noise" else slice(NOISE_DIM, None)
        noise[:, place] = noise[:, place].flip(0)
    images, others = (tiny(name).generate(*given).images for given in ((batch.text, batch.noise), (text, noise)))
    for image, other in zip(images, others, strict=True):
        assert (image - other).abs().max() > 1e-3


# ---------------------------------------------------------------------------- losses


def test_names_of_losses_and_weight_of_the_divergence() -> None:
    batch = made_up()
    fake = tiny().generate(batch.text, batch.noise)
    plain, doubled, without = (tiny(kl_weight=weight).g_losses(batch, fake) for weight in (1.0, 2.0, 0.0))
    assert list(tiny().d_losses(batch, fake)) == ["stage16", "stage32"]
    assert list(plain) == ["stage16", "stage32", "kl"]
    assert list(without) == ["stage16", "stage32"]
    assert doubled["kl"] == 2 * plain["kl"] == 2 * divergence(fake.extras["mu"], fake.extras["logvar"])


def test_divergence_in_closed_form() -> None:
    mu, logvar = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    expected = (0.5 * 1 + 0.5 * (4 - 1 - math.log(4.0))) / 2  # a mean over dimensions
    assert float(divergence(mu, logvar)) == pytest.approx(expected)
    torch.manual_seed(0)
    mu, logvar = torch.randn(6, 5), torch.randn(6, 5)
    ours = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    standard = torch.distributions.Normal(torch.zeros(6, 5), torch.ones(6, 5))
    torch.testing.assert_close(divergence(mu, logvar), torch.distributions.kl_divergence(ours, standard).mean())
    assert divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_losses_are_the_written_ones() -> None:
    system, batch = tiny().eval(), made_up()
    fake = system.generate(batch.text, batch.noise)
    d, g = system.d_losses(batch, fake), system.g_losses(batch, fake)
    for size, judge, image in zip(system.sizes, system.judges(), fake.images, strict=True):
        real, made, sentence = judge(at_size(batch.image, size)), judge(image), batch.text.sentence

        def against(logits: Tensor, answer: float) -> Tensor:
            return F.binary_cross_entropy(logits.sigmoid(), torch.full_like(logits, answer))

        wrong = judge.fits(real[[0, 1, 2]], sentence[[1, 2, 3]])  # one pair fewer
        right_side = (against(judge.real(real), 1) + against(judge.fits(real, sentence), 1)) / 2
        wrong_side = against(judge.real(made), 0) + against(judge.fits(made, sentence), 0) + against(wrong, 0)
        torch.testing.assert_close(d[f"stage{size}"], right_side + wrong_side / 3)
        expected = against(judge.real(made), 1) + against(judge.fits(made, sentence), 1)
        torch.testing.assert_close(g[f"stage{size}"], expected)


def test_real_images_of_coarser_stages_are_averages() -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert at_size(images, 32) is images
    flat = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(at_size(flat, 8), torch.full((1, 3, 8, 8), 0.3))
    # PIL's filter at half the size: a triangle over four pixels.
    rows = at_size(images.transpose(2, 3), 16).transpose(2, 3)
    triangle = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    inside = torch.einsum("bcij,i,j->bc", images[:, :, 3:7, 5:9], triangle, triangle)
    torch.testing.assert_close(rows[:, :, 2, 3], inside)


# ---------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", BOTH)
def test_every_tensor_has_a_gradient_from_its_side(name: str) -> None:
    system, batch = tiny(name), made_up()
    fake = system.generate(batch.text, batch.noise)
    sum(system.d_losses(batch, fake.detach()).values()).backward()
    assert all(p.grad is None for p in system.generator.parameters())
    assert [n for n, p in system.discriminator.named_parameters() if p.grad is None or not p.grad.any()] == []
    system.zero_grad()
    sum(system.g_losses(batch, fake).values()).backward(inputs=list(system.generator.parameters()))
    assert [n for n, p in system.generator.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad is None for p in system.discriminator.parameters())


def test_discriminator_does_not_reach_the_generator() -> None:
    system, batch = tiny(), made_up()
    fake = system.generate(batch.text, batch.noise)
    sum(system.d_losses(batch, fake).values()).backward()  # not detached outside
    assert all(p.grad is None for p in system.generator.parameters())


def test_bfloat16_activations_give_float32_images_and_losses() -> None:
    system, batch = tiny("mirrorgan"), made_up()
    with torch.autocast("cpu", torch.bfloat16):
        fake = system.generate(batch.text, batch.noise)
        losses = system.d_losses(batch, fake) | system.g_losses(batch, fake)
    assert all(image.dtype == torch.float32 for image in fake.images)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_networks_begin_orthogonal() -> None:
    system = tiny("mirrorgan")
    attention: WordAttention = system.generator.later[0].attention  # type: ignore[assignment]
    weight = attention.project.weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)
    assert not system.generator.augmentation.project.bias.any()
