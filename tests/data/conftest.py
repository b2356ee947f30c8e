"""A folder of pictures, and a way to prepare it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up import made_up_pictures

from t2icli.data.prepare import Options, prepare
from t2icli.recipe_files import load_data_recipe


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures."""
    return made_up_pictures(tmp_path / "pictures", 12)


@pytest.fixture
def prepared(tiny_bert: Path) -> Callable[..., dict[str, Any]]:
    """Prepare a folder of pictures at 16 px, four images a shard."""

    def run(root: Path, out: Path, *overrides: str, **options: Any) -> dict[str, Any]:
        settings = [f"text.model={tiny_bert}", "text.max_tokens=12", "images.size=16", "images_per_shard=4"]
        recipe = load_data_recipe("folder", [*settings, "reader.val_share=0.3", *overrides])
        return prepare(recipe, root, out, Options(**{"workers": 1} | options))

    return run
