"""The program as a user meets it: every verb, its mistakes and their exit codes."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from t2icli import errors
from t2icli.cli import app
from t2icli.ending import ending

runner = CliRunner()


def t2i(*arguments: str, code: int = 0) -> Result:
    """Run the program in this process and check how it ends; a mistake's message goes to stderr."""
    result = runner.invoke(app, list(arguments))
    fault = result.exception
    if fault is None or isinstance(fault, SystemExit):
        assert result.exit_code == code, result.output
        return result
    with pytest.raises(SystemExit) as end, ending():
        raise fault
    assert end.value.code == code
    return result


@pytest.fixture
def trained(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding one tiny run under runs/tiny-xmcgan."""
    monkeypatch.chdir(tmp_path)
    t2i("train", "tiny/xmcgan", "--set", f"data.shards={tiny_shards}", "--set", "train.images=16")
    return tmp_path


def verbs() -> list[list[str]]:
    command = typer.main.get_command(app)
    found = []
    for name, verb in command.commands.items():  # type: ignore[attr-defined]
        inner = getattr(verb, "commands", None)
        found += [[name, sub] for sub in inner] if inner else [[name]]
    return found


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_help_shows_an_example(verb: list[str]) -> None:
    said = t2i(*verb, "--help").output
    assert "Example" in said
    assert f"t2i {' '.join(verb)}" in " ".join(said.split())


def test_unknown_verb_and_option() -> None:
    assert "Did you mean 'train'" in t2i("trian", code=2).output
    assert "No such option" in t2i("train", "xmcgan", "--fast", code=2).output
    t2i("prepare", code=2)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (errors.UserError("x"), 2),
        (errors.RecipeError("x"), 3),
        (errors.DataError("x"), 4),
        (errors.EnvironmentFault("x"), 5),
        (errors.OutOfMemory("x"), 6),
        (errors.Diverged("x"), 7),
        (errors.DiskFull("x"), 8),
        (errors.Preempted("x"), 75),
        (errors.Interrupted("x"), 130),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 8),
        (torch.OutOfMemoryError("CUDA out of memory"), 6),
        (MemoryError(), 6),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), 6),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 8),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 2),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "f.tmp", None, "f"), 2),
    ],
)
def test_exit_codes(fault: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, ending():
        raise fault
    assert end.value.code == code
    assert capsys.readouterr().err.startswith("t2i: ")


def test_a_programming_mistake_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ours"), ending():
        raise RuntimeError("ours")
    with pytest.raises(FileNotFoundError), ending():
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "f")


# ---------------------------------------------------------------------------- recipes, runs


def test_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert "XMC-GAN, COCO-14, 256 px" in t2i("recipes", "ls").stdout
    names = [row["name"] for row in json.loads(t2i("recipes", "ls", "--json").stdout)["recipes"]]
    assert {"xmcgan", "data/coco", "xmcgan-scenes"} <= set(names)
    assert "sentence_dim = 128" in t2i("recipes", "show", "xmcgan").stdout
    shown = json.loads(t2i("recipes", "show", "coco", "--json", "--set", "images.size=64").stdout)
    assert shown["images"]["size"] == 64
    t2i("recipes", "cp", "xmcgan", "my.toml")
    assert "# XMC-GAN on COCO 2014" in Path("my.toml").read_text()
    assert "my.toml: a valid training recipe" in t2i("recipes", "check", "my.toml").stdout
    assert json.loads(t2i("recipes", "check", "folder", "--json").stdout)["kind"] == "data"
    t2i("recipes", "cp", "xmcgan", "my.toml", code=2)
    assert "exists already; choose another name, or replace it with --force" in capsys.readouterr().err
    t2i("recipes", "cp", "xmcgan", "my.toml", "--force")
    t2i("recipes", "check", "my.toml", "--set", "train.sede=1", code=3)
    assert "my.toml: train.sede: unknown key; did you mean 'seed'?" in capsys.readouterr().err
    assert "use it with: t2i prepare coco.toml" in t2i("recipes", "cp", "coco", "coco.toml").stderr
    assert "dataset" in Path("coco.toml").read_text()
    said = t2i("recipes", "show", "recipes/xmcgan.toml").stderr
    assert "recipes/xmcgan.toml: no such file here; taking the recipe that comes" in said
    assert "did you mean 'xmcgan'" in stderr_of(lambda: t2i("recipes", "show", "xmcgn", code=3))


def test_runs(trained: Path) -> None:
    rows = json.loads(t2i("runs", "ls", "--json").stdout)["runs"]
    assert [(row["state"], row["images"]) for row in rows] == [("finished", 16)]
    assert "finished  16 images" in t2i("runs", "ls").stdout
    for path in sorted(Path("runs").rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
    assert t2i("runs", "ls").stdout == ""


# ---------------------------------------------------------------------------- train


def test_the_same_command_again_and_a_new_run(trained: Path, tiny_shards: Path) -> None:
    again = ("train", "tiny/xmcgan", "--set", f"data.shards={tiny_shards}", "--set", "train.images=16")
    assert "already trained to the end" in t2i(*again).stderr
    first = (Path("runs/tiny-xmcgan") / "latest").resolve()
    assert "--run and --new exclude each other" in stderr_of(lambda: t2i(*again, "--new", "--run", "x", code=2))
    t2i(*again, "--new")
    assert (Path("runs/tiny-xmcgan") / "latest").resolve() != first
    plan = json.loads(t2i(*again, "--dry-run", "--json").stdout)
    assert plan["generator_updates"] == 2
    assert plan["training_images"] == 24
    assert "generator parameters" in t2i(*again, "--dry-run").stderr


def stderr_of(action: Callable[[], object]) -> str:
    """What ``ending`` prints goes past the runner, to the console's own stream."""
    from t2icli.console import people

    with people.capture() as said:
        action()
    return said.get()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "data.shards=nowhere"], 4, "nowhere"),
        (["--set", "data.image_size=64"], 4, "stored at 32 pixels, and data.image_size is 64"),
        (["--set", "train.batch_size=40"], 4, "fewer than one batch of train.batch_size = 40"),
        (["--set", "data.split=test"], 4, "there is no split 'test'"),
        (["--set", "model.generator_channels=6"], 3, "model.generator_channels: 4 there, 6 here"),
        (["--set", "optim.generator_lr=0.5"], 3, "start a new run with --new"),
        (["--weights", "resnet50"], 2, "should be NAME=PATH"),
        (["--weights", "resnet51=x"], 2, "did you mean 'resnet50'"),
        (["--set", "terms.image_contrastive.weight=1", "--weights", "resnet50=absent.pth", "--new"], 5, "no such file"),
        (["--nproc", "3", "--new"], 3, "4 images cannot be shared evenly by 3 processes; try 6"),
        (["--nproc", "4", "--new"], 3, "4 images over 4 processes leave fewer than 2 each"),
        (["--run", "."], 2, "is not empty and holds no run"),
        (["--run", "runs"], 2, "is not empty and holds no run"),
    ],
)
def test_mistakes_with_train(trained: Path, tiny_shards: Path, arguments: list[str], code: int, message: str) -> None:
    command = ["train", "tiny/xmcgan", "--set", f"data.shards={tiny_shards}", "--set", "train.images=16", *arguments]
    if any(key in " ".join(arguments) for key in ("image_size", "batch_size", "split", "nowhere")):
        command.append("--new")
    assert message in stderr_of(lambda: t2i(*command, code=code))


def test_a_run_that_another_process_writes_is_left_alone(trained: Path, tiny_shards: Path) -> None:
    from t2icli.locks import process_start

    run = (trained / "runs/tiny-xmcgan/latest").resolve()
    holder = {"host": os.uname().nodename, "pid": os.getppid(), "started": process_start(os.getppid())}
    (run / "run.lock").write_text(json.dumps(holder))
    command = ("train", "tiny/xmcgan", "--set", f"data.shards={tiny_shards}", "--set", "train.images=32")
    said = stderr_of(lambda: t2i(*command, code=2))
    assert f"process {os.getppid()}" in said and "start another run with --new" in said
    t2i("sample", "a red bus", "--run", str(run), "--out", "drawn.png")  # who reads is not disturbed
    assert json.loads((run / "run.lock").read_text()) == holder
    (run / "run.lock").write_text(json.dumps(holder | {"started": "0"}))  # that pid has been given to another since
    t2i(*command)
    (run / "run.lock").write_text(json.dumps(holder | {"host": "elsewhere"}))
    for file in (run / "run.lock", run / "log.jsonl", run / "card.json"):
        os.utime(file, (1, 1))  # a machine that is gone
    t2i(*command, "--set", "train.images=48")
    assert not (run / "run.lock").exists()


def test_a_start_that_fails_leaves_nothing(trained: Path, tiny_shards: Path, tiny_encoders: dict[str, Path]) -> None:
    """The finished run stays the latest, and is what is drawn from; the corrected command goes."""
    before = sorted(Path("runs").rglob("*"))
    command = ("train", "tiny/xmcgan", "--new", "--set", f"data.shards={tiny_shards}", "--set", "train.images=8")
    for mistake, code in (
        (["text.matcher=gone"], 4),
        ([f"text.matcher={tiny_encoders['stream']}"], 3),
        (["terms.image_contrastive.weight=1", "terms.image_contrastive.network=resnet50"], 5),
        (["data.image_size=64"], 4),
    ):
        options = [part for value in mistake for part in ("--set", value)]
        stderr_of(lambda o=options, c=code: t2i(*command, *o, "--weights", "resnet50=absent.pth", code=c))
        assert sorted(Path("runs").rglob("*")) == before
    assert t2i("sample", "a red bus", "--out", "drawn.png").exit_code == 0
    t2i(*command)
    assert len(list(Path("runs/tiny-xmcgan").glob("2*"))) == 2


def test_latest_by_its_path(trained: Path, tiny_shards: Path) -> None:
    """The README teaches it for evaluate."""
    latest = Path("runs/tiny-xmcgan/latest")
    run = latest.readlink()
    command = ("train", "tiny/xmcgan", "--set", f"data.shards={tiny_shards}", "--run", str(latest))
    assert t2i(*command, "--set", "train.images=24").stdout.strip() == str(latest.parent / run)
    assert latest.readlink() == run


# ---------------------------------------------------------------------------- sample


def test_sample(trained: Path) -> None:
    Path("here").mkdir()
    assert "here: is a folder; name a file in it" in stderr_of(lambda: t2i("sample", "a dog", "--out", "here", code=2))
    assert list(Path("here").iterdir()) == [] and not list(Path().glob(".*"))
    path = t2i("sample", "a red bus on a street", "-n", "3").stdout.strip()
    assert path == "a-red-bus-on-a-street-seed0.png"
    with Image.open(path) as image:
        assert image.size == (3 * 34 + 2, 36)
        assert image.text["caption"] == "a red bus on a street"  # type: ignore[attr-defined]
        assert image.text["images"] == "16"  # type: ignore[attr-defined]
    first = Path(path).read_bytes()
    t2i("sample", "a red bus on a street", "-n", "3", "--seed", "1", "--out", "other.png")
    t2i("sample", "a red bus on a street", "-n", "3", "--out", "same.png")
    assert Path("same.png").read_bytes() == first != Path("other.png").read_bytes()
    Path("captions.txt").write_text("a red bus\n\na blue dog on the grass\n", encoding="utf-8")
    result = json.loads(
        t2i("sample", "--file", "captions.txt", "-n", "2", "--single", "--out", "many", "--json").stdout
    )
    assert [Path(p).name for p in result["paths"]] == ["000000.png", "000001.png", "000002.png", "000003.png"]
    lines = [json.loads(line) for line in Path("many/captions.jsonl").read_text().splitlines()]
    assert lines[2] == {"file": "000002.png", "captions": ["a blue dog on the grass"]}
    t2i("sample", " ".join(["word"] * 500), "--out", "long.png")
    weights = str((trained / "runs/tiny-xmcgan/latest/weights/generator.safetensors").resolve())
    t2i("sample", "a red bus on a street", "-n", "3", "--run", weights, "--out", "from-file.png")
    assert Image.open("from-file.png").tobytes() == Image.open("same.png").tobytes()


def test_mistakes_with_sample(trained: Path, tmp_path: Path, tiny_bert: Path) -> None:
    Path("latin.txt").write_bytes("a café\n".encode("latin-1"))
    Path("empty.txt").write_text("\n \n")
    weights = Path("runs/tiny-xmcgan/latest/weights/generator.safetensors")
    cut = Path("cut.safetensors")
    cut.write_bytes(weights.read_bytes()[:200])
    other = Path("other.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, other)
    Path("no-run").mkdir()
    for arguments, code, message in (
        ([], 2, "give either a caption"),
        (["a dog", "--file", "latin.txt"], 2, "give either a caption"),
        (["--file", "latin.txt"], 4, "latin.txt: byte 5 is not UTF-8"),
        (["--file", "empty.txt"], 4, "holds no caption"),
        (["--file", "absent.txt"], 4, "no such file of captions"),
        (["  "], 2, "caption 1 of 1 is empty"),
        (["a dog", "--run", "absent"], 4, "no such run"),
        (["a dog", "--run", "no-run"], 4, "has no weights/generator.safetensors yet"),
        (["a dog", "--run", str(cut)], 4, "damaged, or no safetensors file"),
        (["a dog", "--run", str(other)], 4, "not of a t2i run"),
        (["a dog", "--set", "text.model=scenes-bert"], 5, "is not the text encoder of this run"),
    ):
        assert message in stderr_of(lambda a=arguments, c=code: t2i("sample", *a, code=c)), message


def test_sample_without_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no run under runs/" in stderr_of(lambda: t2i("sample", "a dog", code=4))


# ---------------------------------------------------------------------------- evaluate


def test_evaluate(trained: Path) -> None:
    few = ("evaluate", "runs/tiny-xmcgan/latest", "--samples", "8", "--seeds", "1")
    result = json.loads(t2i(*few, "--json").stdout)
    assert result["protocol"] == "scenes-2k*"
    assert "8 generated images instead of 2,000" in result["deviations"]
    assert result["target"]["images_trained"] == 16
    assert result["metrics"]["scenes-right"]["mean"]["scenes-right (real)"] > 0.5
    (kept,) = Path("runs/tiny-xmcgan/latest/eval").glob("*.json")
    assert json.loads(kept.read_text()) == result
    said = t2i(*few, "--out", "score.json").stdout
    assert "under scenes-2k*" in said
    assert "* 8 generated images instead of 2,000" in said
    again = json.loads(Path("score.json").read_text())
    assert again["metrics"]["fd-scenes"]["mean"] == result["metrics"]["fd-scenes"]["mean"]
    assert json.loads(t2i("runs", "ls", "--json").stdout)["runs"][0]["scores"] == 1


def test_evaluate_what_sample_drew(trained: Path, tiny_shards: Path) -> None:
    t2i("sample", "a red bus", "-n", "8", "--single", "--out", "drawn")
    few = ("evaluate", "drawn", "--against", str(tiny_shards), "--metrics", "fd-scenes", "--json")
    result = json.loads(t2i(*few).stdout)
    assert (result["generated"]["count"], result["target"]["kind"]) == (8, "images")


def test_evaluate_compares(trained: Path) -> None:
    few = ("evaluate", "runs/tiny-xmcgan/latest", "--seeds", "1", "--metrics", "fd-scenes,soa-scenes")
    t2i(*few, "--samples", "8", "--out", "a.json")
    t2i(*few, "--samples", "10", "--out", "b.json", "--no-cache")
    found = json.loads(t2i("evaluate", "--compare", "a.json", "b.json", "--json").stdout)
    assert set(found["metrics"]) == {"fd-scenes", "soa[scenes-recogniser]"}
    assert not found["metrics"]["fd-scenes"]["comparable"]
    said = t2i("evaluate", "--compare", "a.json", "a.json").stdout
    assert "fd-scenes: " in said and "may be compared" in said
    assert "name a run folder or a folder of images" in stderr_of(lambda: t2i("evaluate", code=2))


def test_mistakes_with_evaluate(trained: Path, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("T2I_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(trained / "none"))
    monkeypatch.setenv("T2I_OFFLINE", "1")
    run = "runs/tiny-xmcgan/latest"
    Path("empty").mkdir()
    for arguments, code, message in (
        (["absent"], 4, "no such run and no such folder of images"),
        (["runs"], 4, "holds runs, and is none itself: name one, e.g. runs/tiny-xmcgan/"),
        (["runs/tiny-xmcgan"], 4, "holds runs, and is none itself"),
        (["empty"], 4, "neither a run"),
        ([str(tiny_shards)], 4, "give them with --against"),
        ([run, "--samples", "1"], 2, "--samples 1: should be at least 2"),
        ([run, "--protocol", "scenes-3k"], 2, "did you mean 'scenes-2k'"),
        ([run, "--metrics", "fidd"], 2, "did you mean 'fid"),
        ([run, "--metrics", "fid", "--samples", "8", "--seeds", "1"], 5, "T2I_OFFLINE forbids a download"),
        ([run, "--set", "data.shards=gone"], 4, "gone: no such folder"),
    ):
        assert message in stderr_of(lambda a=arguments, c=code: t2i("evaluate", *a, code=c)), message


# ---------------------------------------------------------------------------- prepare


def test_prepare(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of the verb; what it writes has tests of its own in tests/data."""
    monkeypatch.chdir(tmp_path)
    sizes = ("reader.train=6", "reader.val=2", "reader.size=32", "images.size=32", f"text.model={tiny_bert}")
    small = ["prepare", "scenes", "--workers", "1", *(word for size in sizes for word in ("--set", size))]
    plan = json.loads(t2i(*small, "--out", "shards", "--dry-run", "--json").stdout)
    assert plan["splits"]["train"]["images"] == 6
    assert not Path("shards").exists()
    written = json.loads(t2i(*small, "--json").stdout)
    assert (written["out"], written["images"]) == ("data/scenes", 8)
    assert json.loads(t2i("prepare", "--verify", "data/scenes", "--json").stdout)["verified"] is True
    assert t2i("prepare", "--verify", "data/scenes").stdout == ""
    assert "did you mean 'coco'" in stderr_of(lambda: t2i("prepare", "cocoa", code=3))
    assert "training recipe" in stderr_of(lambda: t2i("prepare", "xmcgan", code=3))
    assert "no such folder" in stderr_of(lambda: t2i("prepare", "--verify", "absent", code=4))


# ---------------------------------------------------------------------------- the whole chain


@pytest.mark.slow
def test_quickstart_walks_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of its training; bench/place_and_colour.py says what the whole of it yields."""
    monkeypatch.chdir(tmp_path)
    result = t2i("quickstart", "--set", "train.images=320", "--json")
    outcome = json.loads(result.stdout)
    with Image.open(outcome["grid"]) as image:
        assert image.size == (6 * 34 + 2, 6 * 34 + 2)
    assert outcome["scores"]["place (real)"] > 0.95
    assert 0 <= outcome["scores"]["place"] <= 1
    assert "t2i sample" in result.stderr
