"""Features equal torch-fidelity's (vector T5 and the random-weight regression of the specification)."""

import pytest
import torch
from small_shards import pictures
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.networks import inception_tf
from t2icli.weights import Weights

CPU = torch.device("cpu")


def test_t5_resize_of_tensorflow_1():
    row = torch.tensor([0.0, 10, 20, 30]).expand(1, 1, 4, 4)
    wide = interpolate_bilinear_2d_like_tensorflow1x(row, size=(4, 8), align_corners=False)
    assert wide[0, 0, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 30]


def test_features_equal_torch_fidelity(inception, inception_file):
    images = pictures(5, size=40, seed=3)
    theirs = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=inception_file
    )
    network = inception_tf.load(Weights([inception]), CPU)
    with torch.inference_mode():
        expected, ours = theirs(images), network.layers(images)
    assert list(ours) == ["2048", "logits_unbiased"]
    for want, got in zip(expected, ours.values(), strict=True):
        assert want.std() > 0.05  # the random network does not collapse, so the comparison says something
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(EnvironmentFault, match=r"other.pth: not a state dict of inception-tf: Missing key"):
        inception_tf.load(Weights([f"inception-tf={path}"]), CPU)


def test_hostile_weights_are_not_run(tmp_path):
    path = tmp_path / "hostile.pth"
    torch.save({"fc.weight": Hostile()}, path)
    with pytest.raises(EnvironmentFault, match="cannot be read as PyTorch weights"):
        inception_tf.load(Weights([f"inception-tf={path}"]), CPU)


class Hostile:
    def __reduce__(self):
        return pytest.fail, ("code of a weights file was run",)
