"""The reading of pixels must be right on real drawings before it may judge generated ones."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from place_and_colour import asked, caption, drawings
from reading_pixels import read_colour, read_place

from t2icli.data.scenes import understand


@pytest.mark.parametrize("size", [32, 64])
def test_real_drawings_are_read_right(size: int) -> None:
    wanted = asked(per_pair=3)
    arrays = drawings(wanted, size).permute(0, 2, 3, 1).numpy()
    pairs = list(zip(arrays, wanted, strict=True))
    assert sum(read_place(array) == place for array, (place, _, _) in pairs) >= 0.97 * len(pairs)
    assert sum(read_colour(array) == colour for array, (_, colour, _) in pairs) >= 0.95 * len(pairs)


def test_what_is_asked_is_what_the_captions_say() -> None:
    for place, colour, category in asked(per_pair=1):
        content = understand(caption(place, colour, category))
        assert content.place == place
        assert list(content.objects) == [(category, colour)]
