"""Runs that older versions left still draw, are scored, compare and go on (reference/old-runs/README.md)."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2icli.encoders._files import WEIGHTS as ENCODER
from t2icli.encoders._files import load_matcher
from t2icli.recipe import EncoderRecipe, Recipe
from t2icli.sampling import open_run
from t2icli.scoring.comparison import compare
from t2icli.scoring.request import Request
from t2icli.scoring.score import score
from t2icli.training.checkpoint import WEIGHTS
from t2icli.training.fitting import tensors_in
from t2icli.training.loop import train
from t2icli.training.pretraining import pretrain
from t2icli.training.run import choose_folder, stored_recipe

OLD = Path(__file__).parent / "reference" / "old-runs"
VERSIONS = sorted(path.name for path in OLD.iterdir() if path.is_dir())
SYSTEMS = {"xmcgan": 32, "dfgan": 16}  # and the images up to which the old code went on with a copy
ROUNDING = 1e-3  # sums over a tensor without signs that are no larger say nothing
CAPTIONS = ["a red bus on a street", "a white boat on the sea"]


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a user of that version worked, its states unpacked."""
    folder = tmp_path / "old"
    shutil.copytree(OLD / request.param, folder)
    for packed in folder.glob("*/state/*.pt.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    monkeypatch.chdir(folder)
    return folder


def expect(folder: Path, name: str, weights: Path) -> None:
    """A run that went on must have what the old code had: all weights, and the sums over its whole state.

    Bit for bit where torch computes as it did there; elsewhere last bits differ. What is nearly zero is nothing but
    such bits: the gradient of a bias before a norm, for one, of which Adam makes whole steps.
    """
    expected = load_file(folder / "expected" / f"{name}.safetensors")
    found = load_file(folder / name / weights)
    assert {f"weights/{key}" for key in found} == expected.keys() - {"pictures"}
    for key, tensor in found.items():
        if expected[f"weights/{key}"].abs().sum() > ROUNDING:
            torch.testing.assert_close(tensor, expected[f"weights/{key}"], atol=2e-6, rtol=1e-4, msg=key)
    state = torch.load(max((folder / name / "state").glob("*.pt")), weights_only=True)
    sums = {path.replace(".", "/"): float(tensor.double().abs().sum()) for path, tensor in tensors_in(state)}
    recorded = json.loads((folder / "expected" / f"{name}.json").read_text())["sums"]
    recorded = {path[1:].replace(".", "/"): value for path, value in recorded.items()}
    assert sums.keys() == recorded.keys()
    compared = [path for path in sums if recorded[path] > ROUNDING]
    assert len(compared) > len(sums) / 2
    for path in compared:
        assert sums[path] == pytest.approx(recorded[path], rel=1e-3), path


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_draws_is_scored_and_compares(name: str, old: Path) -> None:
    run = open_run(Path(name), device=torch.device("cpu"))
    expected = load_file(old / "expected" / f"{name}.safetensors")["pictures"]
    drawn = run.generate(CAPTIONS, [0, 1], seed=0)
    assert (drawn.int() - expected.int()).abs().max() <= 1
    (before,) = Path(name, "eval").glob("*.json")
    value = json.loads(before.read_text())["metrics"]["fd-scenes"]["value"]
    result = score(Request(Path(name), samples=8, seeds=1, metrics=["fd-scenes"]))
    assert result is not None and result["metrics"]["fd-scenes"]["value"] == pytest.approx(value, rel=1e-2)
    shutil.copy(before, "before.json")
    rows = compare(Path("before.json"), Path(name))["metrics"]["fd-scenes"]
    assert rows["comparable"], rows["reasons"]
    assert rows["a"] == value


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_command_goes_on_as_the_old_code_did(name: str, old: Path) -> None:
    recipe = stored_recipe(Path(name))
    assert isinstance(recipe, Recipe)
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"images": SYSTEMS[name]})})
    run = train(longer, lambda: choose_folder(longer, name, Path(name), new=False))
    expect(old, name, WEIGHTS)
    states = [torch.load(path, weights_only=True) for path in sorted((run / "state").glob("*.pt"))]
    assert [state["seeds"] for state in states] == ["hash", "hash"]  # it goes on by the rule that it was begun with


def test_its_matcher_is_read_and_goes_on(old: Path) -> None:
    matcher, found = load_matcher(Path("damsm"))
    assert found.name == "damsm" and len(matcher.vocabulary.words) == 62
    recipe = stored_recipe(Path("damsm"))
    assert isinstance(recipe, EncoderRecipe)
    pretrain(recipe, Path("damsm"))
    expect(old, "damsm", ENCODER)
