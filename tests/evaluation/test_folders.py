"""Scores of folders of images, end to end."""

import json
from dataclasses import replace

import pytest
import torch
from small_shards import pictures, save, write_shards
from torch_fidelity import calculate_metrics

from t2icli.errors import DataError, EnvironmentFault, UserError
from t2icli.scoring.request import Request
from t2icli.scoring.score import failure, score


@pytest.fixture(scope="module")
def scored(inception_file, tmp_path_factory):
    """Two folders, our result and torch-fidelity's own."""
    root = tmp_path_factory.mktemp("scored")
    fake, real = save(root / "fake", pictures(14, seed=1)), save(root / "real", pictures(12, seed=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2I_OFFLINE", "1")
        given, out = [f"inception-tf={inception_file}"], root / "new" / "result.json"
        ours = score(Request(fake, real, metrics=["fid", "is"], weights=given, out=out))
    theirs = calculate_metrics(
        input1=str(fake),
        input2=str(real),
        isc=True,
        fid=True,
        cuda=False,
        batch_size=14,
        feature_extractor_weights_path=inception_file,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    return ours, theirs, root


def test_equal_to_torch_fidelity(scored):
    ours, theirs, _ = scored
    fid, inception_score = ours["metrics"]["fid-tf"], ours["metrics"]["is"]
    assert fid["value"] > 1  # a distance worth comparing
    assert fid["value"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    assert inception_score["value"] == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    assert inception_score["mean"]["is_std_over_splits"] == pytest.approx(theirs["inception_score_std"], rel=1e-2)


def test_result_has_the_whole_tuple(scored, inception_file):
    ours, _, root = scored
    assert json.loads((root / "new" / "result.json").read_text()) == ours
    assert ours["protocol"] == "folders*"
    assert ours["deviations"] == ["inception-tf weights that are not the published ones"]
    assert ours["target"] == {"kind": "images", "path": str(root / "fake")}
    assert {key: ours["generated"][key] for key in ("count", "height", "width", "seeds")} == {
        "count": 14,
        "height": 32,
        "width": 32,
        "seeds": None,
    }
    assert (ours["real"]["path"], ours["real"]["count"]) == (str(root / "real"), 12)
    assert len(ours["real"]["pixels_sha256"]) == 64
    assert len(ours["generated"]["pixels_sha256"]["generated"]) == 64
    entry = ours["metrics"]["fid-tf"]
    assert (entry["network"], entry["resize"]) == ("inception-v3-compat", "tf1-bilinear-299")
    assert entry["weights"]["file"] == inception_file.name
    assert len(entry["weights"]["sha256"]) == 64
    assert entry["weights"]["published"] is False
    assert entry["per_seed"] == [{"seed": None, "fid-tf": entry["value"]}]
    assert entry["std_over_seeds"] is None
    assert set(ours["versions"]) == {
        "t2i",
        "torch",
        "torchvision",
        "torch-fidelity",
        "transformers",
        "numpy",
        "pillow",
        "python",
    }
    assert "biased upwards" in ours["notes"][0]


def test_batch_size_changes_nothing(scored, inception):
    ours, _, root = scored
    other = score(Request(root / "fake", root / "real", metrics=["fid", "is"], weights=[inception], batch_size=5))
    assert other["generated"]["pixels_sha256"] == ours["generated"]["pixels_sha256"]
    for name in ("fid-tf", "is"):
        assert other["metrics"][name]["value"] == pytest.approx(ours["metrics"][name]["value"], rel=1e-5)


def test_without_weights_nothing_is_computed_or_looked_at(folders, monkeypatch):
    monkeypatch.setattr("t2icli.evaluation.evaluate.look", lambda *_: pytest.fail("looked at images in vain"))
    result = score(Request(folders[0], folders[1]))
    entry = result["metrics"]["fid-tf"]
    assert (entry["computed"], entry["exit_code"]) == (False, 5)
    assert "--weights inception-tf=PATH" in entry["reason"]
    mistake = failure(result)
    assert isinstance(mistake, EnvironmentFault)
    assert "nothing could be computed: inception-tf: these weights cannot be had" in str(mistake)


def test_without_real_images_the_others_go_on(folders, inception):
    result = score(Request(folders[0], weights=[inception]))
    assert result["metrics"]["fid-tf"]["reason"] == "fid-tf compares with real images: give them with --against"
    assert result["metrics"]["is"]["computed"]
    assert result["real"] is None
    assert failure(result) is None
    alone = score(Request(folders[0], metrics=["fid"], weights=[inception]))
    assert failure(alone).exit_code == 2


def test_samples_of_a_folder(folders, inception):
    result = score(Request(*folders, metrics=["is"], samples=10, weights=[inception]))
    assert result["generated"]["count"] == 10
    few = score(Request(*folders, metrics=["is"], samples=4, weights=[inception]))
    assert few["metrics"]["is"]["reason"] == "is needs at least 10 images, and has 4"


def test_against_shards(folders, tmp_path, inception):
    shards = write_shards(tmp_path / "shards")
    result = score(Request(folders[0], shards, metrics=["fid"], weights=[inception]))
    real = result["real"]
    assert (real["kind"], real["dataset"], real["split"], real["count"]) == ("shards", "scenes", "val", 9)
    assert len(real["manifest_sha256"]) == 64
    named = score(Request(folders[0], shards, protocol="scenes-2k", metrics=["fid"], weights=[inception]))
    assert named["protocol"] == "scenes-2k*"
    assert {
        "14 generated images instead of 2,000",
        "captions of the generated images are not known instead of drawn by the protocol",
        "9 real images instead of 2,000",
        "generated images are 32x32 instead of 64x64",
    } <= set(named["deviations"])


def test_lossy_files_are_noted(tmp_path, folders, inception):
    lossy = save(tmp_path / "lossy", pictures(12), ending="jpg")
    result = score(Request(lossy, metrics=["is"], weights=[inception]))
    assert result["notes"] == ["12 of the scored images are JPEG or WebP files: lossy compression moves FID"]


def test_targets_that_are_none(tmp_path):
    shards = write_shards(tmp_path / "shards")
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "recipe.toml").touch()
    (tmp_path / "file.png").touch()
    for target, message in (
        (tmp_path / "absent", "absent: no such run and no such folder of images"),
        (tmp_path / "empty", "neither a run .it has no recipe.toml. nor a folder of images"),
        (tmp_path / "runs", "holds runs, and is none itself: name one, e.g. .*runs/one"),
        (tmp_path / "file.png", "is a file; t2i evaluate takes a run folder"),
        (shards, "holds shards of real images; give them with --against"),
    ):
        with pytest.raises(DataError, match=message):
            score(Request(target))


def test_against_that_is_none(folders, tmp_path):
    with pytest.raises(DataError, match=r"--against .*absent: no such folder"):
        score(Request(folders[0], tmp_path / "absent"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "--samples 1: should be at least 2"),
        ({"seeds": 0}, "--seeds 0: should be at least 1"),
        ({"batch_size": 0}, "--batch 0: should be at least 1"),
        ({"seeds": 3}, "--seeds: is for runs"),
        ({"overrides": ["a=b"]}, "--set: is for runs"),
        ({"weights": ["nothing"]}, "should be NAME=PATH"),
        ({"protocol": "coco"}, "protocol: there is no 'coco'"),
        ({"metrics": ["beauty"]}, "metrics: there is no 'beauty'"),
        ({"precision": "float16"}, "--precision float16: should be float32 or bfloat16"),
        ({"objects": "lists"}, "--soa-captions: is for runs"),
    ],
)
def test_options_that_cannot_be(folders, options, message):
    with pytest.raises(UserError, match=message):
        score(Request(folders[0], **options))


def test_the_random_network_sees_differences(scored):
    """Otherwise the tests above would compare noise with noise."""
    ours, _, root = scored
    assert not torch.equal(pictures(2, seed=1), pictures(2, seed=2))
    assert ours["metrics"]["is"]["value"] > 1 + 1e-6


def test_a_corrupt_picture_is_named(folders, inception):
    for name, damage in (("005.png", b"not a picture"), ("006.png", (folders[0] / "006.png").read_bytes()[:90])):
        kept = (folders[0] / name).read_bytes()
        (folders[0] / name).write_bytes(damage)
        with pytest.raises(DataError, match=rf"{name}: cannot be read as an image"):
            score(Request(folders[0], metrics=["is"], weights=[inception]))
        (folders[0] / name).write_bytes(kept)


def test_mixed_sizes_are_refused(folders, inception):
    save(folders[0] / "more", pictures(2, size=48))
    with pytest.raises(
        DataError, match=r"images of several sizes: 32x32 \(14\), 48x48 \(2\); they have to be of one size"
    ):
        score(Request(folders[0], metrics=["is"], weights=[inception]))


def test_metrics_of_captions_say_what_they_need(folders, inception, tiny_clip):
    clip = f"clip-vit-b-32={tiny_clip}"
    entry = score(Request(folders[0], metrics=["rp-clip"], weights=[clip]))["metrics"]["rp-clip"]
    assert (entry["computed"], entry["exit_code"]) == (False, 2)
    assert "those of a folder are not known: give them with --captions FILE" in entry["reason"]
    (folders[0] / "captions.jsonl").write_text(
        "".join(json.dumps({"file": f"{n:03}.png", "caption": f"a bus {n}"}) + "\n" for n in range(14))
    )
    result = score(Request(folders[0], metrics=["rp-clip", "is"], weights=[clip, inception]))
    reason = result["metrics"]["rp-clip"]["reason"]
    assert reason == "rp-clip: needs 99 captions of other pictures for each picture, and there are only 14 captions"
    assert result["metrics"]["is"]["computed"]
    assert result["generated"]["captions"]["from"].endswith("captions.jsonl")
    assert result["generated"]["negatives"] is None


def test_how_captions_were_given_to_pictures_is_said(tmp_path, folders, inception):
    many = save(tmp_path / "many", pictures(12))
    for number in range(12):
        (many / f"{number:03}.png").rename(many / f"{number}.png")
    (tmp_path / "c.txt").write_text("".join(f"a bus {n} \n" for n in range(12)))
    rows = [json.dumps({"file": f".\\{n}.png", "captions": [f"a bus {n} ", "more"]}) for n in range(12)]
    (tmp_path / "c.jsonl").write_text("\n".join(rows))
    by_line, by_name = (
        score(Request(many, many, captions=tmp_path / name, metrics=["is"], weights=[inception]))
        for name in ("c.txt", "c.jsonl")
    )
    assert by_line["generated"]["captions"]["sha256"] == by_name["generated"]["captions"]["sha256"]
    paired = [result["generated"]["captions"]["paired_by"] for result in (by_line, by_name)]
    assert paired == ["natural order of names", None]
    assert any("line 3 to 2.png" in note for note in by_line["notes"])
    assert any("12 by slashes" in note for note in by_name["notes"])
    assert any("12 pictures of" in note and "several captions" in note for note in by_name["notes"])
    (many / "0.txt").write_text("a bus")
    notes = score(Request(folders[0], many, metrics=["is"], weights=[inception]))["notes"]
    assert any("1 of the 12 pictures" in note and "taken for unknown" in note for note in notes)


def test_bfloat16_is_said(folders, inception, scored):
    result = score(Request(*folders, metrics=["is"], weights=[inception], precision="bfloat16"))
    assert "features in bfloat16 instead of float32" in result["deviations"]
    exact = scored[0]["metrics"]["is"]["value"]
    assert result["metrics"]["is"]["value"] != exact
    assert result["metrics"]["is"]["value"] == pytest.approx(exact, rel=0.05)


def test_cached_equals_uncached(folders, inception, monkeypatch):
    request = Request(*folders, metrics=["fid", "is"], weights=[inception])
    fresh = score(request)
    score(replace(request, cache=True))
    monkeypatch.setattr("t2icli.evaluation.looking.look_afresh", nothing_missing)
    cached = score(replace(request, cache=True))
    assert cached["metrics"] == fresh["metrics"]
    assert cached["generated"]["pixels_sha256"] == fresh["generated"]["pixels_sha256"]


def nothing_missing(pictures, rows, networks, machine):
    assert not networks, "looked again"
    return {}
