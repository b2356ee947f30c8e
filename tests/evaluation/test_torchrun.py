"""An evaluation by several processes, as users start it."""

import json
import os
import subprocess
import sys

import pytest
from small_shards import pictures, save


@pytest.mark.slow
def test_torchrun_gives_the_result_of_one_process(tmp_path, inception):
    fake, real = save(tmp_path / "fake", pictures(14, seed=1)), save(tmp_path / "real", pictures(12, seed=2))
    arguments = ["evaluate", str(fake), "--against", str(real), "--metrics", "fid,is", "--weights", inception]
    arguments += ["--no-cache", "--json"]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "t2icli"]
    results = []
    for command in (["-m", "t2icli"], several):
        done = subprocess.run(
            [sys.executable, *command, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))  # one object: only the first process speaks
    one, two = results
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["generated"]["pixels_sha256"] == one["generated"]["pixels_sha256"]
    for name in ("fid-tf", "is"):
        assert two["metrics"][name]["mean"] == pytest.approx(one["metrics"][name]["mean"], rel=1e-5)
