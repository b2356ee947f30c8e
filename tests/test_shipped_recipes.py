"""Every recipe that comes with t2i loads, and a mistyped key in any of its tables is refused."""

import copy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t2icli import registry
from t2icli.errors import RecipeError
from t2icli.recipe_book import load_any
from t2icli.recipe_files import load_recipe, shipped, shipped_folder, to_toml, toml_lines
from t2icli.training.trainer import terms_of

every_recipe = pytest.mark.parametrize("name", shipped())
ABLATIONS = {  # losses beside the adversarial ones: in the system, and the terms
    "none": (set(), set()),
    "sentence": ({"sentence"}, set()),
    "word": ({"word"}, set()),
    "image": ({"image"}, set()),
    "frozen": (set(), {"image_contrastive"}),
    "image-frozen": ({"image"}, {"image_contrastive"}),
    "sentence-word": ({"sentence", "word"}, set()),
    "sentence-word-image": ({"sentence", "word", "image"}, set()),
    "sentence-word-frozen": ({"sentence", "word"}, {"image_contrastive"}),
    "all": ({"sentence", "word", "image"}, {"image_contrastive"}),
    "modulation-sentence": ({"sentence", "word", "image"}, {"image_contrastive"}),
    "perceptual": ({"sentence", "word", "image"}, {"perceptual"}),
}


def tables(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all tables of a recipe; that of [terms] itself is left out, for its keys are names of files."""
    if path != ("terms",):
        yield path
    for key, value in values.items():
        if isinstance(value, dict):
            yield from tables(value, (*path, key))


@every_recipe
def test_loads_and_says_what_it_is(name: str) -> None:
    recipe = load_any(name, [])
    assert recipe.description


@every_recipe
def test_resolved_recipe_says_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "resolved.toml"
    path.write_text(to_toml(load_any(name, [])), encoding="utf-8")
    again = load_any(str(path), [])
    assert again.model_dump() == load_any(name, []).model_dump()


@every_recipe
def test_mistyped_key_in_any_table_is_refused(name: str, tmp_path: Path) -> None:
    recipe = load_any(name, [])
    values = recipe.model_dump(mode="json", exclude_none=True)
    found = list(tables(values))
    assert len(found) > 2
    for path in found:
        mutated = copy.deepcopy(values)
        table = mutated
        for key in path:
            table = table[key]
        plain = [key for key, value in table.items() if not isinstance(value, dict)]
        right = next((key for key in plain if key not in ("system", "dataset", "encoder")), "anything")
        table[right + "x"] = table.pop(right, 1)
        file = tmp_path / "mistyped.toml"
        file.write_text("\n".join(toml_lines(mutated)), encoding="utf-8")
        with pytest.raises(RecipeError) as refusal:
            load_any(str(file), [])
        place = ".".join((*path, right + "x"))
        assert f"{file}: {place}: unknown key" in str(refusal.value)
        if right != "anything":
            assert "did you mean" in str(refusal.value)


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_unknown_term_is_refused() -> None:
    with pytest.raises(RecipeError, match="terms: there is no 'perceptul'; did you mean 'perceptual'"):
        load_recipe("xmcgan", ["terms.perceptul.weight=1"])


def test_every_system_has_a_tiny_recipe() -> None:
    assert {f"tiny/{name}" for name in registry.available("t2icli.systems")} <= set(shipped("tiny"))


# ---------------------------------------------------------------------------- ablations


def test_every_ablation_is_known_here() -> None:
    assert {f"ablations/xmcgan-{name}" for name in ABLATIONS} == set(shipped("ablations"))


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_has_the_losses_of_its_name(name: str) -> None:
    recipe = load_recipe(f"ablations/xmcgan-{name}")
    contrastive = recipe.model.contrastive.model_dump()
    losses = {key for key in ("sentence", "word", "image") if contrastive[key]}
    assert (losses, set(terms_of(recipe))) == ABLATIONS[name]


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_changes_nothing_else(name: str) -> None:
    ours = dict(leaves(load_recipe(f"ablations/xmcgan-{name}").model_dump()))
    base = dict(leaves(load_recipe("xmcgan").model_dump()))
    changed = {".".join(path) for path in base if ours[path] != base[path]} - {"description"}
    losses = {f"model.contrastive.{key}" for key in ("sentence", "word", "image")} | {"terms.image_contrastive.weight"}
    assert changed <= ({"model.modulation"} if name == "modulation-sentence" else losses)
    added = {path[:2] for path in ours.keys() - base.keys()}
    assert added == ({("terms", "perceptual")} if name == "perceptual" else set())
    assert (name == "all") == (not changed)
    written = tomllib.loads((shipped_folder() / f"ablations/xmcgan-{name}.toml").read_text(encoding="utf-8"))
    repeated = {path for path, value in leaves(written) if path in base and base[path] == value}
    assert written.pop("base") == "xmcgan" and not repeated
