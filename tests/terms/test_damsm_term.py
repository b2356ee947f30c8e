"""The loss through a frozen DAMSM."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from pydantic import ValidationError
from torch import Tensor

from t2icli.batch import Batch, Fake
from t2icli.encoders import damsm, vlm, words
from t2icli.encoders._files import save_encoder
from t2icli.errors import DataError, RecipeError
from t2icli.losses.matching import sentence_losses, word_losses
from t2icli.recipe_files import load_recipe
from t2icli.setting import Setting
from t2icli.terms.damsm import Config, DAMSMTerm, build
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

VOCABULARY = Vocabulary(["a", "red", "bus", "on", "the", "street", "blue", "dog", "sea", "and", "more"])
SIZES: dict[str, Any] = {"backbone": "small", "small_channels": 4, "dim": 8, "embedding_dim": 6}


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DAMSM whose batch norms have seen something."""
    torch.manual_seed(0)
    model = damsm.build(damsm.Config(**SIZES), VOCABULARY, None)
    for seed in range(20):
        model.train().image(made_up_batch(32, 8, images=8, seed=seed).image)
    path = tmp_path_factory.mktemp("matcher") / "damsm.safetensors"
    save_encoder(path, "damsm", model)
    return path


def make(matcher: Path, **keys: Any) -> DAMSMTerm:
    return build(Config(matcher=matcher, **keys), Setting(32, WORD_DIM), Weights())


def batch_and_image() -> tuple[Batch, Tensor]:
    return made_up_batch(32, 8), made_up_batch(32, 8, seed=50).image


# ---------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("part", ["word", "sentence"])
def test_each_part_moves_generated_images_only(part: str, matcher: Path) -> None:
    batch, image = batch_and_image()
    batch.image.requires_grad_()
    coarse, image = torch.randn(4, 3, 8, 8, requires_grad=True), image.requires_grad_()
    term = make(matcher, **{"word": 0, "sentence": 0} | {part: 1})
    losses = term(batch, Fake((coarse, image)))
    assert list(losses) == [part]
    assert losses[part].ndim == 0 and losses[part].isfinite() and losses[part] > 0
    losses[part].backward()
    assert image.grad is not None and image.grad.isfinite().all()
    assert (image.grad.flatten(1).abs().sum(1) > 0).all()
    assert batch.image.grad is None and coarse.grad is None
    assert all(p.grad is None and not p.requires_grad for p in term.parameters())


def test_following_the_gradient_lowers_the_loss(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    image.requires_grad_()
    before = sum(term(batch, Fake((image,))).values())
    (gradient,) = torch.autograd.grad(before, image)
    with torch.no_grad():
        assert sum(term(batch, Fake((image - 0.1 * gradient / gradient.norm(),))).values()) < before


# ---------------------------------------------------------------------------- values


@torch.no_grad()
def test_values_are_those_of_the_losses(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    text, (regions, whole) = term.matcher.text.read(batch.captions), term.matcher.read_images(image)
    found = term(batch, Fake((image,)))
    torch.testing.assert_close(found["word"], sum(word_losses(regions, text.words, text.mask, (4.0, 5.0, 10.0))))
    torch.testing.assert_close(found["sentence"], sum(sentence_losses(whole, text.sentence, 10.0)))
    sharper = make(matcher, gammas=(5, 6, 20))(batch, Fake((image,)))
    torch.testing.assert_close(sharper["word"], sum(word_losses(regions, text.words, text.mask, (5.0, 6.0, 20.0))))
    torch.testing.assert_close(sharper["sentence"], sum(sentence_losses(whole, text.sentence, 20.0)))


@torch.no_grad()
def test_losses_of_features_made_by_hand(matcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole images that are the vectors of their sentences, then those of the next image's."""
    term, (batch, image) = make(matcher, word=0), batch_and_image()
    text = replace(term.matcher.text.read(batch.captions), sentence=torch.eye(4))
    monkeypatch.setattr(term.matcher.text, "read", lambda captions: text)
    right, wrong = math.log(math.exp(10) + 3) - 10, math.log(math.exp(10) + 3)
    for whole, expected in ((torch.eye(4), right), (torch.eye(4).roll(1, 0), wrong)):
        monkeypatch.setattr(term.matcher, "read_images", lambda images, found=whole: (None, found))
        assert float(term(batch, Fake((image,)))["sentence"]) == pytest.approx(2 * expected, abs=1e-5)


@torch.no_grad()
def test_weights_scale(matcher: Path) -> None:
    batch, image = batch_and_image()
    plain = make(matcher)(batch, Fake((image,)))
    scaled = make(matcher, weight=2, word=3, sentence=5)(batch, Fake((image,)))
    torch.testing.assert_close(scaled, {"word": 6 * plain["word"], "sentence": 10 * plain["sentence"]})


@torch.no_grad()
def test_images_of_one_class_are_no_negatives(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    every = term(replace(batch, classes=torch.full((4,), 7)), Fake((image,)))
    assert every == {"word": 0, "sentence": 0}  # nothing is left to be confused with
    none, some = term(batch, Fake((image,))), term(replace(batch, classes=torch.tensor([7, 1, 7, 2])), Fake((image,)))
    assert some["word"] < none["word"] and some["sentence"] < none["sentence"]
    different = term(replace(batch, classes=torch.arange(4)), Fake((image,)))
    assert different == none


# ---------------------------------------------------------------------------- the frozen matcher


@torch.no_grad()
def test_nothing_is_looked_at_for_weights_of_zero(matcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damsm.DAMSM, "read_images", None)
    batch, image = batch_and_image()
    assert make(matcher, word=0, sentence=0)(batch, Fake((image,))) == {}


@torch.no_grad()
def test_matcher_stays_as_it_was(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    before = {name: value.clone() for name, value in term.state_dict().items()}
    assert not any(module.training for module in term.train().modules())
    first, second = term(batch, Fake((image,))), term(batch, Fake((image,)))
    assert first == second  # nothing is dropped
    assert all(torch.equal(value, before[name]) for name, value in term.state_dict().items())


@torch.no_grad()
def test_finest_image_is_looked_at_in_float32(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    expected = term(batch, Fake((image,)))
    assert term(batch, Fake((torch.randn(4, 3, 8, 8), image))) == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert term(batch, Fake((image,))) == expected


@torch.no_grad()
def test_a_vlm_serves_as_well(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = vlm.build(vlm.Config(depth=1, heads=2, feedforward=8, **SIZES), VOCABULARY, None)
    save_encoder(tmp_path / "vlm.safetensors", "vlm", model)
    term, (batch, image) = make(tmp_path / "vlm.safetensors"), batch_and_image()
    assert set(term(batch, Fake((image,)))) == {"word", "sentence"}
    assert term.used[0].name == "vlm"


def test_files_and_keys_that_do_not_serve(matcher: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such encoder; train one with t2i pretrain-encoders"):
        make(tmp_path / "nothing")
    save_encoder(tmp_path / "words.safetensors", "words", words.build(words.Config(dim=8), VOCABULARY))
    with pytest.raises(RecipeError, match="a words is no matcher"):
        make(tmp_path / "words.safetensors")
    with pytest.raises(RecipeError, match=r"terms\.damsm\.matcher: missing .run or file of a DAMSM"):
        load_recipe("tiny/dfgan", ["terms.damsm.weight=1"])
    with pytest.raises(ValidationError, match="greater than 0"):
        make(matcher, gammas=(4, 5, 0))
