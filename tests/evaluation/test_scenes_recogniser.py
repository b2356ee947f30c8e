"""The bundled recogniser: right on real drawings of every size, and a score that sees what is wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from t2icli.data.scenes import CATEGORIES, COLOURS, PLACES, one_scene, paint
from t2icli.errors import EnvironmentFault
from t2icli.evaluation import scenes_recogniser
from t2icli.evaluation.scenes_recogniser import Recogniser, load, place_objects_colours_right, recognise, shares_right


@pytest.fixture(scope="module")
def network() -> Recogniser:
    return load()


def pictures_of(wanted: list[tuple[str, str, str]], size: int) -> Tensor:
    random = np.random.default_rng(0)
    arrays = [
        np.asarray(paint(one_scene(place, category, colour, random), size)[0]) for place, colour, category in wanted
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def every_pair() -> list[tuple[str, str, str]]:
    """Every place with every colour, and every category at least twice."""
    names = list(CATEGORIES)
    pairs = [(place, colour) for place in PLACES for colour in COLOURS]
    return [(place, colour, names[i % len(names)]) for i, (place, colour) in enumerate(pairs)]


def captions_of(wanted: list[tuple[str, str, str]]) -> list[str]:
    place_words = {"sea": "in the sea", "night": "at night", "grass": "on the grass", "snow": "in the snow"}
    return [f"a {colour} {category} {place_words.get(place, f'on a {place}')}" for place, colour, category in wanted]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_it_is_right_on_real_drawings(network: Recogniser, size: int) -> None:
    wanted = every_pair()
    right = place_objects_colours_right(pictures_of(wanted, size), captions_of(wanted), network)
    assert right["place"] >= 0.97
    assert right["objects"] >= 0.9
    assert right["colours"] >= 0.95


def test_each_kind_of_fault_is_seen_alone(network: Recogniser) -> None:
    seen = recognise(network, pictures_of([("street", "red", "bus")], 64))
    assert shares_right(seen, ["a red bus on a street"]) == {"place": 1, "objects": 1, "colours": 1, "all": 1}
    assert shares_right(seen, ["a red bus on a beach"]) == {"place": 0, "objects": 1, "colours": 1, "all": 0}
    assert shares_right(seen, ["a red cat on a street"])["objects"] == 0
    assert shares_right(seen, ["a blue bus on a street"]) == {"place": 1, "objects": 1, "colours": 0, "all": 0}


def test_only_what_a_caption_says_counts(network: Recogniser) -> None:
    seen = recognise(network, pictures_of([("street", "red", "bus")], 64))
    assert shares_right(seen, ["a bus"]) == {"objects": 1, "all": 1}
    assert shares_right(seen, ["something on a street"]) == {"place": 1, "all": 1}
    assert shares_right(seen, ["a nice afternoon"]) == {}


def test_a_picture_does_not_depend_on_its_batch(network: Recogniser) -> None:
    pictures = pictures_of(every_pair()[:7], 32)
    together, apart = recognise(network, pictures), recognise(network, pictures, batch_size=2)
    assert together.features.shape == (7, scenes_recogniser.FEATURES)
    assert together.colour.shape == (7, len(CATEGORIES), len(COLOURS))
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_bundled_files_are_small_and_described() -> None:
    folder = scenes_recogniser.WEIGHTS.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
    assert "Held out" in (folder / "CARD.md").read_text(encoding="utf-8")


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scenes_recogniser, "WEIGHTS", tmp_path / "model.safetensors")
    with pytest.raises(EnvironmentFault, match="reinstall t2i, or make it: python tools/make_scenes_recogniser.py"):
        load()
