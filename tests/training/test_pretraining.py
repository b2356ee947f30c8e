"""The loop that trains encoders: every kind, resumed, stopped and validated."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_loop import assert_same, newest_state

from t2icli import registry
from t2icli.data.shard_folder import ShardFolder
from t2icli.encoders._files import WEIGHTS, load_encoder
from t2icli.errors import DataError, Diverged, Preempted, RecipeError
from t2icli.recipe import EncoderRecipe
from t2icli.recipe_files import load_encoder_recipe
from t2icli.training.pretraining import Course, Pretraining, build_encoder, pretrain
from t2icli.training.run import choose_folder
from t2icli.weights import Weights

ENCODERS = [name for name in registry.available("t2icli.encoders") if name != "words"]
each = pytest.mark.parametrize("name", ENCODERS)


def recipe_of(name: str, shards: Path, *overrides: str) -> EncoderRecipe:
    return load_encoder_recipe(f"tiny/{name}", [f"data.shards={shards}", *overrides])


def lines(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in found]


@each
def test_trained_validated_and_kept(name: str, tiny_shards: Path, tmp_path: Path) -> None:
    run = pretrain(recipe_of(name, tiny_shards), tmp_path / "run")
    encoder, header = load_encoder(run, name)
    assert header["encoder"] == name and header["held_out"]
    assert encoder.vocabulary.words == tuple(ShardFolder(tiny_shards, "train").vocabulary)
    card = json.loads((run / "card.json").read_text())
    assert card["state"] == "finished" and card["held_out"] == header["held_out"]
    assert any(key.startswith("held_out/") for key in lines(run)[-1])
    assert not (run / "run.lock").exists()
    recipe = recipe_of(name, tiny_shards)
    fresh = build_encoder(recipe, ShardFolder(tiny_shards, "train"), Weights())
    learning = {id(p) for phase in fresh.phases() for p in phase.parameters}
    trained = encoder.state_dict()
    for key, parameter in fresh.named_parameters():
        assert torch.equal(trained[key], parameter) == (id(parameter) not in learning), key


@each
def test_resumed_equals_unbroken_bit_for_bit(name: str, tiny_shards: Path, tmp_path: Path, monkeypatch) -> None:
    recipe = recipe_of(name, tiny_shards)
    whole = pretrain(recipe, tmp_path / "whole")
    update, done = Pretraining.update, []

    def broken_update(self, pairs):
        if len(done) == 3:  # after a checkpoint at 16 images, two updates of eight
            raise KeyboardInterrupt
        done.append(1)
        return update(self, pairs)

    monkeypatch.setattr("t2icli.training.pretraining.Pretraining.update", broken_update)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "broken")
    monkeypatch.setattr("t2icli.training.pretraining.Pretraining.update", update)
    broken = pretrain(recipe, tmp_path / "broken")
    assert_same(newest_state(whole), newest_state(broken))
    assert_same(load_file(whole / WEIGHTS), load_file(broken / WEIGHTS))
    assert lines(whole) == lines(broken)


def test_a_signal_stops_it_with_everything_saved(tiny_shards: Path, tmp_path: Path) -> None:
    recipe = recipe_of("damsm", tiny_shards, "model.schedule.images=100000")

    def stop() -> None:
        while not (tmp_path / "run" / "log.jsonl").is_file():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Preempted, match="everything is saved"):
        pretrain(recipe, tmp_path / "run")
    assert list((tmp_path / "run" / "state").glob("*.pt"))


def test_the_end_is_the_end(tiny_shards: Path, tmp_path: Path, capsys) -> None:
    recipe = recipe_of("damsm", tiny_shards)
    pretrain(recipe, tmp_path / "run")
    pretrain(recipe, tmp_path / "run")
    assert "already trained to the end" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"model\.gamma1: 4\.0 there, 5\.0 here"):
        choose_folder(recipe_of("damsm", tiny_shards, "model.gamma1=5.0"), "damsm", tmp_path / "run", False)


def test_what_is_not_finite_stops_it(tiny_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"not finite: .*Lower the learning rate in the \[model\] table in a new run"):
        pretrain(recipe_of("damsm", tiny_shards, "model.schedule.rate=1e30"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "card.json").read_text())["state"] == "diverged"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": 2}, "is in phase 2, and there are 2"),
        ({"phase": True}, "is in phase True"),
        ({"best": float("nan")}, "has a best measure of nan"),
        ({"optimizer": {}}, "is no state of an optimizer"),
        ({"phase": 1}, "is of other parameters"),
    ],
)
def test_a_course_knows_what_fits_it(tiny_shards: Path, change: dict, message: str) -> None:
    encoder = build_encoder(recipe_of("vlm", tiny_shards), ShardFolder(tiny_shards, "train"), Weights())
    course = Course(encoder.phases(), batch_size=8, images_per_epoch=16)
    course.prepare(0)
    state = course.state_dict()
    assert course.misfit(state) is None
    assert message in str(course.misfit(state | change))
    assert course.misfit([]) == "should have a phase, its best measure and an optimizer"


def test_no_such_held_out_split(tiny_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no split 'test'; available: train, val"):
        pretrain(recipe_of("damsm", tiny_shards, "data.held_out=test"), tmp_path / "run")


def test_phases_follow_each_other(tiny_shards: Path) -> None:
    recipe = recipe_of("vlm", tiny_shards)
    encoder = build_encoder(recipe, ShardFolder(tiny_shards, "train"), Weights())
    course = Course(encoder.phases(), batch_size=8, images_per_epoch=16)
    assert course.steps == 8
    names, rates = [], []
    for step in range(course.steps):
        course.prepare(step)
        names.append(course.phase.name)
        rates.append(course.optimizer.param_groups[0]["lr"])
    assert names == ["encoders"] * 4 + ["matching"] * 4
    assert rates[:4] == pytest.approx([2e-3, 2e-3, 2e-3 * 0.98, 2e-3 * 0.98])
    assert course.improved({"auc_general": 0.6}) and not course.improved({"auc_general": 0.5})
    assert course.improved({"auc_general": 0.7})


def test_optimizer_is_made_anew_every_epoch_where_the_recipe_says_so(tiny_shards: Path) -> None:
    encoder = build_encoder(recipe_of("damsm", tiny_shards), ShardFolder(tiny_shards, "train"), Weights())
    (phase,) = encoder.phases()
    for restart, made in ((True, 3), (False, 1)):
        course = Course([replace(phase, restart=restart, images=48)], batch_size=8, images_per_epoch=16)
        seen: list[object] = []
        for step in range(6):
            course.prepare(step)
            if not any(course.optimizer is other for other in seen):
                seen.append(course.optimizer)
        assert len(seen) == made
