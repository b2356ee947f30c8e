"""Vector T11 of the specification, torch-fidelity's precision and recall, and naive float64 loops."""

import math

import pytest
import torch
import torchvision
from small_shards import pictures
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
from torch_fidelity.metric_prc import prc_features_to_metric
from torchvision.models.vgg import VGG, make_layers

from t2icli.errors import EnvironmentFault, UserError
from t2icli.evaluation.features import Features, View
from t2icli.evaluation.measures import manifold
from t2icli.evaluation.metrics import prdc as prdc_metric
from t2icli.evaluation.networks import vgg16
from t2icli.weights import Weights


def normal(count, dim, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) + shift


def line(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def naive(generated, real, k, closed):
    """By the definitions, one pair at a time, with differences rather than scalar products."""
    inside = (lambda d, r: d <= r) if closed else (lambda d, r: d < r)
    fake, truth = generated.tolist(), real.tolist()

    def radii(points):
        return [sorted(math.dist(a, b) for j, b in enumerate(points) if j != i)[k - 1] for i, a in enumerate(points)]

    fake_radii, real_radii = radii(fake), radii(truth)
    in_real = [[inside(math.dist(r, g), real_radii[i]) for i, r in enumerate(truth)] for g in fake]
    in_fake = [[inside(math.dist(r, g), fake_radii[j]) for j, g in enumerate(fake)] for r in truth]
    return manifold.Overlap(
        precision=sum(any(row) for row in in_real) / len(fake),
        recall=sum(any(row) for row in in_fake) / len(truth),
        density=sum(sum(row) for row in in_real) / (k * len(fake)),
        coverage=sum(any(row[i] for row in in_real) for i in range(len(truth))) / len(truth),
    )


def same(one, other):
    """Shares of counts: equal but for the last digits of a division."""
    return vars(one) == pytest.approx(vars(other), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("closed", [True, False])
def test_t11(closed):
    """No distance of this vector equals a radius, so both comparisons give it; the next test tells them apart."""
    real, fake = line(0, 1, 2, 10), line(0.5, 1.5, 11, 20)
    assert same(manifold.overlap(fake, real, 1, closed), manifold.Overlap(0.75, 1.0, 1.25, 1.0))
    assert same(manifold.overlap(fake, real, 2, closed), manifold.Overlap(0.75, 1.0, 1.0, 1.0))


def test_surface_belongs_to_closed_balls_only():
    real, fake = line(0, 1, 2), line(3, 5)  # 3 lies on the ball round 2; 2 lies inside those round 3 and not round 5
    assert same(manifold.overlap(fake, real, 1, True), manifold.Overlap(0.5, 2 / 3, 0.5, 1 / 3))
    assert same(manifold.overlap(fake, real, 1, False), manifold.Overlap(0.0, 1 / 3, 0.0, 0.0))
    for closed in (True, False):
        assert same(manifold.overlap(fake, real, 1, closed), naive(fake, real, 1, closed))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_a_naive_loop(k, closed):
    generated, real = normal(40, 6, 0, 0.6), normal(33, 6, 1)
    found = manifold.overlap(generated, real, k, closed)
    assert same(found, naive(generated, real, k, closed))
    assert 0 < found.coverage < 1


@pytest.mark.parametrize("save_ram", [True, False])
def test_precision_and_recall_equal_torch_fidelity(save_ram):
    generated, real = normal(300, 8, 2, 0.9), normal(250, 8, 3)
    theirs = prc_features_to_metric(
        generated, real, prc_neighborhood=3, prc_batch_size=70, save_cpu_ram=save_ram, verbose=False
    )
    ours = manifold.overlap(generated, real, 3, closed=True)
    assert (ours.precision, ours.recall) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)
    assert 0.1 < ours.precision != ours.recall < 0.9


def test_blocks_order_and_place_change_nothing(monkeypatch):
    generated, real = normal(60, 5, 4, 0.5), normal(50, 5, 5)
    whole = manifold.overlap(generated, real, 5, False)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert manifold.overlap(generated[order], real, 5, False) == whole
    assert same(manifold.overlap(generated + 1000, real + 1000, 5, False), whole)
    for block in (1, 130):
        monkeypatch.setattr(manifold, "BLOCK", block)
        assert manifold.overlap(generated, real, 5, False) == whole


@pytest.mark.parametrize("block", [1, 1000, 1 << 22])
def test_copies_of_real_pictures_are_judged_by_no_rounding(monkeypatch, block):
    """Each copy lies exactly on the surface of the balls whose radius its original is."""
    monkeypatch.setattr(manifold, "BLOCK", block)
    real = (100 * normal(90, 70, 6)).float() + 500
    copies = real.flip(0)
    # Open balls: itself and the k - 1 nearer ones of each; closed ones: the k-th as well.
    assert manifold.overlap(copies, real, 5, False) == manifold.Overlap(1.0, 1.0, 1.0, 1.0)
    assert same(manifold.overlap(copies, real, 5, True), manifold.Overlap(1.0, 1.0, 6 / 5, 1.0))


def test_one_picture_over_and_over():
    """A collapsed generator has radii 0: its open balls are empty, its closed ones hold that picture only."""
    real = normal(20, 30, 7)
    collapsed = real[:1].repeat(15, 1)
    assert manifold.overlap(collapsed, real, 3, False).recall == 0
    assert manifold.overlap(collapsed, real, 3, True).recall == 1 / 20
    assert manifold.overlap(collapsed, real, 3, True).precision == 1


def test_radii():
    assert manifold.neighbour_radii(line(0, 1, 2, 10), 1).tolist() == pytest.approx([1, 1, 1, 8])
    assert manifold.neighbour_radii(line(0, 1, 2, 10), 2).tolist() == pytest.approx([2, 1, 2, 9])
    points = normal(12, 3, 8)
    for k in (1, 4, 11):
        expected = [sorted(math.dist(a, b) for b in points.tolist())[k] for a in points.tolist()]
        assert manifold.neighbour_radii(points, k).tolist() == pytest.approx(expected, rel=1e-9)


def test_too_few_images():
    with pytest.raises(UserError, match="5 nearest neighbours need at least 6 generated images, and there are 5"):
        manifold.overlap(torch.zeros(5, 2), torch.zeros(9, 2), 5, False)
    with pytest.raises(UserError, match="3 nearest neighbours need at least 4 real images, and there are 2"):
        manifold.overlap(torch.zeros(5, 2), torch.zeros(2, 2), 3, True)
    with pytest.raises(UserError, match="2 nearest neighbours need at least 3 images, and there are 2"):
        manifold.neighbour_radii(torch.zeros(2, 2), 2)


def test_metrics():
    prdc, precision_recall = prdc_metric.METRICS
    assert (prdc.name, prdc.network, prdc.better) == ("prdc", "inception_tf", "higher")
    assert (precision_recall.name, precision_recall.network) == ("precision-recall", "vgg16")
    generated, real = normal(30, 4, 9, 0.7), normal(25, 4, 10)
    sides = [
        Features(len(side), "", {"inception_tf": {"2048": side.float()}, "vgg16": {"fc2_relu": side.float()}})
        for side in (generated, real)
    ]
    (score,) = prdc.compute(sides[:1], sides[1])
    open_balls = naive(generated, real, 5, False)
    assert list(score.values) == ["coverage", "density", "precision", "recall"]
    assert score.values == pytest.approx(vars(open_balls))
    assert score.details == {"k": 5, "balls": "open", "generated": 30, "real": 25}
    (score,) = precision_recall.compute(sides[:1], sides[1])
    closed = naive(generated, real, 3, True)
    assert score.values == pytest.approx({"precision": closed.precision, "recall": closed.recall})
    assert score.details == {"k": 3, "balls": "closed", "generated": 30, "real": 25}


@pytest.fixture
def small_vgg(tmp_path, monkeypatch):
    """Weights of a VGG of the same shape with few channels: the real one has 138 million numbers."""

    def make():
        network = VGG(make_layers([4, "M", 6, "M"]), num_classes=5)
        for place, (inputs, outputs) in {0: (6 * 49, 16), 3: (16, 12), 6: (12, 5)}.items():
            network.classifier[place] = torch.nn.Linear(inputs, outputs)
        return network

    torch.manual_seed(0)
    state = make().state_dict()
    path = tmp_path / "vgg.pth"
    torch.save(state, path)
    monkeypatch.setattr(torchvision.models, "vgg16", make)
    return path


def test_vgg_is_torch_fidelitys(small_vgg):
    network = vgg16.load(Weights([f"vgg16={small_vgg}"]), torch.device("cpu"))
    images = pictures(3, size=40)
    ours = network.layers(View(images))["fc2_relu"]
    theirs = FeatureExtractorVGG16("any", ["fc2_relu"], feature_extractor_weights_path=small_vgg)(images)[0]
    assert torch.equal(ours, theirs)
    assert ours.shape == (3, 12)
    assert ours.min() >= 0
    assert ours.std() > 0
    assert network.facts["resize"] == "tf1-bilinear-224"
    assert network.facts["weights"]["published"] is False


def test_vgg_of_other_weights_is_refused(small_vgg):
    torch.save({"features.0.weight": torch.zeros(1)}, small_vgg)
    with pytest.raises(EnvironmentFault, match="not a state dict of vgg16: Missing key"):
        vgg16.load(Weights([f"vgg16={small_vgg}"]), torch.device("cpu"))


def test_vgg_runs_no_code_of_a_file(small_vgg, tmp_path):
    class Attack:
        def __reduce__(self):
            return (tmp_path.joinpath("attacked").mkdir, ())

    torch.save({"features.0.weight": Attack()}, small_vgg)
    with pytest.raises(EnvironmentFault, match="cannot be read as PyTorch weights"):
        vgg16.load(Weights([f"vgg16={small_vgg}"]), torch.device("cpu"))
    assert not (tmp_path / "attacked").exists()
