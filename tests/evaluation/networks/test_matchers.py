"""Matchers as judges: R-precision and VLMS by encoders that t2i pretrain-encoders trains."""

import pytest
import torch
from small_shards import pictures

from t2icli.encoders._files import load_matcher
from t2icli.errors import EnvironmentFault, RecipeError
from t2icli.evaluation.evaluate import Sides, evaluate_images, find_metrics
from t2icli.evaluation.features import Captions, Features, Pictures, View
from t2icli.evaluation.images import MemoryImages
from t2icli.evaluation.looking import Machine
from t2icli.evaluation.metrics.vlms import standard_error
from t2icli.evaluation.networks import damsm_matcher, vlm_matcher
from t2icli.weights import Weights

TEXTS = ["a red bus on a street", "a blue boat", "a dog in the snow and a very long caption about it", "an apple"]
CPU = torch.device("cpu")


@pytest.fixture
def given(tiny_encoders):
    return Weights([f"damsm={tiny_encoders['damsm']}", f"vlm={tiny_encoders['vlm']}"])


def test_damsm_gives_vectors_of_images_and_sentences(given, tiny_encoders):
    network = damsm_matcher.load(given, CPU)
    images = pictures(4)
    matcher, found = load_matcher(tiny_encoders["damsm"])
    whole = network.layers(View(images, TEXTS, TEXTS))["whole"]
    torch.testing.assert_close(whole, matcher.read_images(images.float() / 127.5 - 1)[1])
    assert network.texts is not None
    torch.testing.assert_close(network.texts(TEXTS)["sentence"], matcher.text.read(TEXTS).sentence)
    assert network.facts["weights"]["sha256"] == found.sha256
    assert network.facts["weights"]["published"] is None


def test_vlm_scores_pairs_and_shuffled_pairs(given, tiny_encoders):
    images, others = pictures(4), TEXTS[1:] + TEXTS[:1]
    seen = vlm_matcher.load(given, CPU).layers(View(images, TEXTS, others))
    matcher, _ = load_matcher(tiny_encoders["vlm"])
    regions, whole = matcher.read_images(images.float() / 127.5 - 1)
    for captions, suffix in ((TEXTS, ""), (others, "_shuffled")):
        text = matcher.text.read(captions)
        scores = matcher.own_scores(text, regions, whole)
        lengths = torch.tensor([float(row.sum()) for row in text.mask])
        torch.testing.assert_close(seen[f"general{suffix}"], scores["general"])
        torch.testing.assert_close(seen[f"global{suffix}"], scores["global"])
        torch.testing.assert_close(seen[f"local{suffix}"], scores["local"] - lengths.log() / matcher.config.gamma2)
    assert 0 < float(seen["general"].min()) <= float(seen["general"].max()) < 1
    assert set(vlm_matcher.load(given, CPU).layers(View(images))) == {"whole"}


def test_vlms_has_three_levels_and_two_references(given):
    images, real = MemoryImages(pictures(4)), MemoryImages(pictures(4, seed=1))
    sides = Sides([Pictures(images, "generated", Captions(TEXTS))], Pictures(real, "real", Captions(TEXTS)))
    outcome = evaluate_images({"drawn": sides}, list(find_metrics(["vlms"]).values()), given, Machine())
    values = outcome.entries["vlms"]["mean"]
    names = {"vlms", "vlms-global", "vlms-local"}
    shuffled = {f"{name} (shuffled captions)" for name in names}
    assert set(values) == {*names, *shuffled, *(f"{n} (real)" for n in names | shuffled)}
    assert next(iter(values)) == "vlms"
    network = vlm_matcher.load(given, CPU)
    own = network.layers(View(pictures(4), TEXTS, TEXTS))
    torch.testing.assert_close(values["vlms"], own["general"].mean().item(), rtol=1e-6, atol=0)
    assert values["vlms (shuffled captions)"] != values["vlms"]


def test_standard_error_of_a_mean(given):
    """Against the closed form for independent scores."""

    class Side:
        scores = torch.rand(40_000, generator=torch.Generator().manual_seed(3))

        def of(self, network, layer):
            return self.scores

    assert standard_error(Side())["vlms_standard_error"] == pytest.approx((1 / 12) ** 0.5 / 200, rel=0.6)
    Side.scores = Side.scores[:19]
    assert standard_error(Side()) == {}  # and no NaN, which JSON does not know


def test_matchers_that_are_none(tiny_encoders, tmp_path):
    with pytest.raises(EnvironmentFault, match="damsm: a DAMSM that you trained .*--weights damsm=PATH"):
        damsm_matcher.load(Weights(), CPU)
    with pytest.raises(EnvironmentFault, match="there is no such file; it should be a DAMSM that you trained"):
        damsm_matcher.load(Weights([f"damsm={tmp_path / 'absent'}"]), CPU)
    with pytest.raises(EnvironmentFault, match="holds a vlm; a damsm is needed"):
        damsm_matcher.load(Weights([f"damsm={tiny_encoders['vlm']}"]), CPU)
    with pytest.raises(RecipeError, match="a stream is no matcher"):
        vlm_matcher.load(Weights([f"vlm={tiny_encoders['stream']}"]), CPU)


def test_standard_error_is_that_of_ten_parts():
    """Against plain loops: ten parts of a fixed order, divisor 9, over the root of ten."""
    scores = torch.rand(40, generator=torch.Generator().manual_seed(5))

    class Side:
        def of(self, network, layer):
            return scores

    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    parts = [sum(float(scores[row]) for row in order[4 * fold : 4 * fold + 4]) / 4 for fold in range(10)]
    mean = sum(parts) / 10
    expected = (sum((part - mean) ** 2 for part in parts) / 9) ** 0.5 / 10**0.5
    assert standard_error(Side())["vlms_standard_error"] == pytest.approx(expected, abs=1e-12)


def test_each_level_of_vlms_has_its_own_layer():
    levels = {"general": 0.1, "global": 0.2, "local": 0.3}
    layers = {name: torch.full((4,), value) for name, value in levels.items()}
    layers |= {f"{name}_shuffled": torch.full((4,), -value) for name, value in levels.items()}
    side = Features(4, "", {"vlm_matcher": layers}, pictures=Pictures(None, "x", Captions(TEXTS)))
    (score,) = find_metrics(["vlms"])["vlms"].compute([side], None)
    for name, value in (("vlms", 0.1), ("vlms-global", 0.2), ("vlms-local", 0.3)):
        assert score.values[name] == pytest.approx(value)
        assert score.values[f"{name} (shuffled captions)"] == pytest.approx(-value)
