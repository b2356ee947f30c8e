"""The folder is the registry."""

import pytest

from t2icli import registry
from t2icli.errors import RecipeError


def test_names_are_the_files() -> None:
    assert "xmcgan" in registry.available("t2icli.systems")
    assert not [name for name in registry.available("t2icli.systems") if name.startswith("_")]
    assert registry.load("t2icli.systems", "xmcgan").build.__name__ == "XMCGAN"


def test_an_unknown_name_gets_the_nearest_or_the_list() -> None:
    with pytest.raises(RecipeError, match="systems: there is no 'xmc_gan'; did you mean 'xmcgan'"):
        registry.load("t2icli.systems", "xmc_gan")
    with pytest.raises(RecipeError, match="terms: there is no 'zzz'; available: image_contrastive, perceptual"):
        registry.load("t2icli.terms", "zzz")
