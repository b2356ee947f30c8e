"""The six losses through a frozen VLM."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from torch import Tensor, nn

from t2icli import registry
from t2icli.batch import Batch, Fake
from t2icli.encoders import damsm
from t2icli.encoders import vlm as matchers
from t2icli.encoders._files import save_encoder
from t2icli.errors import DataError, RecipeError
from t2icli.losses.matching import both_ways
from t2icli.losses.vision_language import global_scores, visual_scores
from t2icli.recipe_files import load_recipe
from t2icli.setting import Setting
from t2icli.terms.vlm import Config, VLMTerm, build
from t2icli.training.trainer import build as build_trainer
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

VOCABULARY = Vocabulary(["a", "red", "bus", "on", "the", "street", "blue", "dog", "sea", "and", "more"])
SIZES: dict[str, Any] = {"backbone": "small", "small_channels": 4, "dim": 8, "embedding_dim": 6}
PARTS = ("local", "global", "general", "visual_local", "visual_global", "visual_general")
LEVELS = {"local": "local", "overall": "global", "general": "general"}  # keys, and what their losses are called
each_part = pytest.mark.parametrize("part", PARTS)


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VLM whose batch norms have seen something."""
    torch.manual_seed(0)
    model = matchers.build(matchers.Config(depth=1, heads=2, feedforward=8, **SIZES), VOCABULARY, None)
    for seed in range(20):
        model.train().image(made_up_batch(32, 8, images=8, seed=seed).image)
    path = tmp_path_factory.mktemp("matcher") / "vlm.safetensors"
    save_encoder(path, "vlm", model)
    return path


def make(matcher: Path, **keys: Any) -> VLMTerm:
    return build(Config(matcher=matcher, **keys), Setting(32, WORD_DIM), Weights())


def only(matcher: Path, part: str, **keys: Any) -> VLMTerm:
    """The term with one of its six parts."""
    weights = {"text_visual": float("visual" not in part), "visual_visual": float("visual" in part)}
    weights |= {key: float(part.endswith(name)) for key, name in LEVELS.items()}
    return make(matcher, **weights, **keys)


def batch_and_image() -> tuple[Batch, Tensor]:
    return made_up_batch(32, 8), made_up_batch(32, 8, seed=50).image


# ---------------------------------------------------------------------------- gradients


@each_part
def test_each_part_moves_generated_images_only(part: str, matcher: Path) -> None:
    batch, image = batch_and_image()
    batch.image.requires_grad_()
    image.requires_grad_()
    term = only(matcher, part)
    losses = term(batch, Fake((image,)))
    assert list(losses) == [part]
    assert losses[part].ndim == 0 and losses[part].isfinite() and losses[part] > 0
    losses[part].backward()
    assert image.grad is not None and image.grad.isfinite().all()
    assert (image.grad.flatten(1).abs().sum(1) > 0).all()
    assert batch.image.grad is None
    assert all(p.grad is None and not p.requires_grad for p in term.parameters())


@each_part
def test_following_the_gradient_lowers_the_loss(part: str, matcher: Path) -> None:
    term, (batch, image) = only(matcher, part), batch_and_image()
    image.requires_grad_()
    before = term(batch, Fake((image,)))[part]
    (gradient,) = torch.autograd.grad(before, image)
    with torch.no_grad():
        assert term(batch, Fake((image - 0.1 * gradient / gradient.norm(),)))[part] < before


def test_works_with_a_system(matcher: Path) -> None:
    recipe = load_recipe("tiny/xmcgan", [f"terms.vlm.matcher={matcher}"])
    torch.manual_seed(0)
    system = registry.load("t2icli.systems", "xmcgan").build(recipe.model, Setting(32, WORD_DIM))
    batch = made_up_batch(32, system.noise_dim)
    sum(make(matcher)(batch, system.generate(batch.text, batch.noise)).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in system.generator.parameters())
    assert all(p.grad is None for p in system.discriminator.parameters())


# ---------------------------------------------------------------------------- values


@torch.no_grad()
def test_values_are_those_of_the_losses(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    m = term.matcher
    text, seen, real = m.text.read(batch.captions), m.read_images(image), m.read_images(batch.image)
    answers, wanted = m.general_logits(text, *seen), m.general_logits(text, *real)
    expected = {
        "local": m.local_contrast(text, seen[0], batch.classes),
        "global": m.global_contrast(text, seen[1], batch.classes),
        "general": -answers.sigmoid().log().mean(),
        "visual_local": sum(both_ways(50 * visual_scores(real[0], seen[0], 4.0, 5.0))),
        "visual_global": sum(both_ways(10 * global_scores(real[1], seen[1]))),
        "visual_general": nn.functional.huber_loss(answers, wanted),
    }
    found = term(batch, Fake((image,)))
    assert tuple(found) == PARTS
    for part, value in expected.items():
        torch.testing.assert_close(found[part], torch.as_tensor(value), msg=part)


@torch.no_grad()
def test_weights_scale(matcher: Path) -> None:
    batch, image = batch_and_image()
    plain = make(matcher)(batch, Fake((image,)))
    scaled = make(matcher, weight=2, text_visual=3, visual_visual=5, local=7, overall=11, general=13)
    level = {"local": 7, "global": 11, "general": 13}
    for part, value in scaled(batch, Fake((image,))).items():
        factor = 2 * (5 if "visual" in part else 3) * level[part.removeprefix("visual_")]
        torch.testing.assert_close(value, factor * plain[part])


@torch.no_grad()
def test_direct_form_is_one_minus_the_score(matcher: Path) -> None:
    term, (batch, image) = make(matcher, visual="direct"), batch_and_image()
    m, found = term.matcher, term(batch, Fake((image,)))
    seen, real = m.read_images(image), m.read_images(batch.image)
    local, overall = visual_scores(real[0], seen[0], 4.0, 5.0), global_scores(real[1], seen[1])
    torch.testing.assert_close(found["visual_local"], 1 - local.diagonal().mean())
    torch.testing.assert_close(found["visual_global"], 1 - overall.diagonal().mean())
    own = term(batch, Fake((batch.image,)))
    assert own["visual_global"] < 1e-5 < found["visual_global"] and own["visual_local"] < found["visual_local"]


@torch.no_grad()
def test_the_real_image_is_best_beside_itself(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    found, own = term(batch, Fake((image,))), term(batch, Fake((batch.image,)))
    assert own["visual_general"] == 0 < found["visual_general"]
    for part in ("visual_local", "visual_global"):
        assert own[part] < 2 * math.log(4) and own[part] < found[part]


@torch.no_grad()
def test_images_of_one_class_are_no_negatives(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    losses = term(replace(batch, classes=torch.full((4,), 7)), Fake((image,)))
    for part in ("local", "global", "visual_local", "visual_global"):
        assert losses[part] == 0  # nothing is left to be confused with


# ---------------------------------------------------------------------------- what is not computed


@torch.no_grad()
def test_parts_of_weight_zero_are_absent(matcher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, image = batch_and_image()
    looks: list[Tensor] = []
    read = matchers.VLM.read_images
    monkeypatch.setattr(matchers.VLM, "read_images", lambda self, images: looks.append(images) or read(self, images))
    assert tuple(make(matcher, visual_visual=0)(batch, Fake((image,)))) == PARTS[:3]
    assert len(looks) == 1 and torch.equal(looks[0], image)  # the real images are not even looked at
    assert tuple(make(matcher, text_visual=0)(batch, Fake((image,)))) == PARTS[3:]
    for key, name in LEVELS.items():
        found = make(matcher, **{key: 0})(batch, Fake((image,)))
        assert set(found) == {part for part in PARTS if not part.endswith(name)}
    monkeypatch.setattr(matchers.VLM, "general_logits", None)
    make(matcher, general=0)(batch, Fake((image,)))
    looks.clear()
    assert make(matcher, text_visual=0, visual_visual=0)(batch, Fake((image,))) == {} and not looks


def test_weight_of_zero_builds_no_matcher(tiny_shards: Path, tmp_path: Path) -> None:
    off = [f"data.shards={tiny_shards}", f"terms.vlm.matcher={tmp_path / 'nothing'}", "terms.vlm.weight=0"]
    assert build_trainer(load_recipe("tiny/xmcgan", off), Weights(), torch.device("cpu")).terms == {}


# ---------------------------------------------------------------------------- the frozen matcher


@torch.no_grad()
def test_matcher_stays_as_it_was(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    before = {name: value.clone() for name, value in term.state_dict().items()}
    assert not any(module.training for module in term.train().modules())
    first = term(batch, Fake((image,)))
    second = term(batch, Fake((image,)))
    assert all(torch.equal(first[part], second[part]) for part in PARTS)  # nothing is dropped
    assert all(torch.equal(value, before[name]) for name, value in term.state_dict().items())


@torch.no_grad()
def test_finest_image_is_looked_at_in_float32(matcher: Path) -> None:
    term, (batch, image) = make(matcher), batch_and_image()
    expected = term(batch, Fake((image,)))
    several = term(batch, Fake((torch.randn(4, 3, 8, 8), image)))
    with torch.autocast("cpu", torch.bfloat16):
        lower = term(batch, Fake((image,)))
    for part in PARTS:
        assert several[part] == expected[part] == lower[part]


def test_matcher_is_recorded(matcher: Path) -> None:
    (found,) = make(matcher).used
    assert (found.name, found.path, found.published) == ("vlm", matcher, False) and len(found.sha256) == 64


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such encoder; train one with t2i pretrain-encoders"):
        make(tmp_path / "nothing")
    save_encoder(tmp_path / "damsm.safetensors", "damsm", damsm.build(damsm.Config(**SIZES), VOCABULARY, None))
    with pytest.raises(RecipeError, match="holds a damsm; a vlm is needed"):
        make(tmp_path / "damsm.safetensors")
    with pytest.raises(RecipeError, match=r"terms\.vlm\.matcher: missing .run or file of a VLM"):
        load_recipe("tiny/xmcgan", ["terms.vlm.weight=1"])
