"""What chance is in a step of a run: another in every step and in every process, the same again in a resumed run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from t2icli.distributed import World
from t2icli.training import loop


@pytest.fixture
def seeds(recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The seeds of torch's generator with which ``train`` comes to its steps, as one of two processes."""
    step = loop.one_step

    def run(rank: int, name: str, *overrides: str) -> list[int]:
        found: list[int] = []

        @contextmanager
        def session() -> Iterator[World]:
            yield World(rank, 2, torch.device("cpu"))

        def noted(*arguments: object) -> dict[str, torch.Tensor]:
            found.append(torch.initial_seed())
            return step(*arguments)

        monkeypatch.setattr(loop, "session", session)
        monkeypatch.setattr(loop, "one_step", noted)
        loop.train(recipe("train.images=24", *overrides), lambda: tmp_path / name)
        return found

    return run


def test_every_step_and_every_process_has_its_own(seeds) -> None:
    first, second = seeds(0, "first"), seeds(1, "second")
    assert len(first) == len(second) == 3
    assert len({*first, *second}) == 6
    assert seeds(1, "again") == second
    assert not {*seeds(1, "other", "train.seed=7")} & {*first, *second}


def test_a_resumed_run_goes_on_with_the_same(seeds, recipe) -> None:
    whole = seeds(0, "whole")
    part = seeds(0, "broken", "train.images=8")
    assert part + seeds(0, "broken") == whole
