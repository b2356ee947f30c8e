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
from t2icli.training.run import check_same_recipe
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
    "heads-1": ({"sentence", "word", "image"}, {"image_contrastive"}),
    "heads-2": ({"sentence", "word", "image"}, {"image_contrastive"}),
}
BESIDE_LOSSES = {  # keys that an ablation changes instead of the weights of losses
    "modulation-sentence": {"model.modulation"},
    "heads-1": {"model.contrastive.head_layers"},
    "heads-2": {"model.contrastive.head_layers"},
}
MIRRORGANS = {  # what each of MirrorGAN's ablations changes
    "lambda-5": {"terms.stream.weight"},
    "lambda-10": {"terms.stream.weight"},
    "no-stream": {"terms.stream.weight"},
    "no-sentence-attention": {"system"},
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
    ours = {f"ablations/xmcgan-{name}" for name in ABLATIONS} | {f"ablations/mirrorgan-{name}" for name in MIRRORGANS}
    assert ours == set(shipped("ablations"))


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
    assert changed <= BESIDE_LOSSES.get(name, losses)
    added = {path[:2] for path in ours.keys() - base.keys()}
    assert added == ({("terms", "perceptual")} if name == "perceptual" else set())
    assert (name == "all") == (not changed)
    written = tomllib.loads((shipped_folder() / f"ablations/xmcgan-{name}.toml").read_text(encoding="utf-8"))
    repeated = {path for path, value in leaves(written) if path in base and base[path] == value}
    assert written.pop("base") == "xmcgan" and not repeated


def changed_keys(name: str, base: str) -> dict[str, Any]:
    """The keys in which a recipe differs from another, with its values."""
    ours, theirs = (dict(leaves(load_recipe(recipe).model_dump())) for recipe in (name, base))
    assert ours.keys() == theirs.keys()
    found = {".".join(path): value for path, value in ours.items() if theirs[path] != value}
    found.pop("description", None)
    return found


@pytest.mark.parametrize("name", MIRRORGANS)
def test_mirrorgans_ablation_changes_nothing_else(name: str) -> None:
    changed = changed_keys(f"ablations/mirrorgan-{name}", "mirrorgan-cub")
    assert changed.keys() == MIRRORGANS[name]
    wanted = {"lambda-5": 5.0, "lambda-10": 10.0, "no-stream": 0.0, "no-sentence-attention": "attngan"}
    assert list(changed.values()) == [wanted[name]]
    assert set(terms_of(load_recipe(f"ablations/mirrorgan-{name}"))) == (set() if name == "no-stream" else {"stream"})


@pytest.mark.parametrize("name", ["ln-coco", "ln-openimages"])
def test_narratives_change_nothing_but_the_data(name: str) -> None:
    changed = changed_keys(f"xmcgan-{name}", "xmcgan")
    assert changed == {"data.shards": Path("data") / name, "evaluate.protocol": f"{name}-30k"}
    assert load_any(f"data/{name}", []).text.max_tokens == 64


# ---------------------------------------------------------------------------- faithful to what was published

CUB, COCO = 8_855, 82_783  # training images


@pytest.mark.parametrize(
    ("name", "images", "epochs", "batch"),
    [  # epochs and batches of the released code, whose loaders drop the last batch where it is not whole
        ("attngan-cub", CUB, 600, 20),
        ("attngan-coco", COCO, 120, 14),
        ("attndcgan-cub", CUB, 400, 30),
        ("mirrorgan-cub", CUB, 650, 12),
        ("mirrorgan-coco", COCO, 120, 14),
        ("dfgan-cub", CUB, 1300, 32),
        ("dfgan-coco", COCO, 300, 32),
        ("vlmgan-attngan-cub", CUB, 600, 24),
        ("vlmgan-attngan-coco", COCO, 120, 24),
        ("vlmgan-dfgan-cub", CUB, 1300, 32),
        ("vlmgan-dfgan-coco", COCO, 300, 32),
    ],
)
def test_lengths_are_those_of_the_released_loops(name: str, images: int, epochs: int, batch: int) -> None:
    train = load_recipe(name).train
    assert (train.batch_size, train.images) == (batch, epochs * (images // batch) * batch)


@pytest.mark.parametrize(("name", "images", "epochs"), [("damsm-cub", CUB, 200), ("damsm-coco", COCO, 100)])
def test_lengths_of_matchers_likewise(name: str, images: int, epochs: int) -> None:
    recipe = load_any(name, [])
    assert recipe.train.batch_size == 48 and recipe.model.schedule.images == epochs * (images // 48) * 48


@pytest.mark.parametrize("name", ["xmcgan", "xmcgan-coco-128"])
def test_xmcgan_takes_500_epochs_as_one_stream(name: str) -> None:
    train = load_recipe(name).train
    per_step = train.batch_size * train.d_steps
    assert train.images == 500 * COCO // per_step * per_step
    assert train.batch_size != 56 or train.images // per_step == 369_566


@pytest.mark.parametrize(
    ("name", "trained", "drawn"),
    [
        ("attngan-cub", 18, 25),
        ("attngan-coco", 12, 20),
        ("attndcgan-cub", 18, 25),
        ("mirrorgan-cub", 18, 18),
        ("dfgan-cub", 18, 18),
        ("dfgan-coco", 18, 18),
        ("vlmgan-dfgan-cub", 18, 18),
        ("dfgan-flowers", 18, 18),
    ],
)
def test_words_that_are_read_in_training_and_in_drawing(name: str, trained: int, drawn: int) -> None:
    text = load_recipe(name).text
    assert (text.max_words, text.drawn_words) == (trained, drawn)


def test_only_vlmgans_stages_are_halved() -> None:
    staged = [name for name in shipped() if hasattr(getattr(load_any(name, []), "model", None), "adversarial")]
    halved = {name for name in staged if load_recipe(name).model.adversarial == 0.5}
    assert halved == {f"vlmgan-attngan-{data}" for data in ("cub", "coco", "scenes")}
    assert {load_recipe(name).model.adversarial for name in staged if name not in halved} == {1.0}


def test_a_run_that_began_before_the_key_keeps_whole_answers(tmp_path: Path) -> None:
    """Its recipe has no such key, which means one; the recipe of today is another, and both values are said."""
    today = load_recipe("vlmgan-attngan-cub")
    (tmp_path / "recipe.toml").write_text(to_toml(today).replace("adversarial = 0.5\n", ""), encoding="utf-8")
    assert load_recipe(str(tmp_path / "recipe.toml")).model.adversarial == 1.0
    with pytest.raises(RecipeError, match=r"model.adversarial: 1.0 there, 0.5 here"):
        check_same_recipe(tmp_path, today)
    check_same_recipe(tmp_path, load_recipe("vlmgan-attngan-cub", ["model.adversarial=1.0"]))
