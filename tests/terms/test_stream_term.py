"""MirrorGAN's loss through a frozen captioner."""

from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import WORD_DIM, made_up_batch
from torch import Tensor, nn

from t2icli import registry
from t2icli.batch import Batch, Fake
from t2icli.encoders import stream as captioners
from t2icli.encoders import words
from t2icli.encoders._files import save_encoder
from t2icli.errors import DataError, RecipeError
from t2icli.recipe_files import load_recipe
from t2icli.setting import Setting
from t2icli.terms.stream import Config, Redescription, build
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

VOCABULARY = Vocabulary(["a", "red", "bus", "on", "the", "street", "blue", "dog", "sea", "and", "more"])


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small captioner whose batch norms have seen something."""
    torch.manual_seed(0)
    config = captioners.Config(
        network="small", small_channels=4, embedding_dim=12, hidden_dim=16, schedule={"images": 1}
    )
    model = captioners.build(config, VOCABULARY)
    for seed in range(20):
        model.train().image(made_up_batch(32, 8, images=8, seed=seed).image)
    path = tmp_path_factory.mktemp("captioner") / "stream.safetensors"
    save_encoder(path, "stream", model)
    return path


def make(captioner: Path, **keys: Any) -> Redescription:
    return build(Config(captioner=captioner, **keys), Setting(32, WORD_DIM), Weights())


def batch_and_image() -> tuple[Batch, Tensor]:
    return made_up_batch(32, 8), made_up_batch(32, 8, seed=50).image


def test_value_is_the_mean_over_all_words_without_an_end(captioner: Path) -> None:
    term, (batch, image) = make(captioner), batch_and_image()
    assert term.captioner.config.end_token
    with torch.no_grad():
        losses = term(batch, Fake((image,)))
        per_word = term.captioner.word_losses(image, batch.captions)
        by_hand = []
        for i, caption in enumerate(batch.captions):
            ids = torch.tensor([VOCABULARY.read(caption)])
            logits = term.captioner.decoder.linear(term.captioner.decoder(term.captioner.image(image[i : i + 1]), ids))
            by_hand.append(-logits[0].log_softmax(-1).gather(1, ids.T)[:, 0])
    assert list(losses) == ["caption"]
    assert len(per_word) == sum(len(VOCABULARY.read(caption)) for caption in batch.captions)
    torch.testing.assert_close(losses["caption"], torch.cat(by_hand).mean())


def test_weight_scales(captioner: Path) -> None:
    batch, image = batch_and_image()
    with torch.no_grad():
        once, thrice = (make(captioner, weight=w)(batch, Fake((image,)))["caption"] for w in (1.0, 3.0))
    torch.testing.assert_close(thrice, 3 * once)


def test_gradient_reaches_only_generated_images(captioner: Path) -> None:
    term, (batch, image) = make(captioner), batch_and_image()
    image.requires_grad_()
    loss = term.train()(batch, Fake((image,)))["caption"]
    assert loss.ndim == 0 and loss.isfinite() and loss > 0
    loss.backward()
    assert image.grad is not None and image.grad.isfinite().all()
    assert (image.grad.flatten(1).abs().sum(1) > 0).all()
    assert all(p.grad is None and not p.requires_grad for p in term.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="cuDNN's rule about modes shows only on a GPU")
def test_gradient_passes_through_cudnn(captioner: Path) -> None:
    term, (batch, image) = make(captioner).cuda().train(), batch_and_image()
    image = image.cuda().requires_grad_()
    term(batch, Fake((image,)))["caption"].backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


def test_following_the_gradient_makes_captions_likelier(captioner: Path) -> None:
    term, (batch, image) = make(captioner), batch_and_image()
    image.requires_grad_()
    before = term(batch, Fake((image,)))["caption"]
    (gradient,) = torch.autograd.grad(before, image)
    with torch.no_grad():
        assert term(batch, Fake((image - 0.5 * gradient / gradient.norm(),)))["caption"] < before


def test_captioner_stays_as_it_was(captioner: Path) -> None:
    term, (batch, image) = make(captioner), batch_and_image()
    before = {name: value.clone() for name, value in term.state_dict().items()}
    term.train()
    norms = [m for m in term.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    term(batch, Fake((image,)))
    assert all(torch.equal(value, before[name]) for name, value in term.state_dict().items())


def test_finest_image_is_looked_at(captioner: Path) -> None:
    term, (batch, image) = make(captioner), batch_and_image()
    with torch.no_grad():
        expected = term(batch, Fake((image,)))["caption"]
        assert term(batch, Fake((torch.randn(4, 3, 8, 8), image)))["caption"] == expected
        with torch.autocast("cpu", torch.bfloat16):
            assert term(batch, Fake((image,)))["caption"] == expected


def test_works_with_a_system(captioner: Path) -> None:
    recipe = load_recipe("tiny/xmcgan", [f"terms.stream.captioner={captioner}"])
    torch.manual_seed(0)
    system = registry.load("t2icli.systems", "xmcgan").build(recipe.model, Setting(32, WORD_DIM))
    batch = made_up_batch(32, system.noise_dim)
    make(captioner)(batch, system.generate(batch.text, batch.noise))["caption"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in system.generator.parameters())
    assert all(p.grad is None for p in system.discriminator.parameters())


def test_captioner_is_recorded(captioner: Path) -> None:
    (found,) = make(captioner).used
    assert (found.name, found.path, found.published) == ("stream", captioner, False) and len(found.sha256) == 64


def test_table(captioner: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"terms\.stream\.captioner: missing .run or file of a captioner"):
        load_recipe("tiny/xmcgan", ["terms.stream.weight=1"])
    with pytest.raises(DataError, match="no such encoder; train one with t2i pretrain-encoders"):
        make(tmp_path / "nothing")
    save_encoder(tmp_path / "words.safetensors", "words", words.build(words.Config(dim=8), VOCABULARY))
    with pytest.raises(RecipeError, match="holds an encoder of kind 'words'; needed: stream"):
        make(tmp_path / "words.safetensors")
