"""A few dozen cases a kind of the bench that damages what t2i reads; thousands are run by hand."""

import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import fuzz

CASES = 30  # a kind


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "ground"
    fuzz.lay_out(folder)
    return folder


@pytest.mark.parametrize("name", fuzz.KINDS)
def test_damage_ends_in_words(name: str, ground: Path) -> None:
    kind = fuzz.KINDS[name]

    @settings(
        max_examples=CASES, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(st.integers(0, 2**32))
    def every(seed: int) -> None:
        assert kind.attack(ground, Random(seed)) in kind.codes

    every()


@pytest.mark.parametrize("name", [name for name, kind in fuzz.KINDS.items() if 0 in kind.codes and name != "--set"])
def test_what_is_whole_is_read(name: str, ground: Path) -> None:
    """Else every case would be refused for something that is not its damage."""
    kind = fuzz.KINDS[name]
    assert isinstance(kind, fuzz.Kind)
    whole = fuzz.Kind(kind.file, lambda content, random: content, kind.read, (0,))
    assert whole.attack(ground, Random(0)) == 0
