"""Which figures may be compared."""

import copy
import json
import os

import pytest

from t2icli.cli.evaluate import comparison_table
from t2icli.errors import DataError
from t2icli.scoring.comparison import compare
from t2icli.scoring.results import FORMAT, sealed


def entry(metric, value, std=0.1, **changes):
    return {
        "computed": True,
        "metric": metric,
        "value": value,
        "std_over_seeds": std,
        "better": "lower",
        "network": "inception-v3-compat",
        "resize": "tf1-bilinear-299",
        "weights": {"name": "inception-tf", "sha256": "w", "published": True},
    } | changes


OVERRIDE = {"from": 8, "to": 4, "harmless": False}
RESULT = {
    "protocol": "coco14-30k",
    "target": {"path": "runs/a", "kind": "run"},
    "precision": "float32",
    "generated": {
        "count": 30_000,
        "height": 256,
        "width": 256,
        "quantisation": "round",
        "captions": {"sha256": "c"},
        "negatives": {"sha256": "n"},
    },
    "real": {"dataset": "coco", "split": "val", "fit": "squash", "count": 30_000, "pixels_sha256": "p"},
    "metrics": {
        "fid-tf": entry("fid-tf", 20.0),
        "is": entry("is", 30.0, details=[{"splits": 10}], cfg={"file": "x.cfg", "sha256": "1"}),
        "rp-clip": entry("rp-clip", 0.7),
        "soa[yolov3@0.5]": entry("soa-yolov3", 0.2),
    },
}


def written(path, change=None):
    result = copy.deepcopy(RESULT)
    if change is not None:
        change(result)
    path.write_text(json.dumps(result))
    return path


def compared(tmp_path, change):
    return compare(written(tmp_path / "a.json"), written(tmp_path / "b.json", change))["metrics"]


def test_equal_tuples_may_be_compared(tmp_path):
    def better(result):
        result["metrics"]["fid-tf"]["value"] = 15.0

    found = compared(tmp_path, better)
    assert all(row["comparable"] and not row["reasons"] for row in found.values())
    assert found["fid-tf"]["difference"] == -5.0
    assert found["fid-tf"]["tie"] is False
    assert found["is"]["tie"] is True  # no difference at all


def changed(*path_and_value):
    *path, last, value = path_and_value

    def change(result):
        for key in path:
            result = result[key]
        result[last] = value

    return change


ALL = {"fid-tf", "is", "rp-clip", "soa[yolov3@0.5]"}


@pytest.mark.parametrize(
    ("change", "refused", "reason"),
    [
        (changed("metrics", "is", "metric", "is-star"), {"is"}, "metric: is and is-star"),
        (changed("metrics", "is", "details", [{"splits": 1}]), {"is"}, "splits: 10 and 1"),
        (changed("metrics", "is", "cfg", {"file": "x", "sha256": "2"}), {"is"}, "cfg: 1 and 2"),
        (changed("target", "overrides", {"model.channels": OVERRIDE}), ALL, "(--set): none and model.channels=4"),
        (changed("metrics", "is", "weights", "sha256", "x"), {"is"}, "weights (sha256): w and x"),
        (changed("metrics", "is", "resize", "bicubic"), {"is"}, "resize: tf1-bilinear-299 and bicubic"),
        (changed("metrics", "rp-clip", "in_loop", True), {"rp-clip"}, "guided the training: False and True"),
        (changed("precision", "bfloat16"), ALL, "precision: float32 and bfloat16"),
        (changed("generated", "count", 100), ALL, "number of pictures: 30000 and 100"),
        (changed("generated", "height", 64), ALL, "height: 256 and 64"),
        (changed("generated", "quantisation", "truncate"), ALL, "quantisation: round and truncate"),
        (changed("generated", "captions", "sha256", "d"), ALL, "captions (sha256): c and d"),
        (changed("generated", "captions", None), ALL, "captions (sha256): c and not known"),
        (changed("generated", "negatives", "sha256", "m"), {"rp-clip"}, "wrong captions"),
        (changed("real", "pixels_sha256", "q"), {"fid-tf"}, "real images: pixels (sha256): p and q"),
        (changed("generated", "objects", {"sha256": "o"}), {"soa[yolov3@0.5]"}, "the drawn captions and o"),
    ],
)
def test_what_differs_is_named(tmp_path, change, refused, reason):
    found = compared(tmp_path, change)
    assert {name for name, row in found.items() if not row["comparable"]} == refused
    for name in refused:
        assert any(reason in text for text in found[name]["reasons"]), found[name]
        assert found[name]["tie"] is None


def test_what_is_not_known_is_a_remark(tmp_path):
    """As between a run and somebody's folder of the same number of pictures for the same captions."""

    def folder(result):
        result["target"] = {"path": "theirs", "kind": "images"}
        result["generated"] |= {"quantisation": "not known: files as they are", "lossy": 0}

    row = compared(tmp_path, folder)["fid-tf"]
    assert row["comparable"]
    assert row["remarks"] == ["quantisation: not known of b"]


def test_equal_pictures_need_no_further_facts(tmp_path):
    """Whatever was recorded of how they were made, in whatever order they came."""

    def run(result):
        result["generated"] |= {"pixel_sets_sha256": {"seed 0": "same"}, "captions": CAPTIONS}

    def folder(result):
        result["target"] = {"path": "theirs", "kind": "images"}
        more = {"quantisation": "not known: files as they are", "pixel_sets_sha256": {"generated": "same"}}
        result["generated"] |= more | {"captions": CAPTIONS | {"sha256": "of an older form"}}

    row = compare(written(tmp_path / "a.json", run), written(tmp_path / "b.json", folder))["metrics"]["fid-tf"]
    assert (row["comparable"], row["reasons"], row["remarks"]) == (True, [], [])


CAPTIONS = {"sha256": "c", "texts_sha256": "t"}


def test_captions_that_nobody_knows(tmp_path):
    unknown = changed("generated", "captions", None)
    row = compare(written(tmp_path / "a.json", unknown), written(tmp_path / "b.json", unknown))["metrics"]["fid-tf"]
    assert row["comparable"]
    assert row["remarks"] == ["captions: not known of a and b, so nobody can tell whether both drew for the same ones"]


def test_captions_of_an_older_form(tmp_path):
    """An older run beside a newer folder: two recipes of one hash, which say nothing about each other."""

    def folder(result):
        result["target"] = {"path": "theirs", "kind": "images"}
        result["generated"]["captions"] = {"sha256": "d", "texts_sha256": "t"}

    row = compared(tmp_path, folder)["fid-tf"]
    assert row["comparable"]
    assert any("captions: a's hash is of an older form" in remark for remark in row["remarks"])
    both = changed("generated", "captions", CAPTIONS)
    other = changed("generated", "captions", CAPTIONS | {"texts_sha256": "u"})
    row = compare(written(tmp_path / "a.json", both), written(tmp_path / "b.json", other))["metrics"]["fid-tf"]
    assert row["reasons"] == ["captions (sha256): t and u"]


def test_jpeg_is_not_png(tmp_path):
    def png(result):
        result["target"] = {"path": "png", "kind": "images"}
        result["generated"]["lossy"] = 0

    def jpeg(result):
        png(result)
        result["generated"]["lossy"] = 30_000

    def some(result):
        png(result)
        result["generated"]["lossy"] = 7

    first = written(tmp_path / "a.json", png)
    reasons = [compare(first, written(tmp_path / "b.json", one))["metrics"]["is"]["reasons"] for one in (jpeg, some)]
    assert reasons == [
        ["files compressed with loss: none and all"],
        ["files compressed with loss: none and 7 of 30,000"],
    ]


def test_libraries_and_devices_are_remarked_on(tmp_path):
    def one(result):
        result |= {"versions": {"torch": "2.10", "numpy": "2"}, "device": "cpu"}

    def other(result):
        result |= {"versions": {"torch": "2.11", "numpy": "2"}, "device": "cuda"}

    found = compare(written(tmp_path / "a.json", one), written(tmp_path / "b.json", other))
    assert found["remarks"][-2:] == [
        "other versions, which may move figures: torch 2.10 and 2.11",
        "other devices, whose sums are rounded differently: cpu and cuda",
    ]
    assert found["metrics"]["is"]["comparable"]


def test_the_same_set_in_another_order_is_the_same_real_side(tmp_path):
    def one(pixels):
        return changed("real", {"kind": "images", "count": 3, "pixels_sha256": pixels, "pixel_set_sha256": "s"})

    row = compare(written(tmp_path / "a.json", one("p")), written(tmp_path / "b.json", one("q")))["metrics"]["fid-tf"]
    assert row["reasons"] == []


def test_statistics_are_compared_with_themselves_alone(tmp_path):
    def statistics(sha256):
        return changed("real", {"kind": "statistics", "sha256": sha256})

    first = written(tmp_path / "a.json", statistics("1"))
    same, other, images = (
        compare(first, written(tmp_path / "b.json", change))["metrics"]["fid-tf"]
        for change in (statistics("1"), statistics("2"), None)
    )
    assert same["comparable"] and "does not say of which images" in same["remarks"][0]
    assert other["reasons"] == ["real side: statistics 1 and statistics 2"]
    assert images["reasons"] == ["real side: statistics 1 and images"]


def sealed_result(path, change=None):
    """As this version writes it, then changed."""
    result = sealed(copy.deepcopy(RESULT) | {"format": FORMAT})
    if change is not None:
        change(result)
    path.write_text(json.dumps(result))
    return path


def test_a_result_that_nobody_changed_is_read(tmp_path):
    path = sealed_result(tmp_path / "a.json")
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))  # spaces are no facts
    assert compare(path, path)["remarks"] == []


@pytest.mark.parametrize(
    "change",
    [
        changed("metrics", "fid-tf", "value", 9.33),
        changed("generated", "count", 30_001),
        changed("notes", ["added"]),
        changed("checksum", "0" * 64),
        lambda result: result.pop("checksum"),
    ],
)
def test_an_edited_result_is_refused(tmp_path, change):
    path = sealed_result(tmp_path / "a.json", change)
    with pytest.raises(DataError, match=r"a.json: has been changed since t2i evaluate wrote it"):
        compare(path, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is JSON, but no result of t2i evaluate"),
        ("null", "is JSON, but no result of t2i evaluate"),
        ('{"metrics": {}, "protocol": 3, "target": {}, "generated": {}}', "read as a result of t2i evaluate: damaged"),
        ("NaN", "NaN is no number of JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("<!doctype html>", "it is a web page"),
        ("", "it is empty"),
    ],
)
def test_what_is_no_result_is_told(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        compare(path, path)


@pytest.mark.parametrize(
    "change",
    [
        changed("metrics", "fid-tf", "value", "20"),
        changed("metrics", "fid-tf", "value", None),
        changed("metrics", "fid-tf", "value", 1e999),
        changed("metrics", "fid-tf", "weights", {}),
        changed("metrics", "fid-tf", []),
        changed("metrics", []),
        changed("generated", "count", "many"),
        changed("target", {}),
        changed("real", "none"),
        changed("versions", {"torch": 2}),
    ],
)
def test_a_malformed_result_is_told(tmp_path, change):
    path = written(tmp_path / "a.json", change)
    path.write_text(path.read_text().replace("Infinity", "1e999"))
    with pytest.raises(DataError, match=r"a.json: (read as a result of t2i evaluate: )?damaged"):
        compare(path, path)


def test_a_newer_result_is_told(tmp_path):
    path = written(tmp_path / "a.json", changed("format", FORMAT + 1))
    with pytest.raises(DataError, match=r"is a result of a newer t2i \(format 3; this one reads up to 2\)"):
        compare(path, path)


def test_a_metric_that_nobody_knows_is_not_compared(tmp_path):
    row = compared(tmp_path, changed("metrics", "beauty", entry("beauty", 1.0)))["beauty"]
    assert row["reasons"] == ["a: beauty is not in it"]
    path = tmp_path / "b.json"
    assert "there is no 'beauty'" in compare(path, path)["metrics"]["beauty"]["reasons"][0]


def test_real_sets_that_differ_are_told_apart(tmp_path):
    def other(result):
        result["real"] |= {"fit": "short", "count": 40_504, "pixels_sha256": "q"}

    reasons = compared(tmp_path, other)["fid-tf"]["reasons"]
    assert reasons == ["real images: fit: squash and short", "real images: count: 30000 and 40504"]


def test_metrics_that_are_missing_or_failed(tmp_path):
    def less(result):
        del result["metrics"]["is"]
        result["metrics"]["fid-tf"] = {"computed": False, "reason": "no weights", "exit_code": 5}

    found = compared(tmp_path, less)
    assert found["is"] == {"comparable": False, "reasons": ["b: is is not in it"], "remarks": []}
    assert found["fid-tf"]["reasons"] == ["b: fid-tf was not computed: no weights"]


def test_one_seed_leaves_ties_open(tmp_path):
    found = compared(tmp_path, changed("metrics", "is", "std_over_seeds", None))
    assert found["is"]["tie"] is None
    assert found["is"]["comparable"]


def test_a_run_means_its_newest_result(tmp_path):
    folder = tmp_path / "run" / "eval"
    folder.mkdir(parents=True)
    old, new = written(folder / "b.json"), written(folder / "a.json")
    os.utime(old, (1, 1))
    assert compare(tmp_path / "run", old)["a"]["file"] == str(new)


def test_files_that_are_no_results(tmp_path):
    good = written(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "b.json", "is JSON, but no result of t2i evaluate"),
        (tmp_path / "c.json", "damaged, not valid JSON"),
        (tmp_path / "d.json", "no such result .* and no such run"),
        (tmp_path / "empty", "has no results in .*empty/eval; make one with t2i evaluate"),
    ):
        with pytest.raises(DataError, match=message):
            compare(good, path)


def test_the_table_says_it_in_words(tmp_path):
    text = comparison_table(
        compare(written(tmp_path / "a.json"), written(tmp_path / "b.json", changed("generated", "count", 100)))
    )
    assert text.splitlines()[:4] == [
        "A: runs/a under coco14-30k",
        "B: runs/a under coco14-30k",
        "note: a is of an older version: it has no checksum, so nobody can tell whether it was edited",
        "note: b is of an older version: it has no checksum, so nobody can tell whether it was edited",
    ]
    assert "fid-tf: 20.0000 and 20.0000: may NOT be compared" in text
    assert "    number of pictures: 30000 and 100" in text
    same = comparison_table(compare(tmp_path / "a.json", tmp_path / "a.json"))
    assert "fid-tf: 20.0000 and 20.0000: may be compared; a tie" in same
