"""Seeds of steps: pinned, different for every process, and those of older runs as they were."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from t2icli.distributed import World
from t2icli.training import loop
from t2icli.training.checkpoint import Checkpoint
from t2icli.training.seeds import RULES, step_seed
from t2icli.training.trainer import build
from t2icli.weights import Weights


def test_the_streams_are_pinned() -> None:
    assert [step_seed("streams", 0, step, 0) for step in range(2)] == [8747803846533196990, 5597858526997519049]
    assert step_seed("streams", 0, 1, 3) == 1230415338035465913
    assert step_seed("streams", 2**63 - 1, 123456, 1) == 7312877263667288258


def test_the_rule_of_older_runs_is_pinned() -> None:
    """CPython's hash of tuples of whole numbers, 3.8 to 3.13: runs that were begun by it go on by it."""
    assert [step_seed("hash", *position) for position in ((0, 0, 0), (0, 1, 0), (7, 123456, 3))] == [
        3010437511937009226,
        7619408953831620358,
        8360740240917340447,
    ]
    assert step_seed("hash", 5, 9) == 1114583780582082233


@pytest.mark.parametrize("rule", RULES)
def test_every_step_and_process_has_its_own(rule: str) -> None:
    seeds = {step_seed(rule, seed, step, rank) for seed in range(3) for step in range(50) for rank in range(8)}
    assert len(seeds) == 3 * 50 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("rule", RULES)
def test_the_loop_gives_every_process_its_own_stream(rule: str, recipe, tmp_path: Path, monkeypatch) -> None:
    """What a step draws from torch's generator, in processes 0 and 1 of 2, from step 1 on."""
    trainer, drawn = build(recipe("train.images=24", "train.seed=5"), Weights(), torch.device("cpu")), []
    monkeypatch.setattr(loop, "one_step", lambda *_: drawn.append(torch.rand(1).item()) or {})
    for rank in range(2):
        checkpoint = Checkpoint(tmp_path, {})
        checkpoint.seeds = rule
        request = SimpleNamespace(raised=False, interrupted=False)
        loop.follow(trainer, World(rank, 2, torch.device("cpu")), checkpoint, None, request, 1)
    expected = []
    for rank in range(2):
        for step in (1, 2):
            torch.manual_seed(step_seed(rule, 5, step, rank))
            expected.append(torch.rand(1).item())
    assert drawn == expected
    assert len(set(drawn)) == 4
