"""Which figures may be compared."""

import copy
import json
import os

import pytest

from t2icli.cli.evaluate import comparison_table
from t2icli.errors import DataError
from t2icli.scoring.comparison import compare


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


RESULT = {
    "protocol": "coco14-30k",
    "target": {"path": "runs/a"},
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
        "is": entry("is", 30.0),
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
    assert found["is"] == {"comparable": False, "reasons": ["b: is is not in it"]}
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
        (tmp_path / "c.json", "cannot be read as a result"),
        (tmp_path / "d.json", "no such result .* and no such run"),
        (tmp_path / "empty", "has no results in .*empty/eval; make one with t2i evaluate"),
    ):
        with pytest.raises(DataError, match=message):
            compare(good, path)


def test_the_table_says_it_in_words(tmp_path):
    text = comparison_table(
        compare(written(tmp_path / "a.json"), written(tmp_path / "b.json", changed("generated", "count", 100)))
    )
    assert text.splitlines()[:2] == ["A: runs/a under coco14-30k", "B: runs/a under coco14-30k"]
    assert "fid-tf: 20.0000 and 20.0000: may NOT be compared" in text
    assert "    number of pictures: 30000 and 100" in text
    same = comparison_table(compare(tmp_path / "a.json", tmp_path / "a.json"))
    assert "fid-tf: 20.0000 and 20.0000: may be compared; a tie" in same
