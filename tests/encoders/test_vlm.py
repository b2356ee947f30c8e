"""VLM: sizes, what the matching block may not depend on, short training on made-up pairs, encoders taken over."""

from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up_batch
from pydantic import ValidationError
from torch import Tensor, nn

from t2icli.batch import Pairs, Text
from t2icli.encoders import damsm, words
from t2icli.encoders._base import Phase
from t2icli.encoders._files import load_encoder, load_matcher, save_encoder
from t2icli.encoders._retrieval import area_under_curve
from t2icli.encoders.vlm import LEVELS, POSITIONS, VLM, Config, MatchingBlock, MatchingSchedule, build, grid
from t2icli.errors import RecipeError
from t2icli.losses.vision_language import global_scores, local_scores
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

WORDS = Vocabulary(["a", "red", "bus", "on", "the", "street", "blue", "dog", "sea", "and", "more"])
SMALL = Config(backbone="small", small_channels=4, dim=8, embedding_dim=6, dropout=0.0, depth=2, heads=2, feedforward=8)


def small(vocabulary: Vocabulary = WORDS, **keys: Any) -> VLM:
    torch.manual_seed(0)
    return build(SMALL.model_copy(update=keys), vocabulary, Weights())


def pairs(images: int = 4, seed: int = 0) -> Pairs:
    batch = made_up_batch(32, 1, images=images, seed=seed)
    return Pairs(batch.image, batch.captions, batch.classes)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# ---------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(("depth", "millions"), [(1, 0.80), (2, 1.59), (4, 3.17), (6, 4.75)])
def test_parameters_of_the_matching_block(depth: int, millions: float) -> None:
    with torch.device("meta"):
        numbers = count(MatchingBlock(Config(depth=depth)))
    assert round(numbers / 1e6, 2) == millions
    if depth == 4:
        assert numbers == 3_168_001


@pytest.mark.slow
def test_parameters_of_the_whole() -> None:
    encoder = build(Config(), WORDS, None)
    assert count(encoder.image) == 22_506_720 and count(encoder.matching) == 3_168_001
    assert sum(p.numel() for p in encoder.image.learning()) == 721_152
    encoders, block = encoder.phases()
    assert sum(p.numel() for p in encoders.parameters) == 721_152 + count(encoder.text)
    assert sum(p.numel() for p in block.parameters) == 3_168_001 and block.chosen_by == "auc_general"
    image = made_up_batch(64, 1, images=1).image.requires_grad_()
    encoder.eval().requires_grad_(False)
    regions, whole = encoder.read_images(image)
    assert regions.shape == (1, 289, 256) and whole.shape == (1, 256)
    encoder.general_logits(encoder.text.read(["a red bus"]), regions, whole).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0  # through the frozen network


def test_heads_share_a_token() -> None:
    assert Config(dim=96, heads=3).heads == 3
    for keys in ({"dim": 256, "heads": 3}, {"dim": 90}):
        with pytest.raises(ValidationError, match=f"must divide dim = {keys['dim']}"):
            Config(**keys)


# ---------------------------------------------------------------------------- the matching block


def padded(text: Text, positions: int) -> Text:
    """Captions with junk behind their words."""
    junk = torch.randn(len(text.words), positions, text.words.shape[2])
    return Text(
        torch.cat([text.words, junk], 1),
        text.sentence,
        torch.cat([text.mask, torch.zeros(junk.shape[:2], dtype=torch.bool)], 1),
        torch.cat([text.tokens, torch.zeros(junk.shape[:2], dtype=torch.long)], 1),
    )


@pytest.mark.parametrize("gradients", [True, False])  # torch has a faster way where none are wanted
def test_padded_words_do_not_change_the_score(gradients: bool) -> None:
    encoder, (text, regions, whole) = made_up_tokens()
    with torch.set_grad_enabled(gradients):
        bare = encoder.general_logits(text, regions, whole)
        longer = encoder.general_logits(padded(text, 3), regions, whole)
    torch.testing.assert_close(longer, bare)
    for level, scores in encoder.own_scores(padded(text, 3), regions, whole).items():
        torch.testing.assert_close(scores, encoder.own_scores(text, regions, whole)[level])


def made_up_tokens() -> tuple[VLM, tuple[Text, Tensor, Tensor]]:
    encoder, some = small().eval(), pairs()
    with torch.no_grad():
        return encoder, (encoder.text.read(some.captions), *encoder.read_images(some.image))


@torch.no_grad()
def test_each_kind_of_token_counts() -> None:
    encoder, (text, regions, whole) = made_up_tokens()
    logits = encoder.general_logits(text, regions, whole)
    assert logits.shape == (4,)
    score = encoder.own_scores(text, regions, whole)["general"]
    assert (score > 0).all() and (score < 1).all()
    others = torch.tensor([1, 2, 3, 0])
    assert not torch.allclose(encoder.general_logits(text, regions[others], whole), logits)
    assert not torch.allclose(encoder.general_logits(text, regions, whole[others]), logits)
    for changed in (
        Text(text.words[others], text.sentence, text.mask[others], text.tokens),
        Text(text.words, text.sentence[others], text.mask, text.tokens),
    ):
        assert not torch.allclose(encoder.general_logits(changed, regions, whole), logits)


@torch.no_grad()
def test_places_count_only_where_they_are_told() -> None:
    _, (text, regions, whole) = made_up_tokens()
    backwards = regions.flip(1)
    one = Text(*(getattr(text, name)[:1] for name in ("words", "sentence", "mask", "tokens")))
    one = Text(one.words[one.mask][None], one.sentence, one.mask[one.mask][None], one.tokens[one.mask][None])
    reordered = Text(one.words.flip(1), one.sentence, one.mask, one.tokens)
    for positions in ("learned", "none"):
        encoder = small(positions=positions).eval()
        same = positions == "none"
        logits = encoder.general_logits(text, regions, whole)
        assert torch.allclose(encoder.general_logits(text, backwards, whole), logits, atol=1e-5) == same
        logits = encoder.general_logits(one, regions[:1], whole[:1])
        assert torch.allclose(encoder.general_logits(reordered, regions[:1], whole[:1]), logits, atol=1e-5) == same


@torch.no_grad()
def test_long_captions_are_read() -> None:
    encoder, (_, regions, whole) = made_up_tokens()
    long = encoder.text.read(["a red bus on the street and " * 5] * 4)
    assert long.words.shape[1] == 35 > POSITIONS
    assert encoder.general_logits(long, regions, whole).isfinite().all()


def test_places_of_regions_differ() -> None:
    for side, dim in ((17, 256), (8, 128), (4, 8), (2, 6)):
        waves = grid(side * side, dim, torch.device("cpu"))
        assert waves.shape == (side * side, dim) and waves.abs().max() <= 1
        assert torch.cdist(waves, waves)[~torch.eye(side * side, dtype=torch.bool)].min() > 1e-2


# ---------------------------------------------------------------------------- training

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0), "white": (1.0, 1.0, 1.0)}
PLACES = {"top left": (0, 0), "top right": (0, 8), "bottom left": (8, 0), "bottom right": (8, 8)}


def squares(seed: int) -> Pairs:
    """A square in one of four colours and places, and a caption that says so; every pair once."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(16, 3, 16, 16, generator=generator) * 0.3 - 0.5
    captions = []
    for number, (colour, place) in enumerate((c, p) for c in COLOURS for p in PLACES):
        row, column = PLACES[place]
        image[number, :, row : row + 8, column : column + 8] = torch.tensor(COLOURS[colour])[:, None, None]
        captions.append(f"a {colour} square {place}")
    order = torch.randperm(16, generator=generator).tolist()
    return Pairs(image[order], tuple(captions[i] for i in order), torch.full((16,), -1))


def learn(phase: Phase, encoder: VLM, steps: int, rate: float) -> list[float]:
    """A few steps, as the loop takes them."""
    optimizer, values = phase.optimizer(phase.parameters), []
    for step in range(steps):
        encoder.train()
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = torch.stack(list(phase.losses(squares(step)).values())).sum()
        loss.backward(inputs=list(phase.parameters))
        optimizer.step()
        optimizer.zero_grad()
        values.append(loss.item())
    return values


def test_short_training_tells_pairs_apart_at_all_levels() -> None:
    vocabulary = Vocabulary(["a", "square", "top", "bottom", "left", "right", *COLOURS])
    encoder = small(vocabulary, dim=32, embedding_dim=16, small_channels=8, feedforward=32, block_dropout=0.0)
    encoders, block = encoder.phases()
    learn(encoders, encoder, 60, 5e-3)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    learn(block, encoder, 120, 3e-3)
    for name, value in encoder.state_dict().items():  # statistics of batch norm included
        assert torch.equal(value, before[name]) == (not name.startswith("matching.")), name
    with torch.no_grad():
        measures = encoder.eval().validate([squares(1000 + seed) for seed in range(4)])
        once = encoder.validate([squares(2000)])  # each caption a single time, so that there are no ties
    for level in LEVELS:
        assert measures[f"auc_{level}"] > 0.9
        assert measures[f"{level}_true"] > measures[f"{level}_shuffled"] + 0.1
    assert once["r1_text"] > 50 and once["r1_image"] > 50


def test_encoders_alone_learn_in_the_first_phase() -> None:
    encoder = small()
    encoders, block = encoder.phases()
    losses = encoders.losses(pairs())
    assert set(losses) == {"local", "global"} and set(block.losses(pairs())) == {"general"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoders.parameters)
    assert all(p.grad is None for p in block.parameters)
    assert {id(p) for p in encoders.parameters} | {id(p) for p in block.parameters} == set(
        map(id, encoder.parameters())
    )


def test_rate_of_the_second_phase() -> None:
    schedule = MatchingSchedule(images=1100, rate=1.0, warm_up=100)
    found = [schedule.rate_at(images, 10) for images in (0, 49, 100, 600, 1100, 2000)]
    assert found == pytest.approx([0.01, 0.5, 1, 0.5, 0, 0], abs=1e-9)
    assert MatchingSchedule(images=10, rate=0.5, warm_up=0).rate_at(0, 10) == 0.5


# ---------------------------------------------------------------------------- validation


def test_area_under_curve_by_hand() -> None:
    right, wrong = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 2.0])
    assert area_under_curve(right, wrong) == (1 + 1 + 1 + 0 + 1 + 0.5) / 6
    assert area_under_curve(right, right) == 0.5
    assert area_under_curve(wrong - 10, right) == 0 and area_under_curve(right + 10, wrong) == 1


@torch.no_grad()
def test_own_scores_are_the_diagonals() -> None:
    encoder, (text, regions, whole) = made_up_tokens()
    own = encoder.own_scores(text, regions, whole)
    assert tuple(own) == LEVELS
    local = local_scores(regions, text.words, text.mask, 4.0, 5.0)
    torch.testing.assert_close(own["local"], local.diagonal())
    torch.testing.assert_close(own["global"], global_scores(whole, text.sentence).diagonal())


@torch.no_grad()
def test_validation() -> None:
    measures = small().eval().validate([pairs(4, 0), pairs(4, 1)])
    of_levels = {name for level in LEVELS for name in (f"auc_{level}", f"{level}_true", f"{level}_shuffled")}
    assert set(measures) == of_levels | {f"r{k}_{side}" for k in (1, 5, 10) for side in ("text", "image")}


# ---------------------------------------------------------------------------- files


def test_saved_and_loaded(tmp_path: Path) -> None:
    encoder = small().eval()
    save_encoder(tmp_path / "weights" / "encoder.safetensors", "vlm", encoder)
    loaded, found = load_matcher(tmp_path)
    assert isinstance(loaded, VLM) and found.name == "vlm" and not any(p.requires_grad for p in loaded.parameters())
    assert loaded.gammas == (4.0, 5.0, 10.0)
    with torch.no_grad():
        text, (regions, whole) = loaded.text.read(pairs().captions), loaded.read_images(pairs().image)
        ours = encoder.general_logits(encoder.text.read(pairs().captions), *encoder.read_images(pairs().image))
        assert torch.equal(loaded.general_logits(text, regions, whole), ours)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A DAMSM with words that the data set does not have."""
    torch.manual_seed(1)
    shared = {key: getattr(SMALL, key) for key in damsm.Config.model_fields if hasattr(SMALL, key)}
    matcher = damsm.build(damsm.Config(**shared), Vocabulary(["zebra", *WORDS.words]), None)
    save_encoder(tmp_path / "damsm.safetensors", "damsm", matcher)
    return tmp_path / "damsm.safetensors"


def test_encoders_are_taken_over(start: Path, tmp_path: Path) -> None:
    encoder = small(start=start)
    theirs, _ = load_encoder(start)
    for part in ("text", "image"):
        ours = getattr(encoder, part).state_dict()
        assert all(torch.equal(value, ours[name]) for name, value in getattr(theirs, part).state_dict().items())
    assert encoder.vocabulary.words[0] == "zebra"  # ids belong to the weights
    (used,) = encoder.used
    assert (used.name, used.path) == ("damsm", start)
    (phase,) = encoder.phases()
    assert phase.name == "matching" and {id(p) for p in phase.parameters} == set(map(id, encoder.matching.parameters()))
    torch.stack(list(phase.losses(pairs()).values())).sum().backward()
    save_encoder(tmp_path / "vlm.safetensors", "vlm", encoder)
    start.unlink()  # the file has everything
    loaded, _ = load_encoder(tmp_path / "vlm.safetensors", "vlm")
    assert loaded.vocabulary.words == encoder.vocabulary.words


def test_encoders_that_do_not_fit(start: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.start: .*: was trained with dim = 8; here it is 16"):
        small(start=start, dim=16)
    with pytest.raises(RecipeError, match=r"knows 0 of the 2 words of this data set; it was trained on another one"):
        small(Vocabulary(["giraffe", "lion"]), start=start)
    save_encoder(tmp_path / "words.safetensors", "words", words.build(words.Config(dim=8), WORDS))
    with pytest.raises(RecipeError, match="holds an encoder of kind 'words'; needed: damsm or vlm"):
        small(start=tmp_path / "words.safetensors")
