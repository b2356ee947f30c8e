"""Scores of runs, with a stand-in for the trained generator."""

import json

import pytest
from small_shards import StandInRun, pictures, save, write_shards

from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, UserError
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.captions import draw
from t2icli.recipe_files import Change
from t2icli.scoring import runs
from t2icli.scoring.comparison import compare
from t2icli.scoring.request import Request
from t2icli.scoring.score import score
from t2icli.storage import sha256


@pytest.fixture
def run(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.toml").touch()
    stand_in = StandInRun(folder, write_shards(tmp_path / "shards"), "scenes-2k")
    monkeypatch.setattr(runs, "open_run", lambda path, overrides, device: stand_in)
    return stand_in


def request(run, inception, **changes):
    return Request(run.folder, **({"metrics": ["fid"], "samples": 9, "seeds": 2, "weights": [inception]} | changes))


def test_result_of_a_run_has_the_whole_tuple(run, inception):
    result = score(request(run, inception))
    (path,) = (run.folder / "eval").glob("scenes-2k-*.json")
    assert json.loads(path.read_text()) == result
    assert result["protocol"] == "scenes-2k*"
    assert "9 generated images instead of 2,000" in result["deviations"]
    assert "noise seeds 0, 1 instead of 0, 1, 2" in result["deviations"]
    assert "generated images are 32x32 instead of 64x64" in result["deviations"]
    assert result["target"]["weights_sha256"] == "c" * 64
    assert result["target"]["images_trained"] == 1234
    generated = result["generated"]
    assert (generated["quantisation"], generated["seeds"]) == ("round", [0, 1])
    assert len(generated["captions"]["sha256"]) == 64
    assert {"choice": "image-passes", "count": 9, "seed": 0}.items() <= generated["captions"].items()
    assert (result["real"]["count"], result["real"]["split"]) == (9, "val")
    entry = result["metrics"]["fid-tf"]
    values = [row["fid-tf"] for row in entry["per_seed"]]
    assert [row["seed"] for row in entry["per_seed"]] == [0, 1]
    assert entry["value"] == pytest.approx(sum(values) / 2)
    assert entry["std_over_seeds"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert values[0] != values[1]


def test_batch_size_changes_no_pixel(run, inception, monkeypatch):
    monkeypatch.setattr(runs, "BLOCK", 4)
    pixels = [
        score(request(run, inception, batch_size=size, seeds=1))["generated"]["pixels_sha256"] for size in (32, 3, 4)
    ]
    assert pixels[0] == pixels[1] == pixels[2]
    assert all(indices in ([0, 1, 2, 3], [4, 5, 6, 7], [8]) for _, indices, _ in run.asked)


def test_results_of_the_same_second_do_not_replace_each_other(run):
    for _ in range(3):
        score(request(run, "inception-tf=absent", seeds=1))
    assert len(list((run.folder / "eval").glob("*.json"))) == 3


def test_against_other_real_images(run, inception, tmp_path):
    real = save(tmp_path / "real", pictures(8, seed=5))
    result = score(request(run, inception, against=real, seeds=1))
    assert (result["real"]["kind"], result["real"]["count"]) == ("images", 8)
    assert "real images from a folder instead of the val split of scenes" in result["deviations"]
    assert result["generated"]["captions"]["from"] == str(run.recipe.data.shards)


def test_against_other_shards_also_takes_their_captions(run, inception, tmp_path):
    other = write_shards(tmp_path / "other", counts=(12,), dataset="cub")
    result = score(request(run, inception, against=other, seeds=1, protocol="coco14-30k"))
    assert result["real"]["path"] == result["generated"]["captions"]["from"] == str(other)
    assert "real images with dataset 'cub' instead of 'coco'" in result["deviations"]


def test_foreign_data_are_no_scenes(run, tmp_path):
    """The recogniser of scenes has never seen an emoji, nor a photograph."""
    run.recipe.data.values["shards"] = write_shards(tmp_path / "emoji", dataset="folder")
    with pytest.raises(
        DataError, match=r"protocol scenes-2k: its networks judge pictures of the data set scenes alone"
    ):
        score(Request(run.folder, samples=9, seeds=1))
    given = {"samples": 9, "seeds": 1, "protocol": "coco14-30k", "metrics": ["fd-scenes", "scenes-right", "soa-scenes"]}
    for entry in score(Request(run.folder, **given))["metrics"].values():
        assert "judges pictures of the data set scenes alone, and these are of folder" in entry["reason"]
    with pytest.raises(DataError, match="these are of cub"):
        score(Request(run.folder, write_shards(tmp_path / "cub", dataset="cub"), samples=9, seeds=1))


def test_changed_keys_of_the_recipe_are_recorded_and_starred(run):
    plain = score(Request(run.folder, samples=9, seeds=1, metrics=["fd-scenes"]))
    run.changes = {"data.shards": Change("a", "b", harmless=True), "model.channels": Change(8, 4, harmless=False)}
    result = score(Request(run.folder, samples=9, seeds=1, metrics=["fd-scenes"]))
    assert result["target"]["overrides"]["model.channels"] == {"from": 8, "to": 4, "harmless": False}
    assert result["target"]["overrides"]["data.shards"]["harmless"]
    assert result["deviations"][0] == "model.channels of the run's recipe is 4 instead of 8 (--set)"
    assert not any("data.shards" in one for one in result["deviations"])
    assert plain["target"]["overrides"] == {}


def test_a_run_and_a_folder_of_its_pictures_may_be_compared(run, tmp_path):
    """Identical pictures for identical captions, whatever order the files have and whoever wrote them."""
    ours = score(Request(run.folder, samples=9, seeds=1, metrics=["fd-scenes"]))
    split = ShardFolder(run.recipe.data.shards, "val")
    texts = draw(split, protocols.load("scenes-2k").captions.model_copy(update={"count": 9}))
    drawn = run.generate_from_shards(split, [(one.image, one.which) for one in texts], range(9), 0)
    theirs = save(tmp_path / "theirs", drawn.flip(0))
    lines = [{"file": f"{8 - number:03}.png", "caption": one.text} for number, one in enumerate(texts)]
    (theirs / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    score(Request(theirs, run.recipe.data.shards, protocol="scenes-2k", samples=9, metrics=["fd-scenes"]))
    row = compare(run.folder, tmp_path / "scores" / "theirs")["metrics"]["fd-scenes"]
    assert ours["metrics"]["fd-scenes"]["value"] == pytest.approx(row["b"], abs=1e-6)
    assert (row["comparable"], row["reasons"], row["remarks"]) == (True, [], [])


def test_protocol_without_captions_is_no_protocol_for_runs(run, inception):
    with pytest.raises(UserError, match="protocol folders: says nothing about captions"):
        score(request(run, inception, protocol="folders"))


def test_run_whose_shards_are_gone(run, inception):
    run.recipe.data.values["shards"] = run.folder / "gone"
    with pytest.raises(DataError, match="gone: no such folder; make it with 't2i prepare"):
        score(request(run, inception))


def test_a_damaged_earlier_result_is_left_out_of_the_report(run, inception, capsys):
    (run.folder / "eval").mkdir()
    (run.folder / "eval" / "scenes-2k-20200101T000000Z.json").write_text("{")
    result = score(request(run, inception, seeds=1))
    assert result["metrics"]["fid-tf"]["computed"]
    assert "left out of the report: " in capsys.readouterr().err
    page = (run.folder / "eval" / "report.html").read_text()
    assert "fid-tf" in page
    assert "20200101T000000Z" not in page


def test_a_judge_that_guided_the_training_is_marked(run, tiny_encoders):
    file = tiny_encoders["damsm"] / "weights" / "encoder.safetensors"
    (run.folder / "card.json").write_text(json.dumps({"weights": [{"name": "damsm", "sha256": sha256(file)}]}))
    run.recipe.data.values["shards"] = write_shards(run.folder / "more", counts=(110,), captions=1)
    given = {"metrics": ["rp-damsm"], "samples": 110, "seeds": 1, "weights": [f"damsm={file}"]}
    result = score(Request(run.folder, **given))
    entry = result["metrics"]["rp-damsm"]
    assert entry["in_loop"]
    assert "rp-damsm judges with a network that the run was trained with" in result["notes"][-1]
    assert set(entry["mean"]) >= {"rp-damsm", "rp-damsm (real)", "rp-damsm@5", "chance"}
    (run.folder / "card.json").unlink()
    assert "in_loop" not in score(Request(run.folder, **given))["metrics"]["rp-damsm"]


def test_lists_of_soa_are_drawn_and_judged(run, shared, tmp_path):
    from t2icli.evaluation.soa.caption_lists import Entry, write_files

    lists = {5: [Entry(100, 1, "a bus on a road"), Entry(104, 2, "a red bus in town")], 16: [Entry(101, 3, "a dog ")]}
    write_files(lists, tmp_path / "origin.json", tmp_path / "lists")
    weights = [f"darknet={shared / 'data' / 'darknet' / 'yolo-fastest.weights'}"]
    result = score(
        Request(run.folder, objects=tmp_path / "lists", protocol="coco14-30k", samples=9, seeds=2,
                metrics=["soa-darknet"], weights=weights)
    )  # fmt: skip
    assert result["generated"]["objects"]["count"] == 9  # three captions, three pictures each
    entry = result["metrics"]["soa[yolo-fastest@0.5]"]
    assert entry["details"][0]["lists"] == "lists"
    assert [(row["label"], row["images"]) for row in entry["details"][0]["labels"]] == [(5, 6), (16, 3)]
    assert [(row["label"], row["images"]) for row in entry["details"][0]["labels (real)"]] == [(5, 2), (16, 1)]
    asked = [texts for texts, _, _ in run.asked if "a bus on a road" in texts]
    assert asked[0] == ["a bus on a road"] * 3 + ["a red bus in town"] * 3 + ["a dog "] * 3
    with pytest.raises(UserError, match="--soa-captions .*: the protocol says nothing about SOA's lists"):
        score(Request(run.folder, objects=tmp_path / "lists", protocol="scenes-2k", samples=9))
