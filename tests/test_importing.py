"""``t2i import``: released files into runs that draw, and what is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from attngan_family import REFERENCE
from typer.testing import CliRunner

from t2icli.cli import app
from t2icli.encoders._files import load_matcher
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.importing import import_run, open_released
from t2icli.recipe_files import load_recipe
from t2icli.sampling import open_run
from t2icli.training.run import choose_folder, find_run

BIRDS = ["this bird has a red beak", "a small bird"]


@pytest.fixture
def text_files(tmp_path: Path) -> list[Path]:
    """A text encoder of the right width for the small DF-GAN and AttnGAN (16), and 30 words."""
    words = ["<end>", "this", "bird", "has", "a", "red", "beak", "small", *(f"w{i}" for i in range(22))]
    captions = tmp_path / "captions.pickle"
    captions.write_bytes(
        pickle.dumps([[[1, 2]], [[3]], dict(enumerate(words)), {w: i for i, w in enumerate(words)}], 2)
    )
    return [REFERENCE / "attngan_gf2.text_encoder.pth", captions]


ATTNGAN = [REFERENCE / f"attngan_gf2.{part}.pth" for part in ("netG", "netD0", "netD1", "netD2")]


@pytest.mark.parametrize(
    ("name", "files", "size"), [("dfgan", [REFERENCE / "dfgan_nf4_64.pth"], 64), ("attngan", ATTNGAN, 256)]
)
def test_a_generator_draws(name: str, files: list[Path], size: int, text_files: list[Path], tmp_path: Path) -> None:
    folder = import_run(name, [*text_files, *files], None, tmp_path / "run", [])
    run = open_run(folder)
    pictures = run.generate(BIRDS, [0, 1], seed=0)
    assert pictures.shape == (2, 3, size, size)
    alone = run.generate(BIRDS[1:], [1], seed=0)
    assert (pictures[1].int() - alone[0].int()).abs().max() <= 1  # a picture depends on its caption and index only
    card = json.loads((folder / "card.json").read_text())
    assert card["state"] == "imported" and [f["file"] for f in card["files"]] == [p.name for p in [*text_files, *files]]
    assert (folder / "weights" / "discriminator.safetensors").is_file()
    recipe = load_recipe(str(folder / "recipe.toml"))
    assert recipe.system == name and not recipe.terms.model_dump()


def test_the_released_picture(text_files: list[Path], tmp_path: Path) -> None:
    run = open_run(import_run("dfgan", [REFERENCE / "dfgan_nf4_64.pth", *text_files], None, tmp_path / "run", []))
    golden = {name: torch.as_tensor(value) for name, value in np.load(REFERENCE / "dfgan_nf4_64.npz").items()}
    with torch.no_grad():
        image = run.system.generator(golden["z"], golden["sent"])
    torch.testing.assert_close(image, golden["fake"], atol=1e-5, rtol=0)


def test_a_matcher_and_a_text_encoder_alone(text_files: list[Path], tmp_path: Path) -> None:
    folder = import_run("damsm", text_files, None, tmp_path / "words", [])
    with pytest.raises(RecipeError, match="is no matcher"):
        load_matcher(folder)
    recipe = load_recipe("tiny/dfgan", [f"text.matcher={folder}"])
    assert recipe.text.matcher == folder


def test_an_imported_run_is_not_trained_on(text_files: list[Path], tmp_path: Path, monkeypatch) -> None:
    folder = import_run("dfgan", [REFERENCE / "dfgan_nf4_64.pth", *text_files], None, tmp_path / "run", [])
    with pytest.raises(UserError, match="holds imported weights"):
        choose_folder(load_recipe(str(folder / "recipe.toml")), "dfgan", folder, False)
    with pytest.raises(UserError, match="is not empty"):
        import_run("dfgan", [REFERENCE / "dfgan_nf4_64.pth", *text_files], None, folder, [])
    assert find_run(folder) == folder


class Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch ran",)


def test_files_that_could_run_code_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Command()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match=r"evil\.pth: cannot be opened as tensors and plain values"):
        open_released(tmp_path / "evil.pth")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps([Command()]))
    with pytest.raises(DataError, match=r"evil\.pickle: refused"):
        open_released(tmp_path / "evil.pickle")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"junk\.pth: cannot be opened"):
        open_released(tmp_path / "junk.pth")
    with pytest.raises(DataError, match="no such file"):
        open_released(tmp_path / "gone.pth")


def test_mistakes(text_files: list[Path], tmp_path: Path) -> None:
    generator = REFERENCE / "dfgan_nf4_64.pth"
    with pytest.raises(UserError, match="there is no 'dfgam'; did you mean 'dfgan'"):
        import_run("dfgam", [generator], None, tmp_path / "a", [])
    with pytest.raises(UserError, match="import xmcgan: no released checkpoints of it are known"):
        import_run("xmcgan", [generator], None, tmp_path / "a", [])
    with pytest.raises(DataError, match=r"two files, text_encoder\*\.pth and captions\.pickle"):
        import_run("dfgan", [generator], None, tmp_path / "a", [])
    with pytest.raises(UserError, match="--recipe attngan-cub: is no recipe of dfgan"):
        import_run("dfgan", [generator, *text_files], "attngan-cub", tmp_path / "a", [])
    wide = torch.load(text_files[0], weights_only=True)
    wide["rnn.bias_hh_l0"] = torch.zeros(1)
    torch.save(wide, tmp_path / "text.pth")
    with pytest.raises(DataError, match=r"text\.lstm\.bias_hh_l0 is \(1,\), should be \(32,\)"):
        import_run("dfgan", [generator, tmp_path / "text.pth", text_files[1]], None, tmp_path / "a", [])


def test_from_the_command_line(text_files: list[Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [str(path) for path in (REFERENCE / "dfgan_nf4_64.pth", *text_files)]
    result = CliRunner().invoke(app, ["import", "dfgan", *files, "--json"])
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout.splitlines()[-1])["run"]
    result = CliRunner().invoke(app, ["sample", BIRDS[0], "-n", "2", "--run", run, "--out", "picture.png"])
    assert result.exit_code == 0 and (tmp_path / "picture.png").is_file(), result.output
