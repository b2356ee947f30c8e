"""A tiny run's recipe."""

from collections.abc import Callable
from pathlib import Path

import pytest

from t2icli.recipe import Recipe
from t2icli.recipe_files import load_recipe

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def recipe(tiny_shards: Path) -> MakeRecipe:
    """The tiny XMC-GAN on tiny scenes; arguments are further overrides."""

    def make(*overrides: str) -> Recipe:
        return load_recipe("tiny/xmcgan", [f"data.shards={tiny_shards}", *overrides])

    return make
