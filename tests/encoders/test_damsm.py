"""DAMSM against AttnGAN's released code, its import, and a few steps of training."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from attngan_family import REFERENCE, captions, facts, filled, same, tensor
from made_up import made_up_batch

from t2icli.batch import Pairs
from t2icli.encoders._files import load_encoder, load_matcher, save_encoder
from t2icli.encoders._retrieval import retrieval
from t2icli.encoders._words import WordsConfig
from t2icli.encoders.damsm import DAMSM, Config, import_released
from t2icli.encoders.words import Words
from t2icli.errors import DataError, RecipeError
from t2icli.released import COUNTER, Released
from t2icli.vocabulary import Vocabulary

WORDS = Vocabulary(["a", "red", "bus", "on", "the", "street", "blue", "dog", "sea", "and", "more"])
SMALL = Config(backbone="small", small_channels=4, dim=8, embedding_dim=6, dropout=0.0)


def vocabulary_file(words: int) -> Released:
    names = {i: f"w{i}" for i in range(words)}
    return Released(Path("captions.pickle"), [[], [], names, {word: i for i, word in names.items()}])


def pairs(seed: int = 0) -> Pairs:
    batch = made_up_batch(32, 1, images=4, seed=seed)
    return Pairs(batch.image, batch.captions, batch.classes)


# ---------------------------------------------------------------------------- the released code's numbers


def test_small_text_encoder() -> None:
    golden = {name: torch.as_tensor(value) for name, value in np.load(REFERENCE / "attngan_gf2.npz").items()}
    state = torch.load(REFERENCE / "attngan_gf2.text_encoder.pth", weights_only=True)
    found = import_released([Released(Path("text_encoder1.pth"), state), vocabulary_file(30)])
    assert (found.kind, found.model) == ("words", {"embedding_dim": 20, "dim": 16})
    encoder = Words(WordsConfig.model_validate(found.model), found.vocabulary)
    encoder.load_state_dict(found.state)
    encoder.eval()
    for ending in ("", "_padded"):
        ids = golden[f"captions{ending}"]
        text = encoder.text(ids, (ids != 0).sum(1))
        near = {"atol": 1e-5, "rtol": 0}
        torch.testing.assert_close(text.words.transpose(1, 2), golden[f"words{ending}"], **near)
        torch.testing.assert_close(text.sentence, golden[f"sent{ending}"], **near)


@pytest.fixture(scope="module")
def released() -> DAMSM:
    files = [
        Released(Path("image_encoder200.pth"), filled("attn_bird_image_encoder")),
        Released(Path("text_encoder200.pth"), filled("attn_bird_text_encoder")),
        vocabulary_file(5450),
    ]
    found = import_released(files)
    assert found.kind == "damsm"
    config = Config.model_validate(found.model | {"align_corners": False})  # as the values were made
    matcher = DAMSM(config, found.vocabulary, None)
    matcher.load_state_dict(found.state)
    return matcher.eval()


@pytest.mark.slow
@torch.no_grad()
def test_full_text_and_image_encoders(released: DAMSM) -> None:
    golden = facts()["golden"]["attngan"]
    ids, lengths = captions()
    text = released.text(ids[:, :12], lengths)
    same(text.words.transpose(1, 2), golden["rnn.words_emb"], 1e-5)
    same(text.sentence, golden["rnn.sent_emb"], 1e-5)
    regions, whole = released.read_images(tensor((3, 3, 256, 256), 9))
    same(regions.transpose(1, 2).unflatten(2, (17, 17)), golden["cnn.regions"], 1e-5)
    same(whole, golden["cnn.code"], 1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_images_enlarged_as_when_the_released_weights_were_made(
    released: DAMSM, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Config().align_corners
    monkeypatch.setattr(released.image.backbone, "align_corners", True)
    golden = json.loads((REFERENCE / "dmgan_image_encoder.json").read_text())
    regions, whole = released.read_images(tensor((3, 3, 256, 256), 9))
    same(regions.transpose(1, 2).unflatten(2, (17, 17)), golden["cnn.regions"], 1e-5)
    same(whole, golden["cnn.code"], 1e-5)


@pytest.mark.slow
def test_parameters_and_what_learns(released: DAMSM) -> None:
    counts = facts()["counts"]
    assert sum(p.numel() for p in released.text.parameters()) == counts["attn_bird_text_encoder"]["params"] == 2_075_320
    assert sum(p.numel() for p in released.image.parameters()) == counts["attn_bird_image_encoder"]["params"]
    assert (
        sum(p.numel() for p in released.image.learning()) == counts["attn_bird_image_encoder"]["trainable"] == 721_152
    )
    (phase,) = released.phases()
    assert len(list(phase.parameters)) == 9 + 3
    released.train()
    assert not released.image.backbone.training  # the frozen network's statistics stay
    released.eval()


# ---------------------------------------------------------------------------- import


def test_import_with_prefix_and_without_counters() -> None:
    state = {name: value for name, value in filled("attn_bird_image_encoder").items() if not name.endswith(COUNTER)}
    text = {f"module.{name}": value for name, value in filled("attn_bird_text_encoder").items()}
    found = import_released([Released(Path("i"), state), Released(Path("t"), text), vocabulary_file(5450)])
    assert found.kind == "damsm" and len(found.vocabulary) == 5450
    assert found.vocabulary.words[0] == "w1"  # id 0 ends a caption


def test_import_refuses_what_does_not_belong_together() -> None:
    text = Released(
        Path("text_encoder1.pth"), torch.load(REFERENCE / "attngan_gf2.text_encoder.pth", weights_only=True)
    )
    with pytest.raises(DataError, match=r"knows 30 words, and captions\.pickle has 31"):
        import_released([text, vocabulary_file(31)])
    with pytest.raises(DataError, match="given: 1 of the first and 0 of the second"):
        import_released([text])
    broken = Released(Path("text_encoder1.pth"), {**text.content, "rnn.bias_hh_l0": torch.zeros(3)})
    with pytest.raises(DataError, match=r"text\.lstm\.bias_hh_l0 is \(3,\), should be \(32,\)"):
        import_released([broken, vocabulary_file(30)])
    gap = Released(Path("captions.pickle"), [[], [], {0: "<end>", 2: "a"}, {}])
    with pytest.raises(DataError, match="not numbered from 0 on without gaps"):
        import_released([text, gap])


# ---------------------------------------------------------------------------- training


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    matcher = DAMSM(SMALL, WORDS, None)
    (phase,) = matcher.phases()
    optimizer = phase.optimizer(phase.parameters)
    values = []
    for _ in range(30):
        loss = torch.stack(list(phase.losses(pairs()).values())).sum()
        values.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert values[-1] < 0.5 * values[0]
    assert all(p.requires_grad for p in phase.parameters)


def test_rate_shrinks_every_epoch_down_to_its_floor() -> None:
    schedule = SMALL.schedule.model_copy(update={"rate": 1.0, "decay": 0.5, "floor": 0.2})
    assert [schedule.rate_at(images, 100) for images in (0, 99, 100, 200, 300, 900)] == [1, 1, 0.5, 0.25, 0.125, 0.125]


@pytest.mark.slow
@pytest.mark.parametrize("moving", [False, True])
def test_statistics_of_the_frozen_network_move_only_if_asked(moving: bool) -> None:
    config = Config(dim=8, embedding_dim=6, moving_statistics=moving)
    matcher = DAMSM(config, WORDS, None).train()
    before = {name: value.clone() for name, value in matcher.image.backbone.state_dict().items()}
    matcher.read_images(pairs().image[:2])
    after = matcher.image.backbone.state_dict()
    moved = {name.rpartition(".")[2] for name, value in before.items() if not torch.equal(after[name], value)}
    assert moved == ({"running_mean", "running_var", COUNTER} if moving else set())
    assert not matcher.eval().image.backbone.training
    assert [name for name, p in matcher.image.named_parameters() if p.requires_grad] == [
        "to_regions.weight", "to_whole.weight", "to_whole.bias"
    ]  # fmt: skip


def test_captions_are_read_alone_as_together() -> None:
    torch.manual_seed(0)
    text = DAMSM(SMALL, WORDS, None).eval().text
    long, short = "A red bus on the street, and more.", "the sea"
    together = text.read([long, short, "zebra"])
    assert together.mask.sum(1).tolist() == [8, 2, 1]  # unknown words are passed over; without any, one end is read
    alone = text.read([short])
    torch.testing.assert_close(together.sentence[1:2], alone.sentence)
    torch.testing.assert_close(together.words[1, :2], alone.words[0])
    assert together.words[1, 2:].abs().sum() == 0


def test_retrieval_by_hand() -> None:
    images = torch.eye(4)
    captions = torch.eye(4)[[0, 1, 3, 2]]  # two are mixed up
    found = retrieval(images, captions)
    assert found["r1_text"] == found["r1_image"] == 50
    assert found["r5_text"] == 100
    assert retrieval(torch.ones(4, 2), torch.ones(4, 2))["r1_text"] == 0  # a tie is not a hit


def test_retrieval_is_among_a_hundred() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(250, 4, generator=generator)
    captions = images + 0.5 * torch.randn(250, 4, generator=generator)
    found = retrieval(images, captions)  # fifty are left over
    groups = [retrieval(images[i : i + 100], captions[i : i + 100]) for i in (0, 100)]
    assert found == {key: pytest.approx((groups[0][key] + groups[1][key]) / 2) for key in found}
    assert 0 < found["r1_text"] < found["r5_text"] < found["r10_text"] < 100


@torch.no_grad()
def test_validation_reports_both_ways() -> None:
    torch.manual_seed(0)
    matcher = DAMSM(SMALL, WORDS, None).eval()
    measures = matcher.validate([pairs(0), pairs(1)])
    assert set(measures) == {"loss", *(f"r{k}_{side}" for k in (1, 5, 10) for side in ("text", "image"))}
    mean = sum(sum(matcher.losses(p).values()) for p in (pairs(0), pairs(1))) / 2
    assert measures["loss"] == pytest.approx(float(mean))
    both = [torch.cat(x) for x in zip(*((matcher.read_images(p.image)[1], matcher.text.read(p.captions).sentence)
                                        for p in (pairs(0), pairs(1))), strict=True)]  # fmt: skip
    assert measures == {"loss": measures["loss"], **retrieval(*both)}


# ---------------------------------------------------------------------------- files


def test_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    matcher = DAMSM(SMALL, WORDS, None).eval()
    save_encoder(tmp_path / "run" / "weights" / "encoder.safetensors", "damsm", matcher, {"images": 3})
    loaded, found = load_matcher(tmp_path / "run")
    assert found.name == "damsm" and len(found.sha256) == 64
    assert loaded.vocabulary.words == WORDS.words and not any(p.requires_grad for p in loaded.parameters())
    with torch.no_grad():
        for a, b in zip(matcher.read_images(pairs().image), loaded.read_images(pairs().image), strict=True):
            assert torch.equal(a, b)
        ours, theirs = matcher.text.read(["a red bus"]), loaded.text.read(["a red bus"])
    assert all(torch.equal(getattr(ours, f.name), getattr(theirs, f.name)) for f in dataclasses.fields(ours))


def test_files_that_are_no_matchers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such encoder; train one with t2i pretrain-encoders"):
        load_encoder(tmp_path / "nothing")
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match=r"has no weights/encoder\.safetensors"):
        load_encoder(tmp_path / "run")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(DataError, match="damaged, or no safetensors file"):
        load_encoder(tmp_path / "junk.safetensors")
    save_encoder(tmp_path / "words.safetensors", "words", Words(SMALL, WORDS))
    with pytest.raises(RecipeError, match="a words is no matcher"):
        load_matcher(tmp_path / "words.safetensors")
    with pytest.raises(RecipeError, match="holds an encoder of kind 'words'; needed: damsm or vlm"):
        load_encoder(tmp_path / "words.safetensors", "damsm", "vlm")
