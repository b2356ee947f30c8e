"""Runs whose captions a matcher reads: trained, resumed, drawn from and scored, for every system."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from made_up import made_up_pictures
from safetensors.torch import load_file
from test_loop import assert_same, newest_state

from t2icli import registry
from t2icli.data.prepare import Options, prepare
from t2icli.data.shard_folder import ShardFolder
from t2icli.encoders._files import WEIGHTS as ENCODER
from t2icli.encoders._files import save_encoder
from t2icli.encoders.damsm import DAMSM
from t2icli.encoders.words import Config, Words
from t2icli.errors import DataError, RecipeError, UserError
from t2icli.reading import KEPT
from t2icli.recipe import Recipe
from t2icli.recipe_files import load_data_recipe, load_encoder_recipe, load_recipe
from t2icli.sampling import open_run
from t2icli.scoring.request import Request
from t2icli.scoring.score import score
from t2icli.training.checkpoint import WEIGHTS
from t2icli.training.loop import train
from t2icli.training.trainer import build
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

SYSTEMS = registry.available("t2icli.systems")


def recipe_of(system: str, shards: Path, matcher: Path, *more: str) -> Recipe:
    guided = [f"text.matcher={matcher}", f"terms.damsm.matcher={matcher}", "train.images=32", "train.d_steps=1"]
    often = ["train.log_every=8", "train.save_every=8", "train.sample_every=16"]
    return load_recipe(f"tiny/{system}", [f"data.shards={shards}", *guided, *often, *more])


@pytest.mark.parametrize("system", SYSTEMS)
def test_resumed_drawn_and_scored(
    system: str, tiny_shards: Path, tiny_encoders: dict[str, Path], tmp_path: Path
) -> None:
    matcher = tmp_path / "matcher"
    shutil.copytree(tiny_encoders["damsm"], matcher)
    whole = train(recipe_of(system, tiny_shards, matcher), lambda: tmp_path / "whole")
    train(recipe_of(system, tiny_shards, matcher, "train.images=16"), lambda: tmp_path / "broken")
    broken = train(recipe_of(system, tiny_shards, matcher), lambda: tmp_path / "broken")
    assert_same(newest_state(whole), newest_state(broken))
    for file in (WEIGHTS, WEIGHTS.with_name(KEPT)):
        assert_same(load_file(whole / file), load_file(broken / file))
    card = json.loads((whole / "card.json").read_text())
    assert card["weights"][0]["name"] == "damsm" and card["text"]["vocabulary_sha256"]
    shutil.rmtree(matcher)  # a run draws without the matcher it was trained with
    run = open_run(whole)
    assert run.generate(["a red bus on a street"], [0], seed=0).shape == (1, 3, 32, 32)
    result = score(Request(whole, samples=8, seeds=1))
    assert all(entry["computed"] for entry in result["metrics"].values())


def test_captions_that_a_run_cannot_read(
    tiny_shards: Path, tiny_encoders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of("dfgan", tiny_shards, tiny_encoders["damsm"], "train.images=8", "text.drawn_words=4")
    run = open_run(train(recipe, lambda: tmp_path / "run"))
    capsys.readouterr()
    words = ShardFolder(tiny_shards, "train").vocabulary[:6]
    known = run.generate([" ".join(words)], [0], 0)
    assert torch.equal(known, run.generate([" ".join(words[:4])], [0], 0))  # four words are read
    assert capsys.readouterr().err == ""
    assert torch.equal(
        run.generate([f"{words[0]} zzyzx {words[1]}"], [0], 0), run.generate([" ".join(words[:2])], [0], 0)
    )
    assert "words that this run does not know are passed over: zzyzx" in capsys.readouterr().err
    with pytest.raises(UserError, match="caption 'zzyzx': this run knows none of its words"):
        run.generate(["zzyzx"], [0], 0)
    (tmp_path / "run" / "weights" / KEPT).unlink()
    with pytest.raises(DataError, match="it is the text encoder of generator.safetensors"):
        open_run(tmp_path / "run")


def test_a_matcher_of_another_data_set_is_refused(
    tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ShardFolder(tiny_shards, "train").vocabulary

    def matcher(name: str, *known: str) -> Path:
        save_encoder(tmp_path / name / ENCODER, "words", Words(Config(dim=8, embedding_dim=4), Vocabulary(known)))
        return tmp_path / name

    def build_with(path: Path) -> None:
        build(load_recipe("tiny/dfgan", [f"data.shards={tiny_shards}", f"text.matcher={path}"]), Weights(), cpu)

    cpu = torch.device("cpu")
    with pytest.raises(DataError, match=f"knows 1 of the {len(words)} words of .*: it was trained on another data set"):
        build_with(matcher("other", "platypus", words[0]))
    assert capsys.readouterr().err == ""
    build_with(matcher("larger", "platypus", *reversed(words)))  # in another order: words are read, not ids
    assert capsys.readouterr().err == ""
    build_with(matcher("smaller", *words[1:]))
    assert f"knows {len(words) - 1} of the {len(words)} words" in capsys.readouterr().err


def test_an_encoder_of_a_term_is_asked_for_its_words_too(tiny_shards: Path, tmp_path: Path) -> None:
    config = load_encoder_recipe("tiny/damsm").model
    save_encoder(tmp_path / ENCODER, "damsm", DAMSM(config, Vocabulary(["platypus"]), None))
    recipe = load_recipe("tiny/dfgan", [f"data.shards={tiny_shards}", f"terms.damsm.matcher={tmp_path}"])
    with pytest.raises(DataError, match="terms.damsm: knows 0 of the"):
        build(recipe, Weights(), torch.device("cpu"))


def test_another_matcher_is_another_run(tiny_shards: Path, tiny_encoders: dict[str, Path], tmp_path: Path) -> None:
    recipe = recipe_of("dfgan", tiny_shards, tiny_encoders["damsm"], "train.images=8", "terms.damsm.weight=0.0")
    train(recipe, lambda: tmp_path / "run")
    other = recipe.model_copy(update={"text": recipe.text.model_copy(update={"matcher": tiny_encoders["vlm"]})})
    with pytest.raises(DataError, match="was saved with text"):
        train(
            other.model_copy(update={"train": other.train.model_copy(update={"images": 16})}), lambda: tmp_path / "run"
        )


def test_what_reads_no_captions_is_no_matcher(tiny_shards: Path, tiny_encoders: dict[str, Path]) -> None:
    recipe = load_recipe("tiny/dfgan", [f"data.shards={tiny_shards}", f"text.matcher={tiny_encoders['stream']}"])
    with pytest.raises(RecipeError, match=r"text\.matcher: .* a stream reads no captions"):
        build(recipe, Weights(), torch.device("cpu"))


def test_shards_without_vectors_need_a_matcher(tmp_path: Path) -> None:
    pictures = made_up_pictures(tmp_path / "pictures", 12)
    overrides = ["text.model=none", "images.size=32", "reader.val_share=0.3"]
    prepare(load_data_recipe("folder", overrides), pictures, tmp_path / "shards", Options(workers=1))
    with pytest.raises(DataError, match=r"name a matcher that reads them \(text\.matcher\)"):
        train(load_recipe("tiny/xmcgan", [f"data.shards={tmp_path / 'shards'}"]), lambda: tmp_path / "run")
