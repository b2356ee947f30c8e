"""AttnGAN and MirrorGAN against numbers from their released code (tests/reference/attngan*)."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from attngan_family import REFERENCE, captions, facts, filled, same, tensor
from torch import Tensor, nn

from t2icli import registry
from t2icli.batch import Batch, Fake, Text
from t2icli.encoders._words import WordEncoder, WordsConfig
from t2icli.errors import DataError
from t2icli.released import COUNTER, Released, renamed
from t2icli.setting import Setting
from t2icli.systems import _staged
from t2icli.systems._staged import DISCRIMINATOR_NAMES, StagedSystem
from t2icli.vocabulary import Vocabulary

MODULES = {"attngan": "attn_bird_netG", "mirrorgan": "mir_bird_netG"}


def imported(name: str, files: list[Released], **changes: str) -> StagedSystem:
    module = registry.load("t2icli.systems", name)
    found = module.import_released(files)
    system = module.build(module.Config(**found.model, **changes), Setting(found.image_size, found.word_dim))
    for part, state in found.networks.items():
        getattr(system, part).load_state_dict(state)
    return system.eval()


# ---------------------------------------------------------------------------- small networks of the released code


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in np.load(REFERENCE / "attngan_gf2.npz").items()}


@pytest.fixture(scope="module", params=["", "module."])
def small(request: pytest.FixtureRequest) -> StagedSystem:
    files = []
    for part in ("netD2", "netG", "netD0", "netD1"):  # in no order
        state = torch.load(REFERENCE / f"attngan_gf2.{part}.pth", weights_only=True)
        files.append(Released(Path(f"{part}.pth"), {request.param + name: value for name, value in state.items()}))
    return imported("attngan", files)


def text_of(golden: dict[str, Tensor], ending: str = "") -> Text:
    tokens = golden[f"captions{ending}"]
    words = golden[f"words{ending}"].transpose(1, 2)
    return Text(words, golden[f"sent{ending}"], tokens != 0, tokens)


@torch.no_grad()
def test_images_attention_and_conditions(small: StagedSystem, golden: dict[str, Tensor]) -> None:
    fake = small.generate(text_of(golden), torch.cat([golden["z"], golden["ca_eps"]], 1))
    near = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(fake.images[0], golden["img64"], **near)
    torch.testing.assert_close(fake.images[1][:1], golden["img128"], **near)
    torch.testing.assert_close(fake.images[2][:1], golden["img256"], **near)
    torch.testing.assert_close(fake.extras["attention128"], golden["att128"], **near)
    for name in ("mu", "logvar"):
        torch.testing.assert_close(fake.extras[name], golden[name], **near)
    for number, (judge, image) in enumerate(zip(small.judges(), fake.images, strict=True)):
        features = judge(image)
        fits = judge.fits(features, golden["sent"]).sigmoid()
        torch.testing.assert_close(fits, golden[f"d{number}_cond_prob"].flatten(), **near)
        torch.testing.assert_close(judge.real(features).sigmoid(), golden[f"d{number}_uncond_prob"].flatten(), **near)


@torch.no_grad()
def test_a_padded_caption_alone(small: StagedSystem, golden: dict[str, Tensor]) -> None:
    noise = torch.cat([golden["z"][:1], golden["ca_eps"][:1]], 1)
    fake = small.generate(text_of(golden, "_padded"), noise)
    torch.testing.assert_close(fake.images[0], golden["img64_padded"], atol=1e-5, rtol=0)
    torch.testing.assert_close(fake.images[2], golden["img256_padded"], atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------- full width


@pytest.fixture(scope="module")
def text() -> Text:
    state = renamed(filled("attn_bird_text_encoder"), ((r"^encoder\.", "embedding."), (r"^rnn\.", "lstm.")))
    encoder = WordEncoder(WordsConfig(), Vocabulary(f"w{i}" for i in range(5449)))
    encoder.load_state_dict(state)
    ids, lengths = captions()
    with torch.no_grad():
        return encoder.eval()(ids[:, :12], lengths)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_full_width_images(name: str, text: Text) -> None:
    expected = facts()["golden"][name]
    files = [Released(Path("netG.pth"), filled(MODULES[name]))]
    noise = torch.cat([tensor((3, 100), 3), torch.zeros(3, 100)], 1)
    as_released = imported(name, files, padded_words="as_released").generate(text, noise)
    right = imported(name, files).generate(text, noise)
    for number, key in enumerate(("G.img0_B3", "G.img1_B3", "G.img2_B3")):
        same(as_released.images[number], expected[key])
    same(as_released.extras["attention128"], expected["G.att0_B3"])
    same(as_released.extras["attention256"], expected["G.att1_B3"])
    same(as_released.extras["mu"], expected["G.mu"])
    same(as_released.extras["logvar"], expected["G.logvar"])
    if "G.img2_B3_fixed" in expected:
        same(right.images[2], expected["G.img2_B3_fixed"])
    for number in range(3):  # a caption alone is masked rightly by both
        same(right.images[2][number : number + 1], expected[f"G.img2_sample{number}_alone"])
    worst = float((right.images[2] - as_released.images[2]).abs().max())
    assert worst == pytest.approx(max(expected[f"maskbug.max_abs_diff_sample{i}"] for i in range(3)), abs=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_full_width_discriminators_and_losses(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = facts()["golden"]["attngan"]
    files = [Released(Path("netG.pth"), filled("attn_bird_netG"))]
    files += [Released(Path(f"netD{i}.pth"), filled(f"attn_bird_netD{i}")) for i in range(3)]
    system = imported("attngan", files)
    real = {64 << i: tensor((3, 3, 64 << i, 64 << i), 5 + i) for i in range(3)}
    generated = tuple(tensor((3, 3, 64 << i, 64 << i), 15 + i) for i in range(3))
    for number, judge in enumerate(system.judges()):
        features = judge(real[64 << number])
        same(features, expected[f"D{number}.feat"])
        same(judge.fits(features, text.sentence).sigmoid(), expected[f"D{number}.cond"])
        same(judge.real(features).sigmoid(), expected[f"D{number}.uncond"])
    monkeypatch.setattr(_staged, "at_size", lambda images, size: real[size])  # theirs are not one image at three sizes
    batch = Batch(real[256], text, torch.zeros(3, 200), ("",) * 3, torch.tensor([1, 2, 3]))
    fake = Fake(generated, {"mu": tensor((3, 100), 25), "logvar": tensor((3, 100), 26)})
    d, g = system.d_losses(batch, fake), system.g_losses(batch, fake)
    for number in range(3):
        assert float(d[f"stage{64 << number}"]) == pytest.approx(expected[f"lossD{number}"], rel=1e-5)
    assert float(g["kl"]) == pytest.approx(expected["KL"], rel=1e-5)
    logged = dict(re.findall(r"(\w+): (\S+)", expected["lossG_log"]))
    for number in range(3):
        assert float(g[f"stage{64 << number}"]) == pytest.approx(float(logged[f"g_loss{number}"]), abs=0.006)
    mirrored = facts()["golden"]["mirrorgan"]  # the same discriminators, and all digits
    stages = mirrored["lossG_lambda1_10"] - 10 * mirrored["cap.ce"]
    assert sum(float(g[f"stage{64 << number}"]) for number in range(3)) == pytest.approx(stages, abs=1e-4)


# ---------------------------------------------------------------------------- names and counts


def tensors_of(module: str) -> dict[str, list[int]]:
    return {name: shape for name, shape in facts()["shapes"][module].items() if not name.endswith(COUNTER)}


def shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "module", "channels", "judged", "blocks"),
    [("attngan", "attn_bird", 32, 64, 2), ("attngan", "attn_coco", 48, 96, 3), ("mirrorgan", "mir_bird", 32, 64, 2)],
)
def test_parameters_and_names(name: str, module: str, channels: int, judged: int, blocks: int) -> None:
    system_module = registry.load("t2icli.systems", name)
    config = system_module.Config(generator_channels=channels, discriminator_channels=judged, residual_blocks=blocks)
    with torch.device("meta"):
        system = system_module.build(config, Setting(256, 256))
    rules = getattr(system_module, "NAMES", _staged.GENERATOR_NAMES)
    assert shapes(system.generator) == renamed(tensors_of(f"{module}_netG"), rules)
    assert sum(p.numel() for p in system.generator.parameters()) == facts()["counts"][f"{module}_netG"]["params"]
    if name == "attngan":
        for number, judge in enumerate(system.judges()):
            official = f"{module}_netD{number}"
            assert shapes(judge) == renamed(tensors_of(official), DISCRIMINATOR_NAMES)
            assert sum(p.numel() for p in judge.parameters()) == facts()["counts"][official]["params"]


def dcgan_tensors() -> dict[str, list[int]]:
    """Official names of AttnDCGAN: AttnGAN's without residual blocks, and with one image."""
    left = {n: s for n, s in tensors_of("attn_bird_netG").items() if ".residual." not in n and "img_net" not in n}
    return left | {"img_net.img.0.weight": [3, 32, 3, 3]}


def test_attndcgan_is_imported_and_has_its_published_counts() -> None:
    judge = {n: torch.empty(s) for n, s in tensors_of("attn_bird_netD2").items() if not n.startswith("UNCOND")}
    generator = {name: torch.empty(shape) for name, shape in dcgan_tensors().items()}
    module = registry.load("t2icli.systems", "attndcgan")
    found = module.import_released([Released(Path("bird_AttnDCGAN2.pth"), generator), Released(Path("D.pth"), judge)])
    assert (found.model["stages"], found.model["residual_blocks"], found.image_size) == (3, 0, 256)
    assert not {"adversarial", "kl_weight"} & found.model.keys()
    with torch.device("meta"):
        system = module.build(module.Config(**found.model), Setting(found.image_size, found.word_dim))
    for part, published in (("generator", 6_638_960), ("discriminator", 71_850_753)):
        network = getattr(system, part)
        assert shapes(network) == {name: list(value.shape) for name, value in found.networks[part].items()}
        assert sum(p.numel() for p in network.parameters()) == published


# ---------------------------------------------------------------------------- files that are something else


def meta(module: str, **changes: list[int]) -> Released:
    tensors = {name: torch.empty(shape, device="meta") for name, shape in (tensors_of(module) | changes).items()}
    return Released(Path(f"{module}.pth"), tensors)


def test_other_files_are_refused_by_name() -> None:
    attngan, mirrorgan = (registry.load("t2icli.systems", name).import_released for name in MODULES)
    with pytest.raises(DataError, match="is a generator of MirrorGAN"):
        attngan([meta("mir_bird_netG")])
    with pytest.raises(DataError, match="is a generator of AttnGAN; wanted for mirrorgan is a generator of MirrorGAN"):
        mirrorgan([meta("attn_bird_netG")])
    with pytest.raises(DataError, match="is a generator of DM-GAN"):
        attngan([meta("attn_bird_netG", **{"h_net2.A.weight": [1, 256]})])
    with pytest.raises(
        DataError, match="neither a generator nor a discriminator of attngan, but a text encoder of DAMSM"
    ):
        attngan([meta("attn_bird_text_encoder")])
    with pytest.raises(DataError, match=r"generator \(netG\*\.pth\): exactly one is imported, and 0 were found"):
        attngan([meta("attn_bird_netD0")])
    with pytest.raises(DataError, match=r"is no generator in stages: it lacks 'img_net1.img.0.weight'"):
        attngan([Released(Path("other.pth"), {"ca_net.fc.weight": torch.empty(400, 256)})])
    dcgan = {"img_net.img.0.weight": torch.empty(3, 32, 3, 3), "h_net1.fc.0.weight": torch.empty(3, 32)}
    with pytest.raises(DataError, match=r"is a generator of AttnDCGAN"):
        attngan([Released(Path("other.pth"), {"ca_net.fc.weight": torch.empty(400, 256), **dcgan})])
    attndcgan = registry.load("t2icli.systems", "attndcgan").import_released
    with pytest.raises(DataError, match=r"is a generator of AttnGAN; wanted for attndcgan is a generator of AttnDCGAN"):
        attndcgan([meta("attn_bird_netG")])
    with pytest.raises(DataError, match=r"is a generator of StackGAN\+\+"):
        attngan([meta("attn_bird_netG", **{"h_net2.jointConv.0.weight": [128, 192, 3, 3]})])
    with pytest.raises(DataError, match=r"judges images of 128 px, and so does attn_bird_netD1.pth"):
        again = Released(Path("again.pth"), meta("attn_bird_netD1").content)
        attngan([meta("attn_bird_netG"), meta("attn_bird_netD1"), again])
    with pytest.raises(DataError, match="3 are needed"):
        attngan([meta("attn_bird_netG"), meta("attn_bird_netD1")])
    with pytest.raises(DataError, match=r"to_images.0.0.weight is \(3, 32, 5, 5\), should be \(3, 32, 3, 3\)"):
        attngan([meta("attn_bird_netG", **{"img_net1.img.0.weight": [3, 32, 5, 5]})])
    with pytest.raises(DataError, match="has surprise, which is not known"):
        attngan([meta("attn_bird_netG", surprise=[1])])
