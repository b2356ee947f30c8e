"""Run folders: begun when everything is known to be right, taken up after any kill, listed as what they are."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
from killed import killed_at_every_step

from t2icli import locks
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.recipe import DataRecipe
from t2icli.recipe_files import to_toml
from t2icli.training import run as run_folder
from t2icli.training.checkpoint import WEIGHTS
from t2icli.training.finding import find_run, named
from t2icli.training.listing import list_runs
from t2icli.training.run import choose_folder, claimed, create, importing, write_card

RUNS = Path("runs/tiny")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def a_run(name: str, state: str | None = "finished", weights: bool = True, age: float = 0.0) -> Path:
    """A run of a generator as training leaves it, started ``age`` seconds ago."""
    run = RUNS / name
    for part in run_folder.PARTS:
        (run / part).mkdir(parents=True)
    (run / "recipe.toml").write_text('system = "xmcgan"\n')
    os.utime(run / "recipe.toml", (time.time() - age,) * 2)
    if state is not None:
        write_card(run, {"state": state, "images": 16})
    if weights:
        (run / WEIGHTS).write_bytes(b"")
    return run


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    list_runs(as_json=True)
    found = json.loads(capsys.readouterr().out)["runs"]
    assert all(set(row) == {"run", "state", "images", "scores", "updated"} for row in found)
    return {Path(row["run"]).name: row["state"] for row in found}


# ---------------------------------------------------------------------------- a start


def begin(run: Path, recipe: object) -> None:
    with claimed(run, recipe):
        create(run, recipe)
        write_card(run, {"state": "stopped"})


def left_over(run: Path) -> list[Path]:
    """Drafts of files; those of a lock are swept when nobody can want them any more."""
    return [path for path in run.iterdir() if path.name == "run.lock" or path.suffix == ".tmp"]


def test_killed_at_any_step_the_same_start_goes_on(tmp_path: Path) -> None:
    recipe = DataRecipe(dataset="scenes")  # any table will do: nothing is built here
    points = 0
    for folder in killed_at_every_step(lambda folder: begin(folder / "run", recipe), tmp_path / "kills"):
        points += 1
        begin(folder / "run", recipe)
        assert (folder / "run" / "recipe.toml").read_text() == to_toml(recipe)
        assert not left_over(folder / "run")
    assert points > 10


def test_killed_at_any_step_the_same_import_goes_on(tmp_path: Path) -> None:
    recipe = DataRecipe(dataset="scenes")

    def bring(folder: Path) -> None:
        with importing(folder / "run", recipe):
            run_folder.write_text(folder / "run" / "weights" / "text_encoder.safetensors", "words")
            run_folder.write_text(folder / "run" / "weights" / "generator.safetensors", "numbers")
            write_card(folder / "run", {"state": "imported"})

    for folder in killed_at_every_step(bring, tmp_path / "kills"):
        if run_folder.state_on_card(folder / "run") == "imported":
            continue  # it was through
        bring(folder)
        assert run_folder.state_on_card(folder / "run") == "imported"
        assert not left_over(folder / "run") and len(list((folder / "run" / "weights").iterdir())) == 2


def test_a_start_that_fails_leaves_nothing(recipe, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(RUNS / "new", recipe()):
        (RUNS / "new" / "state").mkdir()
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), importing(RUNS / "new", recipe()):
        (RUNS / "new" / "weights" / "a.safetensors").write_bytes(b"")
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), importing(RUNS / "new"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    (RUNS / "mine").mkdir(parents=True)  # a folder that was there stays
    with pytest.raises(ZeroDivisionError), importing(RUNS / "mine", recipe()):
        raise ZeroDivisionError
    assert list((RUNS / "mine").iterdir()) == []


@pytest.mark.parametrize("failing", ["make_parts", "write_text", "write_json", "point_latest"])
def test_a_full_disk_and_the_same_start_again(recipe, tmp_path: Path, monkeypatch, failing: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, failing, full)
        with pytest.raises(OSError, match="No space"):
            begin(RUNS / "new", recipe())
    assert not (RUNS / "latest").is_symlink()
    begin(RUNS / "new", recipe("train.images=8"))  # nothing was saved, so another recipe may begin here
    assert (RUNS / "latest").readlink() == Path("new")


def test_a_failed_run_says_so(recipe, capsys: pytest.CaptureFixture[str]) -> None:
    for name, fault in (("failed", MemoryError), ("stopped", KeyboardInterrupt)):
        with pytest.raises(fault), claimed(RUNS / name, recipe()):
            create(RUNS / name, recipe())
            raise fault
    assert rows(capsys) == {"failed": "failed", "stopped": "stopped"}


def test_places_that_cannot_be_a_run(recipe, tmp_path: Path) -> None:
    Path("file").write_text("")
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("")
    for place, message in (
        ("file", "--run file: file is no folder"),
        ("file/below", "--run file/below: .*file is no folder"),
        ("mine", "mine: is not empty and holds no run"),
    ):
        with pytest.raises(UserError, match=message):
            choose_folder(recipe(), "tiny", Path(place), False)
    with pytest.raises(OSError, match="too long"):
        choose_folder(recipe(), "tiny", Path("x" * 300), False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


def test_what_older_starts_left_is_begun_in(recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """Version 0.1 made folders and recipe before it looked for the encoder, and pointed ``latest`` there."""
    run = a_run("a", state=None, weights=False)
    (RUNS / "latest").symlink_to("a")
    assert rows(capsys) == {"a": "failed"}
    assert choose_folder(recipe("model.generator_channels=6"), "tiny", None, False) == run
    (run / "recipe.toml").unlink()
    (run / ".recipe.toml.0123.tmp").write_text("")
    (run / "run.lock").write_text("")
    assert choose_folder(recipe(), "tiny", run, False) == run
    (run / "state" / "0000000002.pt").write_bytes(b"")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        choose_folder(recipe(), "tiny", run, False)


def test_a_run_that_is_written_to_is_refused_before_anything_is_loaded(recipe) -> None:
    run = RUNS / "a"
    begin(run, recipe())
    with locks.hold(run / "run.lock", "run"), pytest.raises(UserError, match=r"writing to it; .* with --new"):
        choose_folder(recipe(), "tiny", run, False)


def test_another_recipe_begun_meanwhile_is_seen(recipe) -> None:
    run = choose_folder(recipe(), "tiny", RUNS / "a", False)
    begin(run, recipe())
    (run / "state" / "0000000002.pt").write_bytes(b"")
    with pytest.raises(RecipeError, match="train.seed: 0 there, 1 here"), claimed(run, recipe("train.seed=1")):
        pass


# ---------------------------------------------------------------------------- latest


def test_latest_is_never_a_link_to_itself(recipe) -> None:
    begin(RUNS / "a", recipe())
    begin(RUNS / "b", recipe())
    Path("alias").symlink_to(RUNS / "latest")
    for name in (RUNS / "latest", RUNS / "latest" / ".." / "b", Path("alias")):
        begin(choose_folder(recipe(), "tiny", name, False), recipe())
        assert (RUNS / "latest").readlink() == Path("b")
    begin(RUNS / "a", recipe())
    assert choose_folder(recipe(), "tiny", RUNS / "latest", False) == RUNS / "a"


@pytest.mark.parametrize("target", ["latest", "gone", "./latest", "other"])
def test_a_broken_latest_is_said_and_mended(recipe, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``t2i train --run runs/R/latest`` of version 0.1 made it point to itself."""
    begin(RUNS / "a", recipe())
    begin(RUNS / "b", recipe())
    os.utime(RUNS / "a" / "recipe.toml", (1, 1))
    (RUNS / "latest").unlink()
    (RUNS / "latest").symlink_to(target)
    (RUNS / "other").symlink_to("latest")
    for run in (None, RUNS / "latest"):
        assert choose_folder(recipe(), "tiny", run, False) == RUNS / "b"
        assert "taking runs/tiny/b, the newest run beside it" in capsys.readouterr().err
    begin(RUNS / "b", recipe())
    assert (RUNS / "latest").readlink() == Path("b")


def test_a_latest_without_any_run(recipe) -> None:
    with pytest.raises(DataError, match="latest: points to no run, and none is beside it"):
        choose_folder(recipe(), "tiny", RUNS / "latest", False)
    RUNS.mkdir(parents=True)
    (RUNS / "latest").symlink_to("gone")
    begin(choose_folder(recipe(), "tiny", None, False), recipe())
    assert (RUNS / "latest").is_dir()


def test_a_folder_called_latest(recipe, capsys: pytest.CaptureFixture[str]) -> None:
    (RUNS / "latest").mkdir(parents=True)
    begin(RUNS / "a", recipe())
    assert "is a folder, so it cannot point to" in capsys.readouterr().err


# ---------------------------------------------------------------------------- finding and listing


def test_the_newest_run_that_has_weights_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    a_run("old", age=30)
    good = a_run("good", age=20)
    a_run("begun", "training", weights=False, age=10)
    a_run("failed", None, weights=False)
    (RUNS / "latest").symlink_to("failed")
    for run in (None, RUNS / "latest"):
        assert find_run(run) == good
        said = "taking runs/tiny/good: newer ones have no weights: runs/tiny/failed (failed), runs/tiny/begun (killed)"
        assert said in capsys.readouterr().err
    assert find_run(RUNS / "old") == named(RUNS / "old") == RUNS / "old"
    assert named(Path("pictures")) == Path("pictures")
    (good / "recipe.toml").write_text("damaged [")
    assert find_run(None) == good


def test_no_run_with_weights() -> None:
    with pytest.raises(DataError, match=r"no run under runs/ has weights; train one"):
        find_run(None)
    a_run("a", "training", weights=False)
    with pytest.raises(DataError, match=r"without weights: runs/tiny/a \(killed\)"):
        find_run(None)
    with pytest.raises(DataError, match="gone: no such run"):
        find_run(Path("gone"))


def test_runs_are_listed_as_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for state in ("finished", "stopped", "imported", "diverged", "failed"):
        a_run(state, state)
    a_run("killed", "training")
    a_run("half-imported", "importing")
    a_run("nothing", None)
    for number, content in enumerate(
        (b"", b"{", b"[]", b'{"images": "many"}', b'{"state": 3}', b"\xff\xfe", b"[" * 9000)
    ):
        (a_run(f"damaged{number}") / "card.json").write_bytes(content)
    (a_run("damaged-folder", None) / "card.json").mkdir()
    (a_run("damaged-link", None) / "card.json").symlink_to("card.json")
    running = a_run("running", "training")
    with locks.hold(running / "run.lock", "run"):
        states = rows(capsys)
        list_runs(as_json=False)
    assert "runs/tiny/running  running  16 images  0 scores" in capsys.readouterr().out
    expected = {
        state: state for state in ("finished", "stopped", "imported", "diverged", "failed", "killed", "running")
    }
    expected |= {"half-imported": "killed", "nothing": "failed"}
    assert states == expected | {name: "damaged" for name in states if name.startswith("damaged")}
    assert len(states) == 18


def test_a_damaged_card_is_written_anew(capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run("a")
    (run / "card.json").write_text("[1")
    write_card(run, {"state": "training"})
    assert json.loads((run / "card.json").read_text()) == {"state": "training"}
    assert "card.json: damaged, not valid JSON" in capsys.readouterr().err
    write_card(run, {"later": {"version": [2]}})
    assert json.loads((run / "card.json").read_text()) == {"state": "training", "later": {"version": [2]}}
