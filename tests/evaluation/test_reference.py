"""Statistics of others as the real side: read with care, compared with the images they are of, and never trusted."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_shards import pictures, save

from t2icli.cli.evaluate import table
from t2icli.errors import DataError, UserError
from t2icli.evaluation import reference
from t2icli.evaluation.evaluate import Sides, check_needs, find_metrics
from t2icli.evaluation.features import Features, Pictures
from t2icli.evaluation.images import MemoryImages
from t2icli.evaluation.measures.frechet import Gaussian
from t2icli.evaluation.reference import Reference, read_reference
from t2icli.scoring.request import Request
from t2icli.scoring.score import failure, score


def features(count, seed, width=48):
    return np.random.default_rng(seed).standard_normal((count, width)) * np.linspace(0.1, 1, width)


def statistics(path, rows, **more):
    """As pytorch-fid writes them, by NumPy's own mean and covariance."""
    np.savez(path, **({"mu": rows.mean(0), "sigma": np.cov(rows, rowvar=False)} | more))
    return path


def test_statistics_give_the_distance_of_the_images_they_are_of(tmp_path):
    real, fake = features(40, 1), features(30, 2)
    read = read_reference(statistics(tmp_path / "real.npz", real))
    metric = find_metrics(["fid-tf"])["fid-tf"]

    def side(rows):
        return Features(len(rows), "", {"inception_tf": {"2048": torch.from_numpy(rows)}})

    [images] = metric.compute([side(fake)], side(real))
    [file] = metric.compute([side(fake)], Features(0, "", {}, statistics=read.gaussian))
    assert file.values["fid-tf"] == pytest.approx(images.values["fid-tf"], rel=1e-9)
    assert images.values["fid-tf"] > 1


def test_statistics_in_float32_and_with_other_arrays_beside_them(tmp_path):
    rows = features(40, 1, 16)
    exact = read_reference(statistics(tmp_path / "a.npz", rows))
    mean, covariance = rows.mean(0).astype(np.float32), np.cov(rows, rowvar=False).astype(np.float32)
    np.savez_compressed(tmp_path / "b.npz", mu=mean, sigma=covariance, names=np.array(["x"], object))
    rounded = read_reference(tmp_path / "b.npz")
    torch.testing.assert_close(rounded.gaussian.covariance, exact.gaussian.covariance, rtol=1e-5, atol=1e-6)
    assert rounded.sha256 != exact.sha256
    np.savez(tmp_path / "c.npz", mu=rows.mean(0), sigma=np.cov(rows, rowvar=False), count=40)
    assert read_reference(tmp_path / "c.npz").sha256 == exact.sha256


EYE = np.eye(4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(4)}, "lacks sigma .it holds mu."),
        ({"features": EYE}, "lacks mu and sigma .it holds features."),
        ({"mu": np.zeros(3), "sigma": EYE}, r"mu is \(3,\) and sigma \(4, 4\)"),
        ({"mu": np.zeros((2, 2)), "sigma": EYE}, r"mu is \(2, 2\)"),
        ({"mu": np.float64(1), "sigma": EYE}, r"mu is \(1,\) and"),
        ({"mu": np.array([1, 2, 3, np.nan]), "sigma": EYE}, "not finite"),
        ({"mu": np.zeros(4), "sigma": np.full((4, 4), np.inf)}, "not finite"),
        ({"mu": np.zeros(4), "sigma": EYE + np.triu(np.ones((4, 4)), 1)}, "not symmetric"),
        ({"mu": np.zeros(4), "sigma": np.diag([1.0, 1, 1, -1])}, "negative eigenvalue, -1"),
        ({"mu": np.zeros(4), "sigma": -EYE}, "negative eigenvalue"),
        ({"mu": np.array(["a"] * 4), "sigma": EYE}, "holds mu of <U1"),
        ({"mu": np.zeros(4, complex), "sigma": EYE}, "holds mu of complex128"),
        ({"mu": np.array([None] * 4), "sigma": EYE}, "cannot be read as an .npz file of statistics"),
    ],
)
def test_what_are_no_statistics(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_reference(tmp_path / "a.npz")


def test_files_that_are_none(tmp_path):
    whole = statistics(tmp_path / "whole.npz", features(10, 1, 8)).read_bytes()
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as packed:
        packed.writestr("mu.npy", "text")
        packed.writestr("sigma.npy", "text")
    for content in (b"", b"not a zip", whole[:300], b"<!doctype html>", (tmp_path / "text.npz").read_bytes()):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"a.npz: cannot be read as an .npz file of statistics"):
            read_reference(tmp_path / "a.npz")


def test_an_array_beyond_measure_is_not_unpacked(tmp_path, monkeypatch):
    statistics(tmp_path / "a.npz", features(10, 1, 8))
    monkeypatch.setattr(reference, "LIMIT", 100)
    with pytest.raises(DataError, match="more than 100 bytes"):
        read_reference(tmp_path / "a.npz")


def test_a_changed_byte_is_told(tmp_path):
    path = statistics(tmp_path / "a.npz", features(10, 1, 8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_reference(path)


def test_only_fid_takes_statistics():
    width = 2048
    file = Reference(Path("a.npz"), Gaussian(torch.zeros(width), torch.eye(width)), "0")
    sides = Sides([Pictures(MemoryImages(pictures(12)), "x")], reference=file)
    taken = []
    for name, metric in find_metrics(
        ["fid", "fid-clean", "fid-torchvision", "fid-keras", "fid-clip", "kid", "prdc"]
    ).items():
        try:
            check_needs(metric, sides)
            taken.append(name)
        except UserError as fault:
            assert "compares with real images themselves" in str(fault)
    assert taken == ["fid-tf", "fid-clean", "fid-torchvision", "fid-keras"]


def test_a_result_says_what_is_not_known(tmp_path):
    """No network has to run for that: the statistics are of another number of features."""
    fake = save(tmp_path / "fake", pictures(12))
    small = statistics(tmp_path / "small.npz", features(10, 1, 8))
    result = score(Request(fake, small, metrics=["fid", "fd-scenes"]))
    reasons = {name: entry["reason"] for name, entry in result["metrics"].items()}
    assert (
        "compares 2,048 features, and" in reasons["fid-tf"]
        and "the statistics of 8: they are of another" in reasons["fid-tf"]
    )
    assert "compares with real images themselves" in reasons["fd-scenes"]
    assert result["protocol"] == "folders*"
    assert "does not say of which images they are" in result["deviations"][0]
    assert result["real"] == {
        "kind": "statistics",
        "path": str(small),
        "sha256": read_reference(small).sha256,
        "features": 8,
    }
    assert f"real statistics of 8 features from {small}" in table(result)
    assert failure(result).exit_code == 2
    (kept,) = (tmp_path / "scores" / "fake").glob("*.json")
    assert json.loads(kept.read_text()) == result


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"--against .*absent.npz: no such file of statistics"):
        score(Request(save(tmp_path / "fake", pictures(3)), tmp_path / "absent.npz"))
