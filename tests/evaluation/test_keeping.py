"""Where results lie, that none takes another's page, and what is said before anything long begins."""

import json

import pytest
import torch
from small_shards import pictures, save, write_shards

from t2icli.cli.evaluate import printed, table
from t2icli.errors import DataError, UserError
from t2icli.evaluation import evaluate as evaluating
from t2icli.evaluation.evaluate import Sides, check_finite, check_needs, check_values, find_metrics
from t2icli.evaluation.features import Captions, Features, Pictures
from t2icli.evaluation.images import MemoryImages
from t2icli.evaluation.metric import Score
from t2icli.scoring.comparison import compare
from t2icli.scoring.keeping import folder_of_scores
from t2icli.scoring.request import Request
from t2icli.scoring.results import read_result
from t2icli.scoring.score import score

SCENES = {"metrics": ["fd-scenes"]}


@pytest.fixture
def two(tmp_path):
    return save(tmp_path / "fake", pictures(6, seed=1)), save(tmp_path / "real", pictures(5, seed=2))


def test_a_folders_result_is_kept_and_said(two, tmp_path, capsys):
    result = score(Request(*two, **SCENES))
    place = tmp_path / "scores" / "fake"
    (file,) = place.glob("*.json")
    assert f"Result: scores/fake/{file.name}" in capsys.readouterr().err
    assert json.loads(file.read_text()) == result
    assert read_result(file).metrics["fd-scenes"].value == result["metrics"]["fd-scenes"]["value"]
    score(Request(*two, **SCENES))
    assert len(list(place.glob("*.json"))) == 2
    assert {path.name for path in place.glob("*.html")} == {
        "report.html",
        *(path.with_suffix(".html").name for path in place.glob("*.json")),
    }
    assert compare(place, file)["metrics"]["fd-scenes"]["comparable"]
    assert sorted(path.suffix for path in two[0].rglob("*")) == [".png"] * 6


def test_results_never_lie_among_pictures(two, tmp_path, monkeypatch):
    """Whether one stands in the folder that is scored, in one of its parents, or in the real one."""
    fake, real = two
    monkeypatch.chdir(fake)
    score(Request(fake, real, **SCENES))
    assert len(list((tmp_path / "scores" / "fake").glob("*.json"))) == 1
    assert folder_of_scores(fake, tmp_path) == tmp_path.parent / "scores" / "fake"
    inner = fake / "more"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert folder_of_scores(fake, real) == tmp_path / "scores" / "fake"
    monkeypatch.chdir(tmp_path)
    assert str(folder_of_scores(fake, real)) == "scores/fake"


def test_a_place_that_cannot_be_written_loses_no_result(two, tmp_path, capsys):
    (tmp_path / "scores").write_text("a file where the folder should be")
    result = score(Request(*two, **SCENES))
    assert result["metrics"]["fd-scenes"]["computed"]
    assert "the result is not kept: scores/fake cannot be written" in capsys.readouterr().err


def test_two_results_in_one_folder_have_a_page_each(two, tmp_path):
    out = tmp_path / "out"
    score(Request(*two, out=out / "a.json", **SCENES))
    first = (out / "a.html").read_bytes()
    score(Request(two[1], two[0], out=out / "b.json", **SCENES))
    assert (out / "a.html").read_bytes() == first
    assert "b.json" in (out / "b.html").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["a.html", "a.json", "b.html", "b.json"]


def test_a_results_name_is_not_its_pages(two, tmp_path):
    with pytest.raises(UserError, match=r"--out .*x.html: the page of a result gets this name; .* e.g. x.json"):
        score(Request(*two, out=tmp_path / "x.html", **SCENES))


def test_older_results_stand_in_the_list_of_a_newer_page(two, tmp_path):
    """A result of the version before, without format and checksum."""
    place = tmp_path / "scores" / "fake"
    place.mkdir(parents=True)
    old = score(Request(*two, out=tmp_path / "old.json", **SCENES))
    for key in ("format", "checksum"):
        del old[key]
    for key in ("pixel_sets_sha256", "lossy"):
        del old["generated"][key]
    old["utc"] = "2020-01-01T00:00:00Z"
    (place / "folders-20200101T000000Z.json").write_text(json.dumps(old))
    score(Request(*two, **SCENES))
    page = (place / "report.html").read_text()
    assert "2020-01-01T00:00:00Z" in page and "folders-20200101T000000Z.json" in page
    (newer,) = (path for path in place.glob("*.json") if "2020" not in path.name)
    found = compare(place / "folders-20200101T000000Z.json", newer)
    assert found["metrics"]["fd-scenes"]["comparable"]
    assert "a is of an older version" in found["remarks"][0]


def test_folders_of_nobody_knows_what_are_noted_and_foreign_shards_refused(two, tmp_path):
    result = score(Request(*two, **SCENES))
    assert any("means something only if these are pictures of the data set scenes" in note for note in result["notes"])
    known = score(Request(two[0], write_shards(tmp_path / "scenes"), **SCENES))
    assert not any("means something only if" in note for note in known["notes"])
    foreign = write_shards(tmp_path / "emoji", dataset="folder")
    with pytest.raises(DataError, match="protocol scenes-2k: its networks judge pictures of the data set scenes alone"):
        score(Request(two[0], foreign, protocol="scenes-2k"))
    reason = score(Request(two[0], foreign, **SCENES))["metrics"]["fd-scenes"]["reason"]
    assert "judges pictures of the data set scenes alone, and these are of folder" in reason


# ---------------------------------------------------------------------------- said before networks run


def memory(count, captions=None):
    return Pictures(MemoryImages(pictures(count)), "x", captions)


FEW = [
    ("is", 9, 10, "is needs at least 10 images, and has 9"),
    ("is-studiogan", 0, 9, None),
    ("fid", 1, 9, "fid-tf needs at least 2 images, and has 1"),
    ("fid", 9, 1, "fid-tf needs at least 2 real images, and has 1"),
    ("prdc", 5, 9, "prdc needs at least 6 images, and has 5"),
    ("prdc", 9, 5, "prdc needs at least 6 real images, and has 5"),
    ("precision-recall", 3, 9, "precision-recall needs at least 4 images, and has 3"),
    ("kid", 9, 1, "kid needs at least 2 real images, and has 1"),
    ("cmmd", 1, 9, "cmmd needs at least 2 images, and has 1"),
    ("fd-scenes", 1, 9, "fd-scenes needs at least 2 images, and has 1"),
]


@pytest.mark.parametrize(("name", "generated", "real", "message"), FEW)
def test_too_few_pictures(name, generated, real, message):
    metric = next(iter(find_metrics([name]).values()))
    sides = Sides([memory(max(generated, 1))], memory(real))
    if message is None:
        check_needs(metric, sides)
        return
    with pytest.raises(UserError, match=message):
        check_needs(metric, sides)


@pytest.mark.parametrize(
    "name", ["is", "fid", "kid", "prdc", "precision-recall", "cmmd", "mind", "fd-scenes", "fid-clip"]
)
def test_what_is_enough_for_a_metric_can_be_computed(name):
    """The fewest images that a row says are enough for its own computation, and one less is not."""
    metric = next(iter(find_metrics([name]).values()))
    names = {"2048", "logits_unbiased", "fc2_relu", "embedding", "features"}

    def side(count):
        generator = torch.Generator().manual_seed(count)
        return Features(
            count, "", {metric.network: {layer: torch.randn(count, 4, generator=generator) for layer in names}}
        )

    [found] = metric.compute([side(metric.fewest)], side(metric.fewest))
    check_values(metric, [found])
    if metric.fewest > 1:
        with pytest.raises(UserError):
            metric.compute([side(metric.fewest - 1)], side(metric.fewest - 1))


@pytest.mark.parametrize(
    ("name", "captions", "message"),
    [
        ("rp-clip", ["a bus"] * 12, "rp-clip: needs 99 captions of other pictures for each picture"),
        ("soa", ["a thing"] * 12, "soa: none of the 12 captions names one of the 80 objects"),
        ("soa-scenes", ["a thing"] * 12, "soa: none of the 12 captions names one of the 20 objects of scenes"),
        ("scenes-right", ["a thing"] * 12, "scenes-right: none of the 12 captions names a place or an object"),
        ("scenes-right", None, "compares images with their captions"),
    ],
)
def test_captions_that_say_nothing(name, captions, message):
    metric = next(iter(find_metrics([name]).values()))
    with pytest.raises(UserError, match=message):
        check_needs(metric, Sides([memory(12, Captions(captions) if captions else None)]))


def test_what_cannot_be_computed_is_said_before_any_picture_is_shown(two, monkeypatch, capsys):
    def look(pictures, networks, machine):
        assert "prdc will not be computed: prdc needs at least 6 real images, and has 5" in capsys.readouterr().err
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating, "look", look)
    with pytest.raises(KeyboardInterrupt):
        score(Request(*two, metrics=["fd-scenes", "prdc"]))


def test_a_network_without_a_number_to_say():
    metric = find_metrics(["fid"])["fid-tf"]
    values = torch.ones(5, 3)
    values[3, 1] = float("nan")
    values[4] = float("inf")
    side = Features(5, "", {"inception_tf": {"2048": values}}, pictures=memory(5))
    with pytest.raises(DataError, match=r"not finite \(2048\) for 2 of 5 pictures \(x\), the first being number 4"):
        check_finite(metric, side)
    entry = evaluating.entry(metric, {}, [side], side)
    assert (entry["computed"], entry["exit_code"]) == (False, 4)


def test_a_figure_is_a_number():
    with pytest.raises(DataError, match="kid: kid came out as nan, which is no figure"):
        check_values(find_metrics(["kid"])["kid"], [Score({"kid": float("nan")})])


# ---------------------------------------------------------------------------- what is printed


@pytest.mark.parametrize(
    ("value", "below", "text"),
    [
        (0.0, False, "0.0000"),
        (26.123456, False, "26.1235"),
        (0.5, False, "0.5000"),
        (0.0123456, True, "0.01235"),
        (0.000123456, True, "0.0001235"),
        (-0.000123456, True, "-0.0001235"),
        (-1.6e-5, False, "0.0000"),
        (-1.6e-5, True, "-0.00001600"),
        (-3.25, False, "-3.2500"),
        (1.5e-12, True, "1.500e-12"),
    ],
)
def test_digits(value, below, text):
    assert printed(value, below) == text


def test_kid_shows_its_sign():
    weights = {"name": "w", "sha256": "0"}
    entry = {"computed": True, "metric": "kid", "mean": {"kid": -0.00012}, "per_seed": [{}], "std": {"kid": None}}
    entry |= {"network": "n", "resize": "r", "weights": weights}
    result = {
        "target": {"path": "x"},
        "protocol": "folders",
        "generated": {"count": 1, "width": 1, "height": 1},
        "real": None,
        "metrics": {"kid": entry},
        "deviations": [],
        "notes": [],
    }
    assert "kid: -0.0001200" in table(result)
    entry["metric"] = "fid-tf"
    assert "kid: 0.0000" in table(result)
