import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_shards import write_shards

from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import RecipeError, UserError
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.captions import caption_hash, draw, draw_negatives, negatives_hash
from t2icli.evaluation.evaluate import NETWORKS, find_metrics
from t2icli.evaluation.networks import _inception
from t2icli.evaluation.protocol import Captions, Facts, Negatives, Protocol
from t2icli.recipe_files import checked
from t2icli.registry import available, load
from t2icli.weights import Found


def test_the_named_protocols_are_there():
    named = {"coco14-30k", "cub-30k", "flowers-30k", "folders", "ln-coco-30k", "ln-openimages-30k", "scenes-2k"}
    assert set(protocols.available()) >= named


@pytest.mark.parametrize("name", protocols.available())
def test_protocol_loads_and_names_metrics_that_exist(name):
    protocol = protocols.load(name)
    found = find_metrics(protocol.metrics)
    assert len(found) == len(protocol.metrics)
    assert {metric.network for metric in found.values()} <= set(available(NETWORKS))
    if name != "folders":
        assert protocol.seeds == (0, 1, 2)


class Anything:
    """Weights of any name."""

    def find(self, name):
        return Found(name, Path(name), "0", published=True)


@pytest.mark.parametrize("name", protocols.available())
def test_a_protocol_names_inception_networks_as_they_name_themselves(name, monkeypatch):
    """Else a result that follows its protocol would carry a star."""
    monkeypatch.setattr(
        _inception, "network", lambda name, found, device, variant, prepare, resize, names: (name, resize)
    )
    protocol = protocols.load(name)
    used = {metric.network for metric in find_metrics(protocol.metrics).values() if "inception" in metric.network}
    for module in used:
        network, resize = load(NETWORKS, module).load(Anything(), torch.device("cpu"))
        assert protocol.networks[network] == resize
    assert bool(used) == (name != "scenes-2k")


def tables(name):
    raw = tomllib.loads((protocols.FOLDER / f"{name}.toml").read_text())
    return raw, [raw, *(value for key, value in raw.items() if isinstance(value, dict) and key != "networks")]


@pytest.mark.parametrize("name", protocols.available())
def test_a_key_that_is_not_known_is_refused_in_every_table(name):
    for number in range(len(tables(name)[1])):
        raw, inner = tables(name)
        inner[number]["sized"] = 1
        with pytest.raises(RecipeError, match="sized: unknown key"):
            checked(Protocol, raw, name)


def test_coco14_30k_is_frozen():
    protocol = protocols.load("coco14-30k")
    assert protocol.metrics == ("fid-tf", "is", "kid", "rp-clip", "soa")
    assert protocol.captions == Captions(choice="image-passes", count=30_000, seed=2014)
    assert protocol.real.model_dump() == {"dataset": "coco", "split": "val", "fit": "squash", "images": 30_000}
    assert protocol.pictures.model_dump() == {"size": 256, "quantisation": "round"}
    assert protocol.negatives.model_dump() == {"among": "other-images", "count": 99, "seed": 2014}
    assert protocol.objects.model_dump() == {"images": 3, "people": 30_000, "seed": 0}
    assert protocol.networks == {
        "inception-v3-compat": "tf1-bilinear-299",
        "clip-vit-b-32": "pil-bicubic-224-centre-crop",
        "rtdetr-v2-r50@0.5": "pil-bilinear-640",
    }
    with pytest.raises(Exception, match="frozen"):
        protocol.captions.count = 10


def test_unknown_protocol_and_metric():
    with pytest.raises(UserError, match="there is no 'coco14'; did you mean 'coco14-30k'"):
        protocols.load("coco14")
    with pytest.raises(UserError, match="metrics: there is no 'fidd'; did you mean 'fid'"):
        find_metrics(["fidd"])


def test_metrics_by_any_of_their_names():
    assert list(find_metrics(["FID", "is", "fid-tf", "inception-score"])) == ["fid-tf", "is"]


COCO = protocols.load("coco14-30k")
ENTRY = {
    "computed": True,
    "named_by_protocol": True,
    "network": "inception-v3-compat",
    "resize": "tf1-bilinear-299",
    "weights": {"name": "inception-tf", "published": True},
}
AS_WRITTEN = Facts(
    generated=30_000,
    real=30_000,
    sizes=((256, 256), (256, 256)),
    seeds=(0, 1, 2),
    captions=COCO.captions,
    captions_given=False,
    real_set=COCO.real,
    precision="float32",
    entries={"fid-tf": ENTRY},
)
DEPARTURES = [
    ({"generated": 100}, "100 generated images instead of 30,000"),
    ({"real": 40_504}, "40,504 real images instead of 30,000"),
    ({"real": 0}, "no real images"),
    ({"sizes": ((64, 64), (256, 256))}, "generated images are 64x64 instead of 256x256"),
    ({"sizes": ((256, 256), (256, 200))}, "real images are 200x256 instead of 256x256"),
    ({"seeds": (0,)}, "noise seeds 0 instead of 0, 1, 2"),
    ({"captions": None}, "captions of the generated images are not known instead of drawn by the protocol"),
    (
        {"captions": None, "captions_given": True},
        "captions of the generated images were given instead of drawn by the protocol",
    ),
    ({"precision": "bfloat16"}, "features in bfloat16 instead of float32"),
    (
        {"entries": {"fid-tf": ENTRY | {"network": "dino"}}},
        "network dino instead of inception-v3-compat or clip-vit-b-32 or rtdetr-v2-r50@0.5",
    ),
    ({"captions": COCO.captions.model_copy(update={"seed": 3})}, "captions.seed is 3 instead of 2014"),
    ({"real_set": None}, "real images from a folder instead of the val split of coco"),
    ({"real_set": COCO.real.model_copy(update={"fit": "crop"})}, "real images with fit 'crop' instead of 'squash'"),
    (
        {"entries": {"fid-tf": ENTRY | {"weights": {"name": "inception-tf", "published": False}}}},
        "inception-tf weights that are not the published ones",
    ),
    (
        {"entries": {"fid-tf": ENTRY | {"resize": "bicubic"}}},
        "network inception-v3-compat with resize bicubic instead of tf1-bilinear-299",
    ),
]


def test_what_follows_the_protocol_keeps_its_name():
    assert protocols.deviations(COCO, AS_WRITTEN) == []
    not_computed = {"computed": False, "reason": "", "named_by_protocol": True}
    assert protocols.deviations(COCO, replace(AS_WRITTEN, entries={"fid-tf": not_computed})) == []


@pytest.mark.parametrize(("change", "words"), DEPARTURES)
def test_every_departure_is_named(change, words):
    assert protocols.deviations(COCO, replace(AS_WRITTEN, **change)) == [words]


def test_folders_of_different_sizes_are_named():
    facts = replace(AS_WRITTEN, sizes=((64, 64), (48, 32)), seeds=None)
    assert protocols.deviations(protocols.load("folders"), facts) == [
        "generated images are 64x64 and real images are 32x48"
    ]


@pytest.fixture
def split(tmp_path):
    return ShardFolder(write_shards(tmp_path / "shards"), "val")  # 9 images, 3 captions each


def test_image_passes_visit_every_image_once_before_any_twice(split):
    drawn = draw(split, Captions(choice="image-passes", count=22, seed=1))
    images = [one.image for one in drawn]
    assert sorted(images[:9]) == sorted(images[9:18]) == list(range(9))
    assert len(set(images[18:])) == 4
    assert {one.which for one in drawn} == {0, 1, 2}
    assert all(one.text == f"picture {one.image} caption {one.which}" and one.id == 100 + one.image for one in drawn)


def test_caption_passes_visit_every_caption_once_before_any_twice(split):
    drawn = draw(split, Captions(choice="caption-passes", count=30, seed=1))
    assert len({one.text for one in drawn[:27]}) == 27
    assert len({one.text for one in drawn[27:]}) == 3


def test_draw_is_a_function_of_its_seed(split):
    rule = Captions(choice="image-passes", count=9, seed=1)
    first = draw(split, rule)
    assert draw(split, rule) == first
    assert draw(split, rule.model_copy(update={"count": 5})) == first[:5]
    assert caption_hash(draw(split, rule.model_copy(update={"seed": 2}))) != caption_hash(first)
    # pinned: a protocol draws the same captions in every version of t2i and of numpy
    assert [(one.image, one.which) for one in first[:4]] == PINNED


PINNED: list[tuple[int, int]] = [(8, 0), (2, 0), (6, 1), (7, 0)]  # images: RandomState(1).permutation(9)


GROUPS = [row // 3 for row in range(120)]  # forty images of three captions
OTHERS = Negatives(among="other-images", count=99, seed=4)


def test_negatives_are_of_other_groups_and_none_comes_twice():
    negatives = draw_negatives(GROUPS, OTHERS)
    assert negatives.shape == (120, 99)
    for row, chosen in enumerate(negatives):
        assert len(set(chosen.tolist())) == 99
        assert all(GROUPS[other] != GROUPS[row] for other in chosen)
    # every caption is as likely as every other: each of the 117 is drawn in about 99 of 117 rows
    times = np.bincount(negatives.ravel(), minlength=120)
    assert times.min() > 80
    assert times.max() < 115


def test_negatives_are_a_function_of_their_seed():
    first = draw_negatives(GROUPS, OTHERS)
    assert (draw_negatives(GROUPS, OTHERS) == first).all()
    other = draw_negatives(GROUPS, OTHERS.model_copy(update={"seed": 5}))
    assert negatives_hash(other) != negatives_hash(first)
    # pinned: the same in every version of t2i and of numpy
    assert negatives_hash(first)[:16] == PINNED_NEGATIVES


def test_too_few_captions_of_others():
    words = "with 99 captions of other images, and of 100 captions some have only 98"
    with pytest.raises(UserError, match=words):
        draw_negatives([0, 0, *range(1, 99)], OTHERS)
    assert draw_negatives(list(range(100)), OTHERS).shape == (100, 99)


PINNED_NEGATIVES = "9c5a168863e18d6a"
