"""Features equal torch-fidelity's (the random-weight regression of the specification)."""

import pytest
import torch
from small_shards import pictures
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import View
from t2icli.evaluation.networks import _inception as inception_v3
from t2icli.evaluation.networks import inception_tf
from t2icli.weights import Weights

CPU = torch.device("cpu")
LAYERS = ["2048", "logits_unbiased", "logits"]


@pytest.fixture(scope="module")
def theirs(inception_file):
    return FeatureExtractorInceptionV3("inception-v3-compat", LAYERS, feature_extractor_weights_path=inception_file)


@pytest.mark.parametrize(("count", "size"), [(5, 32), (2, 256), (2, 299)])
def test_features_equal_torch_fidelity(inception, theirs, count, size):
    images = pictures(count, size=size, seed=3)
    network = inception_tf.load(Weights([inception]), CPU)
    with torch.inference_mode():
        expected, ours = theirs(images), network.layers(View(images))
    assert list(ours) == LAYERS
    for want, got in zip(expected, ours.values(), strict=True):
        assert want.std() > 0.05  # the random network does not collapse, so the comparison says something
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * want.abs().max().item())


def test_without_private_operators(inception, theirs, monkeypatch):
    monkeypatch.setattr(inception_v3, "packing", lambda: False)
    images = pictures(3, size=48, seed=4)
    ours = inception_tf.load(Weights([inception]), CPU).layers(View(images))["2048"]
    with torch.inference_mode():
        want = theirs(images)[0]
    torch.testing.assert_close(ours, want, rtol=1e-4, atol=1e-5 * want.abs().max().item())


def test_batches_change_nothing(inception):
    images = pictures(inception_v3.AT_ONCE + 2, size=32, seed=5)
    network = inception_tf.load(Weights([inception]), CPU)
    together = network.layers(View(images))["2048"]
    for image, expected in zip(images, together, strict=True):
        alone = network.layers(View(image[None]))["2048"][0]
        torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


def test_facts(inception, inception_file):
    facts = inception_tf.load(Weights([inception]), CPU).facts
    assert (facts["network"], facts["resize"]) == ("inception-v3-compat", "tf1-bilinear-299")
    assert facts["weights"]["file"] == inception_file.name and len(facts["weights"]["sha256"]) == 64


def changed(inception_file, tmp_path, change):
    """A file of weights after a change."""
    state = torch.load(inception_file)
    change(state)
    path = tmp_path / "changed.pth"
    torch.save(state, path)
    return Weights([f"inception-tf={path}"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("Mixed_5b.branch_pool.bn.bias"),
            r"there is no tensor Mixed_5b.branch_pool.bn.bias, which should be \(32,\)",
        ),
        (
            lambda state: state.update({"fc.weight": torch.zeros(1000, 2048)}),
            r"fc.weight is \(1000, 2048\) and should be \(1008, 2048\)",
        ),
        (lambda state: state.update({"head.weight": torch.zeros(1)}), r"this network has no tensor head.weight"),
    ],
)
def test_weights_of_another_network(inception_file, tmp_path, change, message):
    weights = changed(inception_file, tmp_path, change)
    with pytest.raises(EnvironmentFault, match=rf"changed.pth: not a state dict of inception-tf: {message}"):
        inception_tf.load(weights, CPU)


def test_counters_and_auxiliary_classifier_do_not_matter(inception_file, tmp_path):
    def change(state):
        del state["Conv2d_1a_3x3.bn.num_batches_tracked"]
        state["AuxLogits.fc.bias"] = torch.zeros(3)

    inception_tf.load(changed(inception_file, tmp_path, change), CPU)


def test_hostile_weights_are_not_run(tmp_path):
    path = tmp_path / "hostile.pth"
    torch.save({"fc.weight": Hostile()}, path)
    with pytest.raises(EnvironmentFault, match="cannot be read as PyTorch weights"):
        inception_tf.load(Weights([f"inception-tf={path}"]), CPU)


class Hostile:
    def __reduce__(self):
        return pytest.fail, ("code of a weights file was run",)
