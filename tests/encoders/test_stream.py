"""STREAM: reference numbers of MirrorGAN's released code, and what a captioner should do."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from made_up import made_up_batch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torchvision.models.resnet import Bottleneck

from t2icli.batch import Pairs
from t2icli.encoders._bleu import bleu
from t2icli.encoders._files import WEIGHTS, load_encoder, save_encoder
from t2icli.encoders.stream import STREAM, Config, FrozenResNet, build
from t2icli.errors import EnvironmentFault
from t2icli.recipe_files import load_encoder_recipe
from t2icli.training.pretraining import pretrain
from t2icli.vocabulary import Vocabulary, words_of
from t2icli.weights import Weights

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "stream.json").read_text())
BIRDS = Vocabulary(f"word{number}" for number in range(1, 5450))
WORDS = Vocabulary(["a", "red", "bus", "on", "the", "street", "blue", "dog", "sea", "and", "more"])
CAPTIONS = ("a red bus on the street", "the sea", "a blue dog")


def small(**keys: Any) -> STREAM:
    keys = {"network": "small", "small_channels": 4, "embedding_dim": 12, "hidden_dim": 16} | keys
    torch.manual_seed(0)
    return build(Config(schedule={"images": 100}, **keys), WORDS).eval()


def pairs(captions: tuple[str, ...] = CAPTIONS, size: int = 32) -> Pairs:
    image = made_up_batch(size, 8, images=len(captions)).image
    return Pairs(image, captions, torch.full((len(captions),), -1))


# ---------------------------------------------------------------------------- reference numbers


def hashed(shape: tuple[int, ...], phase: int) -> Tensor:
    """The rule that fills every tensor of the reference: numbers in [-0.5, 0.5)."""
    x = np.sin(12.9898 * np.arange(1, math.prod(shape) + 1, dtype=np.float64) + phase) * 43758.5453
    return torch.from_numpy((x - np.floor(x) - 0.5).reshape(shape))


def filling(key: str, shape: tuple[int, ...]) -> Tensor:
    """A weight of the reference, by its official name."""
    x = hashed(shape, sum(key.encode()) % 97)
    if len(shape) > 1:
        return (x * math.sqrt(12 * shape[0] / math.prod(shape))).float()
    return (1 + 0.2 * x if key.endswith(".weight") else 0.2 * x).float()


def official(key: str) -> str:
    """A tensor's name in MirrorGAN's files."""
    part, _, rest = key.partition(".")
    if part == "decoder":
        return rest.replace("embedding", "embed")
    number = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    if rest.startswith("backbone."):
        _, child, rest = rest.split(".", 2)
        return f"resnet.{number[child]}.{rest}"
    return rest.replace("norm.", "bn.")


@pytest.fixture(scope="module")
def golden() -> tuple[STREAM, Tensor, Tensor, Tensor]:
    """A decoder of MirrorGAN's size filled by the rule; a feature, captions and their lengths."""
    model = build(Config(network="small", schedule={"images": 1}), BIRDS).eval()
    for key, tensor in model.decoder.state_dict().items():
        tensor.copy_(filling(official(f"decoder.{key}"), tuple(tensor.shape)))
    lengths = torch.tensor([12, 9, 5])
    ids = (7 * torch.arange(3)[:, None] + 13 * torch.arange(12)) % 5449 + 1
    ids = ids * (torch.arange(12) < lengths[:, None])
    return model, 2 * hashed((3, 256), 27).float(), ids, lengths


@torch.no_grad()
def test_logits_are_those_of_the_reference(golden: tuple[STREAM, Tensor, Tensor, Tensor]) -> None:
    model, feature, ids, lengths = golden
    logits = model.decoder.linear(model.decoder(feature, ids))
    packed, expected = pack_padded_sequence(logits, lengths, batch_first=True).data, REFERENCE["logits_packed"]
    assert list(packed.shape) == expected["shape"]
    torch.testing.assert_close(packed.flatten()[:5], torch.tensor(expected["first5"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(packed.flatten()[-3:], torch.tensor(expected["last3"]), atol=1e-5, rtol=0)
    assert packed.double().abs().sum().item() == pytest.approx(expected["abssum"], rel=1e-6)
    assert packed.double().std(correction=0).item() == pytest.approx(expected["std"], rel=1e-5)


@torch.no_grad()
def test_cross_entropy_is_that_of_the_reference(golden: tuple[STREAM, Tensor, Tensor, Tensor]) -> None:
    model, feature, ids, lengths = golden
    losses = model.decoder.word_losses(feature, ids, lengths)
    assert losses.shape == (26,)
    assert losses.mean().item() == pytest.approx(REFERENCE["cross_entropy"], abs=1e-5)


@torch.no_grad()
def test_greedy_words_are_those_of_the_reference(golden: tuple[STREAM, Tensor, Tensor, Tensor]) -> None:
    model, feature, _, _ = golden
    assert model.decoder.greedy(feature, 20).tolist() == REFERENCE["greedy"]


def test_captions_by_their_words_give_the_same(golden: tuple[STREAM, Tensor, Tensor, Tensor]) -> None:
    model, feature, ids, _ = golden
    model.image.forward = lambda images: feature
    captions = [model.vocabulary.write(row) for row in ids.tolist()]
    with torch.no_grad():
        losses = model.word_losses(torch.zeros(3, 3, 8, 8), captions)
    assert losses.mean().item() == pytest.approx(REFERENCE["cross_entropy"], abs=1e-5)


def test_names_shapes_and_counts_are_those_of_the_reference() -> None:
    with torch.device("meta"):
        model = build(Config(schedule={"images": 1}), BIRDS)
    parts = {"caption_cnn": model.image, "caption_rnn": model.decoder}
    for (name, part), prefix in zip(parts.items(), ("image", "decoder"), strict=True):
        ours = [(official(f"{prefix}.{key}"), list(tensor.shape)) for key, tensor in part.state_dict().items()]
        assert ours == list(REFERENCE["shapes"][name].items())
        every = [parameter.numel() for parameter in part.parameters()]
        learning = [parameter.numel() for parameter in part.parameters() if parameter.requires_grad]
        assert [sum(every), sum(learning)] == REFERENCE["counts"][name]


# ---------------------------------------------------------------------------- the image's side


def short_resnet(weights: None) -> nn.Module:
    """A ResNet of ResNet-152's kind with one block a level."""
    return torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1])


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The short ResNet in place of ResNet-152; gives a file of weights for it."""
    monkeypatch.setattr("torchvision.models.resnet152", short_resnet)
    torch.manual_seed(1)
    path = tmp_path / "resnet152.pth"
    torch.save(short_resnet(None).state_dict(), path)
    return path


@pytest.mark.slow
def test_resnet_is_torchvisions() -> None:
    torch.manual_seed(0)
    network, theirs = FrozenResNet(False, None), torchvision.models.resnet152(weights=None).eval()
    for module in theirs.modules():  # statistics that differ from layer to layer
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.5)
    theirs.fc = nn.Identity()
    network.load_state_dict(theirs.state_dict())
    images = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        seen, whole = network(images)
        expected = theirs(F.interpolate(images, (224, 224), mode="bilinear", align_corners=False))
    assert seen.shape == (1, 2048, 7, 7)
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)


def test_images_are_normalised_only_where_asked(short: Path) -> None:
    weights = Weights([f"resnet152={short}"])
    plain, normal = FrozenResNet(False, weights), FrozenResNet(True, weights)
    images = torch.rand(2, 3, 64, 64)
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        torch.testing.assert_close(normal(images * 2 - 1)[1], plain(normalise(images))[1], atol=1e-4, rtol=1e-4)


def test_weights_are_found_by_name_and_recorded(short: Path, tmp_path: Path) -> None:
    config = Config(embedding_dim=8, hidden_dim=8, schedule={"images": 1})
    model = build(config, WORDS, Weights([f"resnet152={short}"]))
    (found,) = model.used
    assert (found.name, found.published) == ("resnet152", False)
    torch.testing.assert_close(model.image.backbone.conv1.weight, torch.load(short)["conv1.weight"])
    other = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, other)
    with pytest.raises(EnvironmentFault, match=r"other\.pth: is no state dict of torchvision's resnet152: Missing key"):
        build(config, WORDS, Weights([f"resnet152={other}"]))


def test_resnet_stays_as_it_is(short: Path) -> None:
    config = Config(embedding_dim=8, hidden_dim=8, schedule={"images": 1})
    model = build(config, WORDS, Weights([f"resnet152={short}"])).train()
    before = {name: value.clone() for name, value in model.image.backbone.state_dict().items()}
    (phase,) = model.phases()
    learning = {id(parameter) for parameter in phase.parameters}
    assert learning == {id(p) for p in model.parameters()} - {id(p) for p in model.image.backbone.parameters()}
    optimizer = phase.optimizer(phase.parameters)
    phase.losses(pairs())["caption"].backward(inputs=list(phase.parameters))
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.image.backbone.state_dict().items())
    assert model.image.norm.running_mean.abs().sum() > 0  # this one follows the data, by a hundredth a step
    assert model.image.norm.momentum == 0.01


# ---------------------------------------------------------------------------- words


@torch.no_grad()
def test_captions_of_different_lengths_do_not_disturb_each_other() -> None:
    model, batch = small(), pairs()
    together = model.word_losses(batch.image, batch.captions)
    alone = [model.word_losses(batch.image[i : i + 1], [caption]) for i, caption in enumerate(CAPTIONS)]
    assert [len(losses) for losses in alone] == [6, 2, 3]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_word_is_foretold_from_the_image_and_the_words_before_it() -> None:
    model, batch = small(), pairs()
    (first, *rest) = model.word_losses(batch.image[:1], ["a red bus"])
    (same, *others) = model.word_losses(batch.image[:1], ["a blue dog"])
    assert first == same and rest != others
    _, second, changed = model.word_losses(batch.image[:1], ["a red dog"])
    assert second == rest[0] and changed != rest[1]
    assert model.word_losses(batch.image[1:2], ["a red bus"])[0] != first


@torch.no_grad()
def test_end_is_one_more_word() -> None:
    model, batch = small(), pairs()
    plain, ended = (model.word_losses(batch.image, batch.captions, end) for end in (False, True))
    assert len(ended) == len(plain) + len(CAPTIONS)
    torch.testing.assert_close(ended[:6], plain[:6])
    assert model.losses(batch)["caption"] == ended.mean()
    assert small(end_token=False).losses(batch)["caption"] == plain.mean()


@torch.no_grad()
def test_caption_without_known_words_is_an_end() -> None:
    model, batch = small(), pairs(("xylophone", "the sea"))
    plain, ended = (model.word_losses(batch.image, batch.captions, end) for end in (False, True))
    assert (len(plain), len(ended)) == (3, 4)
    assert plain[0] == ended[0]


@torch.no_grad()
def test_greedy_words_are_the_likeliest_after_those_before_them() -> None:
    model, batch = small(), pairs()
    features = model.image(batch.image)
    ids = model.decoder.greedy(features, 9)
    assert ids.shape == (3, 9)
    assert torch.equal(model.decoder.linear(model.decoder(features, ids)).argmax(-1), ids)


def test_descriptions_are_words_up_to_the_end() -> None:
    model, batch = small(), pairs()
    with torch.no_grad():
        model.decoder.linear.weight.zero_()
        model.decoder.linear.bias.copy_(F.one_hot(torch.tensor(2), len(WORDS)))
        assert model.describe(batch.image) == [" ".join(["red"] * 20)] * 3
        assert model.describe(batch.image, words=2) == ["red red"] * 3
        model.decoder.linear.bias.copy_(F.one_hot(torch.tensor(0), len(WORDS)))
    assert model.describe(batch.image) == [""] * 3


# ---------------------------------------------------------------------------- learning and measuring


@pytest.mark.parametrize("end_token", [False, True])
def test_perplexity_of_knowing_nothing_is_the_number_of_words(end_token: bool) -> None:
    model = small(end_token=end_token)
    with torch.no_grad():
        model.decoder.linear.weight.zero_()
        model.decoder.linear.bias.zero_()
    measures = model.validate([pairs(), pairs(CAPTIONS[:1])])
    assert measures["perplexity"] == pytest.approx(len(WORDS), rel=1e-6)


def test_perplexity_is_of_all_words_together() -> None:
    model = small()
    parts = [pairs(), pairs(("a dog on the street and more",))]
    with torch.no_grad():
        losses = torch.cat([model.word_losses(part.image, part.captions, end=True) for part in parts])
    assert model.validate(parts)["perplexity"] == pytest.approx(losses.mean().exp().item(), rel=1e-6)


def test_learns_captions_by_heart() -> None:
    model, batch = small().train(), pairs()
    (phase,) = model.phases()
    assert (phase.name, phase.images, phase.rate(0, 10), phase.rate(90, 10)) == ("captioning", 100, 1e-3, 1e-3)
    optimizer = phase.optimizer(phase.parameters)
    assert optimizer.defaults["lr"] == 1e-3
    optimizer.param_groups[0]["lr"] = 1e-2
    losses = []
    for _ in range(60):
        (loss,) = phase.losses(batch).values()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    described = model.describe(batch.image)
    assert described == list(CAPTIONS)
    model.eval()
    expected = bleu([words_of(text) for text in model.describe(batch.image)], [words_of(text) for text in CAPTIONS])
    assert model.validate([batch])["bleu4"] == expected


def test_modes() -> None:
    """cuDNN gives gradients to an LSTM's input in training mode alone, and captioners are asked for them frozen."""
    model = small()
    assert model.decoder.lstm.training and not model.training and not model.image.norm.training
    assert model.decoder.lstm.num_layers == 1 and model.decoder.lstm.dropout == 0
    assert model.train().image.norm.training


def test_file_gives_the_same_captioner(tmp_path: Path) -> None:
    model, batch = small(), pairs()
    save_encoder(tmp_path / "stream.safetensors", "stream", model)
    again, header = load_encoder(tmp_path / "stream.safetensors", "stream")
    assert isinstance(again, STREAM) and header["encoder"] == "stream"
    assert again.describe(batch.image) == model.describe(batch.image)
    assert torch.equal(again.word_losses(batch.image, CAPTIONS), model.word_losses(batch.image, CAPTIONS))


def test_tiny_recipe_trains(tiny_shards: Path, tmp_path: Path) -> None:
    recipe = load_encoder_recipe("tiny/stream", [f"data.shards={tiny_shards}"])
    pretrain(recipe, tmp_path / "run")
    captioner, header = load_encoder(tmp_path / "run", "stream")
    assert (tmp_path / "run" / WEIGHTS).is_file() and header["images"] == 32
    assert set(header["held_out"]) == {"perplexity", "bleu4"}
    assert isinstance(captioner, STREAM) and len(captioner.vocabulary) > 10
