"""The folder is the registry."""

from pathlib import Path

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
    with pytest.raises(RecipeError, match="terms: there is no 'zzz'; available: damsm, image_contrastive"):
        registry.load("t2icli.terms", "zzz")
    with pytest.raises(RecipeError, match="systems: there is no '_base'"):
        registry.load("t2icli.systems", "_base")


def test_only_the_module_that_is_asked_for_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "made_up_systems"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text("build = 3\n")
    (package / "broken.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.available("made_up_systems") == ["broken", "good"]
    assert registry.load("made_up_systems", "good").build == 3
    with pytest.raises(RuntimeError, match="imported"):
        registry.load("made_up_systems", "broken")


def test_hyphens_stand_for_underscores() -> None:
    assert registry.load("t2icli.terms", "image-contrastive") is registry.load("t2icli.terms", "image_contrastive")
