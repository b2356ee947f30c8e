"""What certainly does not fit into memory is refused before it is built."""

import re
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from attngan_family import REFERENCE
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from t2icli import memory, registry
from t2icli.cli import app
from t2icli.errors import DataError, RecipeError
from t2icli.importing import import_run
from t2icli.memory import count, memory_of, outline, refuse_beyond_memory, trained_numbers
from t2icli.recipe_files import load_recipe
from t2icli.sampling import open_run
from t2icli.setting import Setting

CPU = torch.device("cpu")
OLD_RUN = REFERENCE / "old-runs" / "a792fbe" / "dfgan"
HUGE = [f"model.{part}_channels=16384" for part in ("generator", "discriminator")]


def test_an_outline_has_shapes_and_no_numbers() -> None:
    layer = outline(lambda: nn.Linear(1 << 20, 1 << 20))
    assert layer.weight.is_meta and count(layer) == (1 << 40) + (1 << 20)


@pytest.mark.parametrize("name", registry.available("t2icli.systems"))
def test_outlines_have_the_shapes_of_what_is_built(name: str) -> None:
    recipe = load_recipe(f"tiny/{name}")
    build = partial(registry.load("t2icli.systems", name).build, recipe.model, Setting(64, 16))
    outlined, built = outline(build), build()
    shapes = [{key: tensor.shape for key, tensor in one.state_dict().items()} for one in (outlined, built)]
    assert shapes[0] == shapes[1]
    assert not any(tensor.is_meta for tensor in built.state_dict().values())


def test_what_training_keeps() -> None:
    """Adam's own state and a copy of the generator, counted tensor by tensor."""
    networks = nn.Linear(3, 4), nn.Linear(5, 6)
    kept = sum(count(network) for network in networks) + count(networks[0])
    for network in networks:
        optimizer = torch.optim.Adam(network.parameters())
        network(torch.ones(1, network.in_features)).sum().backward()
        optimizer.step()
        kept += sum(state[key].numel() for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq"))
    assert trained_numbers(*networks) == kept


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/meminfo is Linux's")
def test_the_memory_of_this_machine() -> None:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert memory_of(CPU) == pytest.approx(1024 * int(line.split()[1]), rel=0.01)


def test_the_limit_is_all_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: 4000)
    refuse_beyond_memory(1000, "these", CPU)
    with pytest.raises(RecipeError, match="these take at least 4,004 bytes, and this machine has 4,000 bytes"):
        refuse_beyond_memory(1001, "these", CPU)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_training_is_refused(dry: list[str], tiny_shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    sets = [f"--set={assignment}" for assignment in (*HUGE, f"data.shards={tiny_shards}")]
    result = CliRunner().invoke(app, ["train", "tiny/xmcgan", "--run", str(run), *sets, *dry])
    assert isinstance(result.exception, RecipeError) and result.exception.exit_code == 3
    said = r"a generator of [\d,]{15} and a discriminator of [\d,]{15} parameters, .* take at least [\d,]{17} bytes"
    assert re.search(said, str(result.exception))
    assert not run.exists()


def test_import_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: 1000)
    with pytest.raises(RecipeError, match=r"[\d,]+ parameters take at least [\d,]+ bytes"):
        import_run("dfgan", [REFERENCE / "dfgan_nf4_64.pth"], None, tmp_path / "run", [])
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------- weights whose header says something else


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a version that wrote no hash beside the header."""
    return shutil.copytree(OLD_RUN, tmp_path / "run")


def say_otherwise(run: Path, old: str, new: str) -> None:
    """Change the header's text."""
    path = run / "weights" / "generator.safetensors"
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["t2i"]
    assert old in text
    save_file(load_file(path), path, {"t2i": text.replace(old, new)})


def test_a_width_that_the_weights_do_not_have(run: Path) -> None:
    say_otherwise(run, '"channels": 1', '"channels": 16384')
    with pytest.raises(DataError, match=r"generator.safetensors: does not fit its recipe: .* should be \("):
        open_run(run, device=CPU)


def test_a_recipe_that_is_none(run: Path) -> None:
    say_otherwise(run, '"channels": 1', '"channels": -2')
    with pytest.raises(DataError, match="generator.safetensors: damaged: its recipe: model.channels: .* greater than"):
        open_run(run, device=CPU)


def test_what_the_command_line_gets_wrong_is_a_recipe_error(run: Path) -> None:
    with pytest.raises(RecipeError, match="model.channels"):
        open_run(run, ["model.channels=-2"], device=CPU)
