"""The loop: resuming, stopping, diverging, and what a run leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2icli.errors import DataError, DiskFull, Diverged, Interrupted, Preempted
from t2icli.sampling import open_run
from t2icli.systems.xmcgan import XMCGAN
from t2icli.training import checkpoint as checkpoint_module
from t2icli.training import loop
from t2icli.training.loop import train
from t2icli.training.run import write_card


def newest_state(run: Path) -> dict:
    return torch.load(max((run / "state").glob("*.pt")), weights_only=True)


def assert_same(a: object, b: object, where: str = "") -> None:
    """Bit for bit, through nested dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def test_a_run_leaves_everything_behind(recipe, tmp_path: Path) -> None:
    run = train(recipe(), lambda: tmp_path / "run")
    assert [p.name for p in sorted((run / "state").iterdir())] == ["0000000002.pt", "0000000004.pt"]
    assert [p.name for p in sorted((run / "samples").iterdir())] == ["000000000016.png", "000000000032.png"]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [8, 16, 24, 32]
    expected = {"d/adversarial", "d/sentence", "d/word", "g/adversarial", "g/sentence", "g/word", "g/image"}
    assert expected <= lines[-1].keys()
    card = json.loads((run / "card.json").read_text())
    assert card["state"] == "finished"
    assert card["images"] == 32
    assert card["parameters"]["generator"] > 0
    assert list((run / "tensorboard").iterdir())
    assert not (run / "run.lock").exists()


def test_first_losses_stay_what_they_are(recipe, tmp_path: Path) -> None:
    """The first two updates of the tiny run through the whole loop, as first recorded on x86-64 with torch 2.15."""
    run = train(recipe("train.images=16"), lambda: tmp_path / "run")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    recorded = json.loads((Path(__file__).parents[1] / "reference" / "first_losses.json").read_text())
    for line, values in zip(lines, recorded["lines"], strict=True):
        for name, value in values.items():
            assert line[name] == pytest.approx(value, abs=recorded["tolerance"]), name


def test_resumed_equals_unbroken_bit_for_bit(recipe, tmp_path: Path) -> None:
    whole = train(recipe(), lambda: tmp_path / "whole")
    train(recipe("train.images=16"), lambda: tmp_path / "broken")
    broken = train(recipe(), lambda: tmp_path / "broken")
    assert_same(newest_state(whole), newest_state(broken))
    ours, theirs = (load_file(run / checkpoint_module.WEIGHTS) for run in (whole, broken))
    assert_same(ours, theirs)
    logs = [
        [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in text.splitlines()]
        for text in ((run / "log.jsonl").read_text() for run in (whole, broken))
    ]
    assert logs[0] == logs[1]


def test_weights_are_the_averaged_generator(recipe, tmp_path: Path) -> None:
    run = train(recipe("train.images=16"), lambda: tmp_path / "run")
    state = newest_state(run)
    header, weights = checkpoint_module.read_generator(run / checkpoint_module.WEIGHTS)
    assert_same(weights, dict(state["average"]))
    assert header["images"] == 16
    assert header["recipe"]["system"] == "xmcgan"
    assert any(not torch.equal(weights[k], state["networks"][f"generator.{k}"]) for k in weights)
    assert open_run(run).images == 16


def test_a_finished_run_is_left_alone(recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(recipe("train.images=16"), lambda: tmp_path / "run")
    before = (run / checkpoint_module.WEIGHTS).read_bytes()
    train(recipe("train.images=16"), lambda: tmp_path / "run")
    assert "already trained to the end (16 images)" in capsys.readouterr().err
    assert (run / checkpoint_module.WEIGHTS).read_bytes() == before


@pytest.mark.parametrize(
    ("number", "mistake"), [(signal.SIGTERM, Preempted), (signal.SIGUSR1, Preempted), (signal.SIGINT, Interrupted)]
)
def test_asked_to_stop_it_saves_and_goes_on(recipe, tmp_path: Path, monkeypatch, number, mistake) -> None:
    whole = train(recipe(), lambda: tmp_path / "whole")
    original = XMCGAN.joint_losses
    calls = []

    def interrupting(self, batch, fake):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return original(self, batch, fake)

    with monkeypatch.context() as patch:
        patch.setattr(XMCGAN, "joint_losses", interrupting)
        with pytest.raises(mistake, match="at 24 images; everything is saved in .*the same command goes on"):
            train(recipe(), lambda: tmp_path / "stopped")
    assert json.loads((tmp_path / "stopped" / "card.json").read_text())["state"] == "stopped"
    stopped = train(recipe(), lambda: tmp_path / "stopped")
    assert_same(newest_state(whole), newest_state(stopped))


def test_divergence_keeps_the_last_good_state(recipe, tmp_path: Path, monkeypatch) -> None:
    train(recipe("train.images=16"), lambda: tmp_path / "run")
    good = newest_state(tmp_path / "run")
    original = XMCGAN.real_losses
    monkeypatch.setattr(
        XMCGAN,
        "real_losses",
        lambda self, text, judged: {k: v * float("nan") for k, v in original(self, text, judged).items()},
    )
    with pytest.raises(
        Diverged, match=r"before image 24: not finite: d/adversarial.*last good state is .*0000000002\.pt"
    ):
        train(recipe(), lambda: tmp_path / "run")
    assert_same(newest_state(tmp_path / "run"), good)


def test_a_run_that_diverges_again_goes_further_back_and_promises_less(
    recipe, tmp_path: Path, monkeypatch, capsys
) -> None:
    """The third update always fails; states of images 8 and 16 are there."""
    often, run = ("train.save_every=8",), tmp_path / "run"
    train(recipe("train.images=16", *often), lambda: run)
    original = loop.one_step

    def failing(trainer, world, batches, images):
        losses = original(trainer, world, batches, images)
        return {name: value * float("nan") for name, value in losses.items()} if images == 16 else losses

    def told() -> dict:
        card = json.loads((run / "card.json").read_text())
        return {key: card[key] for key in ("state", "diverged")}

    monkeypatch.setattr(loop, "one_step", failing)
    place = {"step": 3, "before_image": 24}
    with pytest.raises(Diverged, match=r"2\.pt\. The same command goes back to it, and if that leads here again"):
        train(recipe(*often), lambda: run)
    assert told() == {"state": "diverged", "diverged": place | {"times": 1}}
    with pytest.raises(Diverged, match=r"second time\. The same command goes back one state further, to .*0000000001"):
        train(recipe(*often), lambda: run)
    capsys.readouterr()
    with pytest.raises(Diverged, match=r"this is time 3, from every state that is kept. The same command would do the"):
        train(recipe(*often), lambda: run)
    said = capsys.readouterr().err
    assert "0000000002.pt: led twice to numbers that are not finite; trying the one before it" in said
    assert "from image 8" in said
    monkeypatch.setattr(loop, "one_step", original)
    train(recipe(*often), lambda: run)
    assert told() == {"state": "finished", "diverged": None}
    assert [path.name for path in sorted((run / "state").iterdir())] == ["0000000003.pt", "0000000004.pt"]


def test_weights_are_looked_at_before_they_are_saved(recipe, tmp_path: Path, monkeypatch) -> None:
    """An update can leave weights that are not finite although its losses, computed before it, are."""
    run, original = tmp_path / "run", loop.one_step

    def blowing_up(trainer, world, batches, images):
        losses = original(trainer, world, batches, images)
        next(trainer.system.discriminator.parameters()).data.mul_(float("inf"))
        return losses

    monkeypatch.setattr(loop, "one_step", blowing_up)
    with pytest.raises(Diverged, match=r"before image 8: not finite: networks\.discriminator.*no state was saved"):
        train(recipe("train.images=8"), lambda: run)
    assert not list((run / "state").iterdir()) and not list((run / "weights").iterdir())
    assert json.loads((run / "card.json").read_text())["state"] == "diverged"


def test_a_full_disk_keeps_the_last_state(recipe, tmp_path: Path, monkeypatch) -> None:
    train(recipe("train.images=16"), lambda: tmp_path / "run")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "state")

    monkeypatch.setattr(checkpoint_module.torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(recipe(), lambda: tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "state").iterdir()] == ["0000000002.pt"]
    assert DiskFull.exit_code == 8


def test_a_damaged_state_gives_way_to_the_one_before(recipe, tmp_path: Path, capsys) -> None:
    whole = train(recipe(), lambda: tmp_path / "whole")
    reference = newest_state(whole)
    newest = max((whole / "state").glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    train(recipe(), lambda: whole)
    assert "cannot be read" in capsys.readouterr().err
    assert_same(newest_state(whole), reference)
    for path in (whole / "state").glob("*.pt"):
        path.write_bytes(b"no state")
    with pytest.raises(DataError, match="none of 2 states can be read"):
        train(recipe(), lambda: whole)


def test_a_state_of_other_data_is_refused(recipe, tmp_path: Path) -> None:
    run = train(recipe("train.images=16"), lambda: tmp_path / "run")
    path = max((run / "state").glob("*.pt"))
    state = torch.load(path, weights_only=True)
    state["facts"]["data"] = "other"
    torch.save(state, path)
    write_card(run, {"states": {}})  # nothing is known of what was saved, so the file counts as an older version's
    with pytest.raises(DataError, match="was saved with data 'other', but this run has"):
        train(recipe(), lambda: run)
    torch.save({"step": 3}, path)
    with pytest.raises(DataError, match="lacks facts, networks"):
        train(recipe(), lambda: run)


def test_ema_decay_and_precision_have_an_effect(recipe, tmp_path: Path) -> None:
    kept = {}
    for name, setting in {
        "a": "train.ema_decay=0.999",
        "b": "train.ema_decay=0.5",
        "c": "train.precision=bfloat16",
    }.items():
        run = train(recipe("train.images=16", setting), lambda name=name: tmp_path / name)
        kept[name] = load_file(run / checkpoint_module.WEIGHTS)["first.weight"]
    assert not torch.equal(kept["a"], kept["b"])
    assert not torch.equal(kept["a"], kept["c"])


@pytest.mark.slow
def test_kill_and_the_same_command_again(tiny_shards: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, through the program itself; the rerun ends as an unbroken run does."""
    command = [sys.executable, "-m", "t2icli", "train", "tiny/xmcgan", "--set", f"data.shards={tiny_shards}"]
    command += ["--set", "train.images=400", "--set", "train.save_every=8", "--set", "train.log_every=8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--run", "killed"], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("killed/state/*.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = int(max((tmp_path / "killed" / "state").glob("*.pt")).stem)
    assert 0 < saved < 50
    for run in ("killed", "whole"):
        subprocess.run([*command, "--run", run], cwd=tmp_path, env=environment, check=True)
    assert_same(newest_state(tmp_path / "killed"), newest_state(tmp_path / "whole"))
    assert not list((tmp_path / "killed" / "state").glob(".*"))
