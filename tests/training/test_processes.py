"""Two processes train as one with the double batch, where the mathematics says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2icli.training.checkpoint import WEIGHTS


def run_t2i(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "t2icli", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_two_processes_equal_one_with_the_double_batch(tiny_shards: Path, tmp_path: Path) -> None:
    """Global negatives and synchronised batch statistics make every loss one of the whole batch.

    Through ``--nproc 2`` and gloo; the sums run in another order, hence a tolerance, which Adam's division by
    small second moments widens.
    """
    common = ["--set", f"data.shards={tiny_shards}", "--set", "train.images=32", "--set", "train.negatives=global"]
    common += ["--set", "train.sync_batch_norm=true", "--json", "--set", "optim.eps=1e-3"]
    for name, processes in (("one", "1"), ("two", "2")):
        done = run_t2i(tmp_path, "train", "tiny/xmcgan", *common, "--run", name, "--nproc", processes)
        assert json.loads(done.stdout) == {"run": name}
    one, two = (load_file(tmp_path / name / WEIGHTS) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-4, msg=name)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for a, b in zip(*lines, strict=True):
        for key in a.keys() - {"images_per_second"}:
            assert b[key] == pytest.approx(a[key], rel=1e-3, abs=1e-4), key
    started = json.loads((tmp_path / "two" / "card.json").read_text())
    assert started["processes"] == 2
    # The state of two processes is not that of one: batch statistics and noise are shared out differently.
    refused = run_t2i(tmp_path, "train", "tiny/xmcgan", *common, "--run", "two", "--set", "train.images=48", code=4)
    assert "was saved with processes 2, but this run has 1" in refused.stderr


@pytest.mark.slow
def test_torchrun_starts_the_same_and_mistakes_keep_their_code(tiny_shards: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [
        "-m",
        "t2icli",
        "train",
        "tiny/xmcgan",
        "--set",
        f"data.shards={tiny_shards}",
        "--set",
        "train.images=8",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "tiny-xmcgan" / "latest" / WEIGHTS).is_file()
    odd = ["--set", f"data.shards={tiny_shards}", "--set", "train.batch_size=5", "--nproc", "2"]
    refused = run_t2i(tmp_path, "train", "tiny/xmcgan", "--run", "odd", *odd, code=3)
    assert "5 images cannot be shared evenly by 2 processes; try 4" in refused.stderr
