"""A few hundred cases of the bench that damages what t2i reads; thousands are run by hand."""

import random
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import fuzz

KINDS = {"recipe": {0, 3}, "--set": {0, 3}, "manifest": {0, 4}, "released checkpoint": {4}}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_ends_in_words(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    chance = random.Random()
    attack = fuzz.attacks(tmp_path_factory.mktemp("fuzz"), chance)[kind]

    @settings(
        max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(st.integers(0, 2**32))
    def every(seed: int) -> None:
        chance.seed(seed)
        began = time.process_time()
        assert attack() in KINDS[kind]
        assert time.process_time() - began < 20

    every()
