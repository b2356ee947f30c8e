"""XMC-GAN's sizes, conditioning and losses; test_xmcgan_golden.py has the official code's numbers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import WORD_DIM, half, made_up_batch
from torch import Tensor, nn
from torch.nn import functional as F
from two_processes import in_two_processes

from t2icli.batch import Text
from t2icli.losses.contrastive import pairwise, word_region
from t2icli.nn.batch_norm import BatchNorm
from t2icli.nn.spectral_norm import SpectralLinear, spectral_normalise
from t2icli.setting import Setting
from t2icli.systems._base import Losses
from t2icli.systems.xmcgan import (
    XMCGAN,
    AttentionalModulation,
    Config,
    Contrastive,
    SelfModulation,
    UpBlock,
    double,
    word_attention,
)

REFERENCE = Path(__file__).parents[1] / "reference"
SHAPES = json.loads((REFERENCE / "xmcgan_shapes.json").read_text())
GOLDEN = json.loads((REFERENCE / "xmcgan.json").read_text())
NOISE_DIM = 8
SIZES = [32, 64, 128, 256]


def tiny(size: int = 32, seed: int = 0, negatives: str = "local", **keys: object) -> XMCGAN:
    torch.manual_seed(seed)
    narrow = {"generator_channels": 4, "discriminator_channels": 4, "noise_dim": NOISE_DIM, "sentence_dim": 8}
    return XMCGAN(Config(**(narrow | keys)), Setting(size, WORD_DIM, negatives))


def both_sides(system: XMCGAN, seed: int = 0) -> tuple[Losses, Losses]:
    batch = made_up_batch(32, NOISE_DIM, seed=seed)
    return system.joint_losses(batch, system.generate(batch.text, batch.noise))


# ---------------------------------------------------------------------------- sizes of the published networks


@pytest.fixture(scope="module", params=[128, 256])
def published(request: pytest.FixtureRequest) -> tuple[int, XMCGAN]:
    with torch.device("meta"):
        return request.param, XMCGAN(Config(), Setting(request.param, 768))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


GENERATOR_COUNTS = {  # xmcgan.md 2.6
    128: [98_432, 3_170_304, 46_410_240, 18_291_456, 590_592, 6_638_976, 2_250_432, 857_952, 196_800, 2_595],
    256: [
        *(98_432, 3_170_304, 46_410_240, 18_291_456, 590_592),
        *(14_357_760, 6_638_976, 2_250_432, 857_952, 196_800, 2_595),
    ],
}
DISCRIMINATOR_COUNTS = {  # xmcgan.md 3.4
    128: [86_112, 516_672, 2_065_536, 8_259_840, 33_034_752, 42_470_400, 1_537, 1_181_184, 295_680],
    256: [86_112, 516_672, 2_065_536, 8_259_840, 11_208_960, 33_034_752, 42_470_400, 1_537, 1_181_184, 590_592],
}
TOTALS = {128: (78_507_779, 87_911_713), 256: (92_865_539, 99_415_585)}


def test_parameter_counts(published: tuple[int, XMCGAN]) -> None:
    size, system = published
    g, d = system.generator, system.discriminator
    parts = [g.sentence, g.first, *g.coarse_blocks, g.query, *g.fine_blocks, g.last_modulation, g.to_image]
    assert [count(part) for part in parts] == GENERATOR_COUNTS[size]
    assert [count(part) for part in [*d.blocks, d.logit, d.sentence, d.to_regions]] == DISCRIMINATOR_COUNTS[size]
    assert (count(g), count(d)) == TOTALS[size]


def as_ours(shape: list[int]) -> tuple[int, ...]:
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    return tuple(shape[i] for i in order)


def test_shapes_of_the_reference(published: tuple[int, XMCGAN]) -> None:
    size, system = published
    for side in ("generator", "discriminator"):
        network, reference = getattr(system, side), SHAPES[str(size)][side]
        assert sorted(tuple(p.shape) for p in network.parameters()) == sorted(
            as_ours(shape) for shape in reference["params"].values()
        )
        state = reference["batch_stats" if side == "generator" else "spectral_norm_stats"]
        assert sorted(tuple(b.shape) for b in network.buffers()) == sorted(tuple(shape) for shape in state.values())


# ---------------------------------------------------------------------------- shapes at every size


@pytest.mark.parametrize("size", SIZES)
def test_images_logits_and_regions(size: int) -> None:
    system = tiny(size, generator_channels=2, discriminator_channels=2)
    seen: list[Tensor] = []
    system.generator.query.register_forward_hook(lambda module, inputs, output: seen.append(output))
    batch = made_up_batch(size, NOISE_DIM, images=2)
    with torch.no_grad():
        fake = system.generate(batch.text, batch.noise)
        judged = system.judge(batch, fake)
    assert len(fake.images) == 1 and fake.images[0].shape == (2, 3, size, size)
    assert fake.images[0].min() >= -1 and fake.images[0].max() <= 1 and fake.images[0].std() > 0.01
    assert seen[0].shape == (2, WORD_DIM, 16, 16)
    assert judged.logits.shape == (4,)
    assert judged.features.shape == (4, 2 * (8 if size == 64 else 4 if size == 32 else 16))
    assert judged.regions.shape == (4, 256, WORD_DIM)
    assert judged.sentence.shape == (2, judged.features.shape[1])


def test_smaller_sizes_leave_out_the_widest_levels_of_128() -> None:
    with torch.device("meta"):
        small = XMCGAN(Config(), Setting(64, 768))
        smallest = XMCGAN(Config(), Setting(32, 768))
        full = XMCGAN(Config(), Setting(128, 768))

    def widths(blocks: nn.ModuleList) -> list[int]:
        return [block.conv1.out_channels for block in blocks]

    def generator_widths(system: XMCGAN) -> list[int]:
        g = system.generator
        return [g.coarse_blocks[0].conv0.in_channels, *widths(g.coarse_blocks), *widths(g.fine_blocks)]

    assert generator_widths(full) == [1536, 1536, 768, 384, 192, 96]
    assert generator_widths(small) == [768, 768, 384, 192, 96]
    assert generator_widths(smallest) == [384, 384, 192, 96]
    assert widths(full.discriminator.blocks)[:4] == [96, 192, 384, 768]
    assert widths(small.discriminator.blocks) == [96, 192, 384, 768, 768]
    assert widths(smallest.discriminator.blocks) == [96, 192, 384, 384]


# ---------------------------------------------------------------------------- attention and modulation


def test_attention_by_hand() -> None:  # xmcgan.md 8.1, item 9
    regions = torch.tensor([[[1.0, 0.0]]])
    words = torch.tensor([[[1.0, 0.0], [0.0, 7.0], [3.0, 3.0]]])
    context = word_attention(regions, words, torch.tensor([[True, True, False]]), 15.0)
    torch.testing.assert_close(context, torch.tensor([[[0.99999969, 3.059e-7]]]), atol=1e-9, rtol=1e-4)


def test_attention_of_the_official_code() -> None:
    golden = GOLDEN["attention_for_g"]
    regions = torch.from_numpy(np.random.RandomState(3).standard_normal((4, 9, 8))).float()
    words = torch.from_numpy(np.random.RandomState(4).standard_normal((4, 6, 8))).float()
    mask = torch.arange(6) < torch.tensor([[3], [6], [4], [5]])
    context = word_attention(regions, words, mask, 15.0)
    assert context.sum().item() == pytest.approx(golden["ctx_sum"], abs=1e-5)
    assert context.abs().sum().item() == pytest.approx(golden["ctx_abs_sum"], rel=1e-6)
    torch.testing.assert_close(context[0, 0], torch.tensor(golden["ctx_000"]), atol=1e-6, rtol=0)
    # The context is made of words of length one; these six in eight dimensions are independent.
    lengths = words.norm(dim=-1, keepdim=True)
    weights = torch.linalg.lstsq((words / lengths)[0].T, context[0, 0][:, None]).solution[:, 0]
    torch.testing.assert_close(weights, torch.tensor(golden["attn_00"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_modulation_before_upsampling_is_modulation_after(size: int) -> None:  # xmcgan.md 8.1, item 13
    torch.manual_seed(0)
    modulation = AttentionalModulation(5, 7)
    x, condition = torch.randn(2, 5, size, size), torch.randn(2, 7, 16, 16)
    everywhere = F.interpolate(condition, (size, size), mode="nearest")
    late = BatchNorm(5)(x) * (1 + modulation.gamma(everywhere)) + modulation.beta(everywhere)
    torch.testing.assert_close(modulation(x, condition), late, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("by_map", [True, False])
def test_block_with_early_shortcut_is_the_reference_block(by_map: bool) -> None:
    torch.manual_seed(0)
    block = UpBlock(4, 3, lambda channels: (AttentionalModulation if by_map else SelfModulation)(channels, 7))
    x = torch.randn(2, 4, 16, 16)
    condition = torch.randn(2, 7, 16, 16) if by_map else torch.randn(2, 7)

    def modulated(modulation: nn.Module, x: Tensor) -> Tensor:
        c = F.interpolate(condition, x.shape[2:], mode="nearest") if by_map else condition
        gamma, beta = modulation.gamma(c), modulation.beta(c)
        if not by_map:
            gamma, beta = gamma[:, :, None, None], beta[:, :, None, None]
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * (1 + gamma) + beta

    main = block.conv0(double(modulated(block.modulation0, x).relu()))
    main = block.conv1(modulated(block.modulation1, main).relu())
    late = main + block.shortcut(double(x))
    torch.testing.assert_close(block(x, condition), late, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [SelfModulation, AttentionalModulation])
def test_modulation_at_its_zero(kind: type[nn.Module]) -> None:  # xmcgan.md 8.1, item 11
    torch.manual_seed(0)
    modulation = kind(5, 7)
    condition = torch.randn(2, 7) if kind is SelfModulation else torch.randn(2, 7, 16, 16)
    ones = modulation(torch.ones(2, 5, 16, 16), condition)
    beta = modulation.beta(condition)
    beta = beta[:, :, None, None].expand_as(ones) if kind is SelfModulation else beta
    torch.testing.assert_close(ones, beta, atol=1e-6, rtol=0)
    for layer in (modulation.gamma, modulation.beta):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    x = torch.randn(2, 5, 16, 16)
    torch.testing.assert_close(modulation(x, condition), nn.BatchNorm2d(5, affine=False)(x))


# ---------------------------------------------------------------------------- what the caption does


def with_words(text: Text, words: Tensor) -> Text:
    return replace(text, words=words)


def test_padded_words_change_nothing() -> None:  # xmcgan.md 8.1, item 8
    batch = made_up_batch(32, NOISE_DIM)
    noisy = torch.where(batch.text.mask[:, :, None], batch.text.words, torch.randn_like(batch.text.words) * 100)
    other = replace(batch, text=with_words(batch.text, noisy))
    images, losses = [], []
    for b in (batch, other):
        system = tiny()
        fake = system.generate(b.text, b.noise)
        images.append(fake.images[0])
        losses.append(system.joint_losses(b, fake))
    assert torch.equal(*images)
    for a, b in zip(*losses, strict=True):
        assert a == b


def test_words_sentence_and_noise_change_the_image() -> None:
    batch = made_up_batch(32, NOISE_DIM)
    text = batch.text
    image = tiny().generate(text, batch.noise).images[0]
    changed = [
        (with_words(text, text.words.flip(0) + 1), batch.noise),
        (replace(text, sentence=text.sentence.flip(0)), batch.noise),
        (text, batch.noise.flip(0)),
    ]
    for other, noise in changed:
        assert (tiny().generate(other, noise).images[0] - image).abs().max() > 1e-3


def test_order_of_words_does_not_matter() -> None:
    batch = made_up_batch(32, NOISE_DIM)
    text = batch.text
    turned = replace(text, words=text.words.flip(1), mask=text.mask.flip(1))
    image = tiny().generate(text, batch.noise).images[0]
    torch.testing.assert_close(tiny().generate(turned, batch.noise).images[0], image, atol=1e-5, rtol=0)


def test_modulation_by_sentence_ignores_words() -> None:
    system = tiny(modulation="sentence")
    of_word_dim = [n for n, p in system.generator.named_parameters() if WORD_DIM in p.shape]
    assert of_word_dim == ["sentence.weight"]
    assert not any(isinstance(m, AttentionalModulation) for m in system.modules()) and system.generator.query is None
    batch = made_up_batch(32, NOISE_DIM)
    image = system.generate(batch.text, batch.noise).images[0]
    other = with_words(batch.text, torch.randn_like(batch.text.words))
    assert torch.equal(system.generate(other, batch.noise).images[0], image)
    turned = replace(batch.text, sentence=batch.text.sentence.flip(0))
    assert not torch.equal(system.generate(turned, batch.noise).images[0], image)


@pytest.mark.parametrize("first_layer", ["noise", "noise_and_sentence"])
def test_first_layer(first_layer: str) -> None:
    system = tiny(first_layer=first_layer)
    seen: list[Tensor] = []
    system.generator.first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = made_up_batch(32, NOISE_DIM)
    system.generate(batch.text, batch.noise)
    sentence = system.generator.sentence(batch.text.sentence)
    expected = batch.noise if first_layer == "noise" else torch.cat([batch.noise, sentence], 1)
    assert torch.equal(seen[0], expected)


def test_attention_sharpness_is_felt() -> None:
    batch = made_up_batch(32, NOISE_DIM)
    a, b = (tiny(attention_sharpness=s).generate(batch.text, batch.noise).images[0] for s in (15.0, 1.0))
    assert not torch.allclose(a, b, atol=1e-4)


# ---------------------------------------------------------------------------- losses


WEIGHTS = {"sentence": ("d", "g"), "word": ("d", "g"), "image": ("g",)}  # and the sides that a weight is of


def test_names_of_losses() -> None:
    d, g = both_sides(tiny())
    assert list(d) == ["adversarial", "sentence", "word"]
    assert list(g) == ["adversarial", "sentence", "word", "image"]
    assert all(loss.ndim == 0 and loss.isfinite() for losses in (d, g) for loss in losses.values())


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_weight_scales_its_loss_and_zero_leaves_it_out(name: str, weight: float) -> None:
    full = dict(zip("dg", both_sides(tiny()), strict=True))
    changed = dict(zip("dg", both_sides(tiny(contrastive=Contrastive(**{name: weight}))), strict=True))
    for side in "dg":
        expected = dict(full[side])
        if side in WEIGHTS[name]:
            amount = expected.pop(name)
            if weight:
                expected[name] = weight * amount
            difference = sum(full[side].values()) - sum(changed[side].values())
            torch.testing.assert_close(difference, (1 - weight) * amount, atol=1e-5, rtol=1e-5)
        assert changed[side] == expected


def test_without_contrastive_losses_only_the_adversarial_ones_remain() -> None:
    d, g = both_sides(tiny(contrastive=Contrastive(sentence=0, word=0, image=0)))
    assert list(d) == list(g) == ["adversarial"]


@pytest.mark.parametrize(("temperature", "symmetric"), [(0.1, True), (0.1, False), (0.5, True)])
def test_losses_compare_what_the_recipe_says(temperature: float, symmetric: bool) -> None:
    system = tiny(contrastive=Contrastive(temperature=temperature, symmetric=symmetric)).eval()
    batch = made_up_batch(32, NOISE_DIM)
    fake = system.generate(batch.text, batch.noise)
    judged = system.judge(batch, fake)
    (real, generated), (real_regions, regions) = judged.features.chunk(2), judged.regions.chunk(2)
    words, mask = batch.text.words, batch.text.mask
    d, g = system.joint_losses(batch, fake)
    assert d["sentence"] == pairwise(real, judged.sentence, temperature, symmetric=symmetric)
    assert g["sentence"] == pairwise(generated, judged.sentence, temperature, symmetric=symmetric)
    assert g["image"] == pairwise(real, generated, temperature, symmetric=symmetric)
    assert d["word"] == word_region(real_regions, words, mask, symmetric=symmetric)
    assert g["word"] == word_region(regions, words, mask, symmetric=symmetric)


def test_one_way_real_images_choose_among_generated_ones() -> None:
    """By a loop: of all generated images a real one should be most like its own."""
    system = tiny(contrastive=Contrastive(symmetric=False)).eval()
    batch = made_up_batch(32, NOISE_DIM)
    fake = system.generate(batch.text, batch.noise)
    real, generated = (x.detach().double() for x in system.judge(batch, fake).features.chunk(2))
    losses = []
    for own in range(len(real)):
        likeness = [float(F.cosine_similarity(real[own], other, dim=0)) / 0.1 for other in generated]
        losses.append(math.log(sum(math.exp(value) for value in likeness)) - likeness[own])
    assert system.g_losses(batch, fake)["image"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_contrastive_heads_lie_between_features_and_what_is_compared(layers: int) -> None:
    plain, deep = tiny(), tiny(contrastive=Contrastive(head_layers=layers))
    deep.load_state_dict(plain.state_dict(), strict=False)
    judge = deep.discriminator
    for head, width in ((judge.image_head, judge.logit.in_features), (judge.region_head, WORD_DIM)):
        dense = [layer for layer in head if isinstance(layer, SpectralLinear)]
        assert [(layer.in_features, layer.out_features) for layer in dense] == [(width, width)] * layers
        assert len(head) == max(0, 2 * layers - 1)  # rectified between, and not behind, them
    batch = made_up_batch(32, NOISE_DIM)
    ours, theirs = (system.eval().judge(batch, system.generate(batch.text, batch.noise)) for system in (deep, plain))
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.sentence, theirs.sentence)
    torch.testing.assert_close(ours.features, judge.image_head(theirs.features))
    torch.testing.assert_close(ours.regions, judge.region_head(theirs.regions))
    assert torch.equal(ours.features, theirs.features) == (layers == 0)
    if not layers:
        assert [*tiny().state_dict()] == [*deep.state_dict()]


def test_temperature_and_symmetry_are_felt() -> None:
    _, usual = both_sides(tiny())
    _, warm = both_sides(tiny(contrastive=Contrastive(temperature=1.0)))
    _, one_way = both_sides(tiny(contrastive=Contrastive(symmetric=False)))
    for name in ("sentence", "image"):
        assert abs(warm[name] - usual[name]) > 1e-3
    assert warm["word"] == usual["word"]  # has scales of its own
    for name in ("sentence", "image", "word"):
        assert 0 < one_way[name] < usual[name]


def test_one_pass_or_two_give_the_same_losses() -> None:
    system = tiny().eval()
    batch = made_up_batch(32, NOISE_DIM)
    fake = system.generate(batch.text, batch.noise)
    assert system.joint_losses(batch, fake) == (system.d_losses(batch, fake), system.g_losses(batch, fake))


# ---------------------------------------------------------------------------- gradients


def test_every_tensor_has_a_gradient_from_its_side() -> None:  # xmcgan.md 8.1, item 15
    system = tiny()
    batch = made_up_batch(32, NOISE_DIM)
    fake = system.generate(batch.text, batch.noise)
    d, _ = system.joint_losses(batch, fake.detach())
    sum(d.values()).backward()
    assert all(p.grad is None for p in system.generator.parameters())
    # The hinge moves the logit's bias by the active generated images less the active real ones: often zero.
    without = [n for n, p in system.discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(without) <= {"logit.bias"}
    assert system.discriminator.logit.bias.grad is not None

    system.zero_grad()
    _, g = system.joint_losses(batch, fake)
    sum(g.values()).backward(inputs=list(system.generator.parameters()))
    without = [n for n, p in system.generator.named_parameters() if p.grad is None or not p.grad.any()]
    # A constant added before a batch norm is taken away again: these biases may have no gradient.
    assert all(n.endswith((".conv0.bias", ".conv1.bias", ".shortcut.bias")) for n in without)
    assert all(p.grad is not None for p in system.generator.parameters())
    assert all(p.grad is None for p in system.discriminator.parameters())


def test_one_pass_is_one_power_iteration_of_every_layer() -> None:
    batch = made_up_batch(32, NOISE_DIM)
    system = tiny()
    fake = system.generate(batch.text, batch.noise)
    before = {n: u.clone() for n, u in system.discriminator.named_buffers()}
    system.joint_losses(batch, fake)
    layers = dict(system.discriminator.named_modules())
    for name, u in system.discriminator.named_buffers():
        expected = spectral_normalise(layers[name.removesuffix(".u")].weight, before[name])[1]
        assert torch.equal(u, expected) and not u.requires_grad


# ---------------------------------------------------------------------------- two processes


def losses_and_gradients(system: XMCGAN, rank: int | None) -> dict[str, Tensor]:
    for module in system.modules():
        if isinstance(module, BatchNorm):
            module.synchronised = rank is not None
    batch = made_up_batch(32, NOISE_DIM, images=8)
    if rank is not None:
        batch = half(batch, rank)
    fake = system.generate(batch.text, batch.noise)
    d, g = system.joint_losses(batch, fake)
    sum(d.values()).backward(inputs=list(system.discriminator.parameters()), retain_graph=True)
    sum(g.values()).backward(inputs=list(system.generator.parameters()))
    gradients = {n: p.grad for n, p in system.named_parameters()}
    losses = {f"{side}/{n}": v.detach() for side, all_of in (("d", d), ("g", g)) for n, v in all_of.items()}
    return losses | gradients | dict(system.named_buffers())


def one_of_two(rank: int) -> dict[str, Tensor]:
    return losses_and_gradients(tiny(negatives="global"), rank)


def test_two_processes_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    first, second = in_two_processes(one_of_two, tmp_path)
    whole = losses_and_gradients(tiny(), None)
    assert whole.keys() == first.keys()
    for name, expected in whole.items():
        mean = (first[name] + second[name]) / 2
        torch.testing.assert_close(mean, expected, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
