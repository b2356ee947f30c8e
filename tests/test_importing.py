"""``t2i import``: released files into runs that draw, and what is refused."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from attngan_family import REFERENCE
from safetensors.torch import save_file
from typer.testing import CliRunner

from t2icli import registry
from t2icli.cli import app
from t2icli.encoders._files import load_matcher
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.importing import import_run, open_released
from t2icli.recipe_files import load_recipe
from t2icli.released import Released
from t2icli.sampling import open_run
from t2icli.training.finding import find_run
from t2icli.training.run import choose_folder

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
    with pytest.raises(DataError, match=r"evil\.pth: asks for posix\.system, which could run code"):
        open_released(tmp_path / "evil.pth")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps([Command()]))
    with pytest.raises(DataError, match=r"evil\.pickle: refused"):
        open_released(tmp_path / "evil.pickle")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"junk\.pth: is no checkpoint: it is a text that begins with 'junk'"):
        open_released(tmp_path / "junk.pth")
    with pytest.raises(DataError, match="no such file"):
        open_released(tmp_path / "gone.pth")


def test_mistakes(text_files: list[Path], tmp_path: Path) -> None:
    generator = REFERENCE / "dfgan_nf4_64.pth"
    with pytest.raises(UserError, match="there is no 'dfgam'; did you mean 'dfgan'"):
        import_run("dfgam", [generator], None, tmp_path / "a", [])
    with pytest.raises(UserError, match="import xmcgan: no released checkpoints of it are known"):
        import_run("xmcgan", [generator], None, tmp_path / "a", [])
    with pytest.raises(DataError, match=r"junk\.pth: a generator of DF-GAN") as caught:
        junk = tmp_path / "junk.pth"
        junk.write_bytes(generator.read_bytes())
        import_run("dfgan", [junk], None, tmp_path / "a", [])
    assert re.search(r"lacking: text_encoder\*\.pth and captions\.pickle .* vectors of 16 numbers", str(caught.value))
    for half, said in zip(text_files, ("1 of the first and 0", "0 of the first and 1"), strict=True):
        with pytest.raises(DataError, match=rf"given: {said} of the second kind\n  .*{half.name}: "):
            import_run("dfgan", [generator, half], None, tmp_path / "a", [])
    with pytest.raises(UserError, match="--recipe attngan-cub: is no recipe of dfgan"):
        import_run("dfgan", [generator, *text_files], "attngan-cub", tmp_path / "a", [])
    image_encoder = tmp_path / "image_encoder.pth"
    torch.save({"emb_features.weight": torch.zeros(2, 2)}, image_encoder)
    for given, said in (([], "0 of the first and 0"), (text_files[:1], "1 of the first and 0")):
        with pytest.raises(DataError, match=rf"given: {said} .*\n  .*image_encoder\.pth: an image encoder of DAMSM"):
            import_run("damsm", [image_encoder, *given], None, tmp_path / "a", [])
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


# ---------------------------------------------------------------------------- as people save and find them


def saved(folder: Path, content: object, name: str = "netG.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def state_of(content: object, name: str = "attngan") -> tuple[dict[str, torch.Tensor], list[str]]:
    """The generator that a system finds in the content of a file, and what it says."""
    found = registry.load("t2icli.systems", name).import_released([Released(Path("file.pth"), content)])
    return found.networks["generator"], found.notes


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


GENERATORS = {
    "attngan": torch.load(REFERENCE / "attngan_gf2.netG.pth", weights_only=True),
    "dfgan": torch.load(REFERENCE / "dfgan_nf4_64.pth", weights_only=True)["model"]["netG"],
}
WRAPPED = {
    "a resumed run": lambda g: {
        "epoch": 3,
        "netG": g,
        "optimizerG": {"state": {0: {"step": torch.ones(1)}}},
    },
    "two deep": lambda g: {"models": {"generator": g}, "args": {"lr": 0.1}},
    "in a list": lambda g: [{"epoch": 1}, g],
    "data parallel": lambda g: {f"module.{name}": value for name, value in g.items()},
    "data parallel twice": lambda g: {f"module.module.{name}": value for name, value in g.items()},
    "compiled": lambda g: {"state_dict": {f"_orig_mod.module.{name}": value for name, value in g.items()}},
    "one flat table of a whole model": lambda g: {
        "state_dict": {f"generator.{name}": value for name, value in g.items()} | {"loss.weight": torch.ones(2)}
    },
    "the same one twice": lambda g: {"netG": g, "params": dict(g)},
    "averaged by torch": lambda g: {"n_averaged": torch.tensor(5)} | {f"module.{n}": v for n, v in g.items()},
    "under a name that nobody thought of": lambda g: {"zwiebel": {"kuchen": g}},
}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("how", WRAPPED)
def test_a_generator_is_found_wherever_it_was_saved(how: str, name: str) -> None:
    assert equal(state_of(WRAPPED[how](GENERATORS[name]), name)[0], state_of(GENERATORS[name], name)[0])


@pytest.mark.parametrize("key", ["netG_ema", "g_ema", "ema", "generator_avg", "averaged_model"])
def test_the_average_is_taken_and_said(key: str) -> None:
    mine = GENERATORS["attngan"]
    raw = {name: value + 1 for name, value in mine.items()}
    state, notes = state_of({"netG": raw, key: mine})
    assert equal(state, state_of(mine)[0]) and f"taken is the average, file.pth: {key}" in notes[0]


def test_two_generators_that_nothing_tells_apart() -> None:
    raw = {name: value + 1 for name, value in GENERATORS["attngan"].items()}
    with pytest.raises(DataError, match=r"one is imported, and 2 were found: file\.pth: first, file\.pth: second"):
        state_of({"first": raw, "second": GENERATORS["attngan"]})
    with pytest.raises(DataError, match="twice, with"):
        state_of(raw | {f"module.{name}": value for name, value in raw.items()})


def test_everything_in_one_file(text_files: list[Path], tmp_path: Path) -> None:
    parts = {path.stem.partition(".")[2]: torch.load(path, weights_only=True) for path in [*ATTNGAN, text_files[0]]}
    judges = [parts.pop(f"netD{number}") for number in range(3)]
    file = saved(tmp_path, {**parts, "netD": judges})
    folder = import_run("attngan", [file, text_files[1]], None, tmp_path / "run", [])
    assert (folder / "weights" / "discriminator.safetensors").is_file()


def test_safetensors_and_any_name(text_files: list[Path], tmp_path: Path) -> None:
    netg = torch.load(REFERENCE / "dfgan_nf4_64.pth", weights_only=True)["model"]["netG"]
    save_file({name: value.contiguous() for name, value in netg.items()}, tmp_path / "generator.safetensors")
    captions = tmp_path / "words.bin"  # what it is follows from its content
    captions.write_bytes(text_files[1].read_bytes())
    files = [tmp_path / "generator.safetensors", text_files[0], captions]
    folder = import_run("dfgan", files, None, tmp_path / "run", [])
    assert open_run(folder).generate(BIRDS[:1], [0], 0).shape == (1, 3, 64, 64)


def test_a_matcher_in_place_of_the_files_of_its_text_encoder(text_files: list[Path], tmp_path: Path) -> None:
    words = import_run("damsm", text_files, None, tmp_path / "words", [])
    generator = REFERENCE / "dfgan_nf4_64.pth"
    folder = import_run("dfgan", [generator], None, tmp_path / "run", [f"text.matcher={words}"])
    whole = import_run("dfgan", [generator, *text_files], None, tmp_path / "whole", [])
    assert torch.equal(open_run(folder).generate(BIRDS, [0, 1], 0), open_run(whole).generate(BIRDS, [0, 1], 0))
    with pytest.raises(UserError, match="two text encoders; give one of them"):
        import_run("dfgan", [generator, *text_files], None, tmp_path / "a", [f"text.matcher={words}"])
    with pytest.raises(DataError, match="no such encoder"):
        import_run("dfgan", [generator], None, tmp_path / "a", ["text.matcher=nowhere"])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ("h_net2.A.weight h_net2.att.conv_context.weight", "a generator of DM-GAN"),
        ("h_net2.jointConv.0.weight h_net1.fc.0.weight", "a generator of StackGAN++"),
        ("STAGE1_G.ca_net.fc.weight ca_net.fc.weight", "a generator of StackGAN (stage 2)"),
        ("ca_net.fc.weight fc.0.weight upsample1.1.weight", "a generator of StackGAN (stage 1)"),
        ("img_code_s16.0.weight uncond_logits.0.weight", "a discriminator of StackGAN++"),
        ("img_code_s16.0.module.weight_bar COND_DNET.jointConv.0.weight", "a discriminator of DM-GAN"),
        ("projection.0.weight netG.0.weight", "a generator of GAN-INT-CLS"),
        ("h_net1.bbox_net.encode.0.weight h_net2.att.conv_context.weight", "a generator of OP-GAN"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"netG": {f"module.{name}": v for name, v in t.items()}}])
def test_networks_of_systems_that_are_not_here_are_named(tensors: str, said: str, wrap, tmp_path: Path) -> None:
    content = wrap({name: torch.zeros(4, 4) for name in tensors.split()})
    for name in ("attngan", "mirrorgan", "dfgan"):
        with pytest.raises(DataError, match=re.escape(said)):
            registry.load("t2icli.systems", name).import_released([Released(Path("f.pth"), content)])
    file = saved(tmp_path, content)
    for name, message in (("dmgan", "import: there is no 'dmgan'"), ("xmcgan", "import xmcgan: no released")):
        with pytest.raises(UserError, match=message) as caught:
            import_run(name, [file], None, tmp_path / "run", [])
        assert f"netG.pth: {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>quota exceeded", "a web page"),
        (b"", "it is empty"),
    ],
)
@pytest.mark.parametrize("name", ["state_epoch_1.pth", "captions.pickle", "text_encoder200.pth"])
def test_a_file_in_place_of_a_released_one(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        import_run("dfgan", [tmp_path / name], None, tmp_path / "run", [])
    assert said in str(caught.value) and name in str(caught.value)
    assert "weights_only" not in str(caught.value) and not (tmp_path / "run").exists()


def test_what_the_command_line_makes_of_a_recipe(text_files: list[Path], tmp_path: Path) -> None:
    files = [REFERENCE / "dfgan_nf4_64.pth", *text_files]
    for assignment in ("data=3", "text=3", "data.shards=3.5", "evaluate=[]"):
        with pytest.raises(RecipeError):
            import_run("dfgan", files, None, tmp_path / "run", [assignment])
    assert not (tmp_path / "run").exists()
