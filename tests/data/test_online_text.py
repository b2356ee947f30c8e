"""Shards that hold token ids only: training runs the frozen BERT, and gets the numbers that would have been stored."""

import json
import shutil
from dataclasses import fields
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import made_up_pictures

from t2icli.batch import Text
from t2icli.data.bert import CAPTIONS_AT_ONCE, BertEncoder
from t2icli.data.loader import Loader
from t2icli.data.prepare import Options, prepare
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard
from t2icli.data.text import collate_text, collate_tokens, read_tokens
from t2icli.data.text_encoder import text_encoder
from t2icli.distributed import World
from t2icli.errors import DataError, EnvironmentFault, RecipeError
from t2icli.reading import BertReader, training_reader
from t2icli.recipe_files import load_data_recipe, load_recipe
from t2icli.sampling import open_run
from t2icli.training.loop import batches_from, one_step, train
from t2icli.training.planning import make_plan
from t2icli.training.trainer import build, make_loader
from t2icli.weights import Weights

CPU = torch.device("cpu")
WORDS = ["a", "red", "blue", "bus", "dog", "on", "the", "street"]


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    """The same pictures and captions of 4 to 12 tokens twice, with BERT's vectors and with token ids only."""
    folder = tmp_path_factory.mktemp("both")
    made_up_pictures(folder / "raw", 40)
    keys = [f"text.model={tiny_bert}", "text.max_tokens=16", "images.size=32", "images_per_shard=10"]
    for how, more in (("stored", "text.pad_sum=true"), ("online", "text.embeddings=online")):
        prepare(
            load_data_recipe("folder", [*keys, "reader.val_share=0.3", more]),
            folder / "raw",
            folder / how,
            Options(workers=1),
        )
    return {how: folder / how for how in ("stored", "online")}


@pytest.fixture(scope="session")
def stored_shards(both: dict[str, Path]) -> Path:
    """Shards with vectors."""
    return both["stored"]


@pytest.fixture(scope="session")
def online_shards(both: dict[str, Path]) -> Path:
    """Shards with token ids only."""
    return both["online"]


def training(shards: Path, *changes: str):
    return load_recipe("tiny/xmcgan", [f"data.shards={shards}", *changes])


def texts(recipe, steps: int) -> list[Text]:
    """What a run's networks are given in its first steps."""
    folder = ShardFolder(recipe.data.shards, "train")
    reader = training_reader(recipe, folder, CPU)
    loaded = islice(make_loader(recipe, folder, 8).batches(), steps)
    return [reader.loaded(batch) for batches in loaded for batch in batches]


def assert_within_float16(one: Text, other: Text) -> None:
    """Tokens alike, and vectors no more than a float16 step apart (near zero: float32's rounding inside BERT)."""
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.mask, other.mask)
    assert one.mask.dtype == other.mask.dtype == torch.bool
    assert not one.mask.all() and one.mask.any(1).all()  # captions of several lengths, none of them empty
    for name in ("words", "sentence"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=2**-10, atol=1e-5)
    assert not one.words[~one.mask].any() and not other.words[~other.mask].any()


def test_shards_hold_tokens_and_no_vectors(stored_shards: Path, online_shards: Path) -> None:
    stored, online = (ShardFolder(folder, "train") for folder in (stored_shards, online_shards))
    assert (stored.online, online.online) == (False, True)
    assert online.word_dim == stored.word_dim == 12  # what networks will see
    assert online.text_identity == stored.text_identity
    assert online.text_identity.sha256 and online.text_identity.tokenizer
    for number in range(len(stored.entries)):
        ours, theirs = online.shard(number), stored.shard(number)
        assert ours.embedding(0).shape == (len(ours.tokens(0)), 0)
        for caption in range(theirs.caption_count):
            assert np.array_equal(ours.tokens(caption), theirs.tokens(caption))
            assert ours.text(caption) == theirs.text(caption)
        tokens = stored.entries[number].tokens
        smaller = stored.entries[number].bytes - online.entries[number].bytes
        assert smaller >= tokens * 12 * 2  # float16


def test_bfloat16_is_told_to_whoever_reads_again(prepared, pictures: Path, tmp_path: Path) -> None:
    for name in ("stored", "online"):
        keys = ("text.max_tokens=16", "images.size=32", f"text.embeddings={name}", "text.precision=bfloat16")
        prepared(pictures, tmp_path / name, *keys)
    stored, online = (texts(training(tmp_path / name), 1)[0] for name in ("stored", "online"))
    torch.testing.assert_close(stored.words, online.words, rtol=2**-6, atol=2**-6)
    folder = ShardFolder(tmp_path / "online", "train")
    reader = training_reader(training(tmp_path / "online"), folder, CPU)
    assert reader.identity()["precision"] == "bfloat16"
    assert reader.encoder.network.dtype == torch.bfloat16


def test_prepare_does_not_run_bert(monkeypatch: pytest.MonkeyPatch, prepared, pictures: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(BertEncoder, "network", property(lambda self: pytest.fail("BERT was run")))
    prepared(pictures, tmp_path / "out", "text.embeddings=online")
    assert Shard(next((tmp_path / "out").glob("*.h5"))).tokens(0).size > 2


def test_tokens_are_those_of_the_bert_itself(tiny_bert: Path) -> None:
    captions = ["a red bus", "dog " * 30, "x"]
    online = text_encoder(str(tiny_bert), 12, embeddings="online")
    bert = BertEncoder(str(tiny_bert), 12)
    assert online.identity == bert.identity
    for ours, theirs in zip(online.encode(captions), bert.encode(captions), strict=True):
        assert np.array_equal(ours.tokens, theirs.tokens) and ours.tokens.dtype == theirs.tokens.dtype
        assert ours.truncated == theirs.truncated
        assert ours.words.shape == (len(ours.tokens), 0) and ours.pad_sum is None


@pytest.mark.parametrize("sentence", ["masked_mean", "padded_sum"])
@pytest.mark.parametrize("workers", [0, 2])
def test_training_sees_the_same_numbers(stored_shards: Path, online_shards: Path, sentence: str, workers: int) -> None:
    keys = (f"text.sentence={sentence}", f"data.workers={workers}")
    stored, online = (texts(training(folder, *keys), 6) for folder in (stored_shards, online_shards))
    assert len(stored) == len(online) == 12
    for one, other in zip(stored, online, strict=True):
        assert_within_float16(one, other)
        assert torch.equal(other.words, other.words.half().float())
        assert not other.words.requires_grad and not other.words.is_inference()


def test_two_sentence_vectors_differ_online(online_shards: Path) -> None:
    mean, padded = (texts(training(online_shards, f"text.sentence={s}"), 1)[0] for s in ("masked_mean", "padded_sum"))
    torch.testing.assert_close(mean.words, padded.words, rtol=2**-10, atol=1e-5)
    assert not torch.allclose(mean.sentence, padded.sentence, atol=1e-2)


def test_drawing_from_either_kind_of_shards(stored_shards: Path, online_shards: Path, tiny_bert: Path) -> None:
    asked = [(11, 0), (0, 1), (3, 2), (11, 0)]
    for sentence in ("masked_mean", "padded_sum"):
        found = []
        for trained_on in (stored_shards, online_shards):
            identity = ShardFolder(trained_on, "train").text_identity
            reader = BertReader(identity, sentence, None, CPU)  # type: ignore[arg-type]
            found += [reader.stored(ShardFolder(shards, "val"), asked) for shards in (stored_shards, online_shards)]
        for other in found[1:]:
            assert_within_float16(found[0], other)
        assert torch.equal(found[1].words[0], found[1].words[3])


def test_a_run_on_token_ids_draws_what_a_run_on_vectors_draws(
    stored_shards: Path, online_shards: Path, tmp_path: Path
) -> None:
    # one update, and weights that average nothing: the generators differ by rounding
    keys = ("train.images=4", "train.d_steps=1", "train.log_every=4", "train.ema_decay=0")
    runs = [
        open_run(train(training(folder, *keys), lambda name=name: tmp_path / name))
        for name, folder in (("stored", stored_shards), ("online", online_shards))
    ]
    assert runs[0].reader.identity() == runs[1].reader.identity()
    pictures = [
        run.generate_from_shards(ShardFolder(shards, "val"), [(0, 0), (5, 1)], [0, 1], seed=3)
        for run in runs
        for shards in (stored_shards, online_shards)
    ]
    assert pictures[0].float().std() > 1
    for other in pictures[1:]:
        assert (pictures[0].int() - other.int()).abs().max() <= 1
    losses = [json.loads((run.folder / "log.jsonl").read_text().splitlines()[0]) for run in runs]
    assert losses[0]["d/word"] == pytest.approx(losses[1]["d/word"], rel=1e-3)


def test_reading_runs_captions_of_one_length_together(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = BertEncoder(str(tiny_bert), 16)
    count = CAPTIONS_AT_ONCE + 30
    captions = [" ".join(WORDS[j % 8] for j in range(1 + i % 14)) for i in range(count)]
    encoded = encoder.encode(captions)
    text = collate_tokens([caption.tokens for caption in encoded], 16)
    shapes = []
    network = encoder.network
    monkeypatch.setattr(
        encoder,
        "network",
        lambda tokens, attention_mask: (
            shapes.append(tuple(tokens.shape)),
            network(tokens, attention_mask=attention_mask),
        )[1],
    )
    found = read_tokens(text, encoder, "masked_mean")
    longest_of_short = sorted(len(caption.tokens) for caption in encoded)[CAPTIONS_AT_ONCE - 1]
    assert shapes == [(CAPTIONS_AT_ONCE, longest_of_short), (30, 16)]
    assert longest_of_short < 16
    assert_within_float16(collate_text(encoded, 16, "masked_mean"), found)
    shapes.clear()
    read_tokens(text, encoder, "padded_sum")
    assert [width for _, width in shapes] == [16, 16]  # pads count, so they must be computed


def test_reading_is_not_drawn_into_autocast(tiny_bert: Path) -> None:
    encoder = BertEncoder(str(tiny_bert), 16)
    text = collate_tokens([caption.tokens for caption in encoder.encode(["a red bus", "dog"])], 16)
    plain = read_tokens(text, encoder, "masked_mean")
    with torch.autocast("cpu", torch.bfloat16):
        inside = read_tokens(text, encoder, "masked_mean")
    assert all(torch.equal(getattr(plain, f.name), getattr(inside, f.name)) for f in fields(Text))


def test_chance_is_left_as_it_was(online_shards: Path) -> None:
    recipe = training(online_shards)
    folder = ShardFolder(online_shards, "train")
    loaded = next(make_loader(recipe, folder, 8).batches())[0]
    reader = training_reader(recipe, folder, CPU)
    assert all(torch.equal(reader.loaded(loaded).words, reader.loaded(loaded).words) for _ in range(3))


# ---------------------------------------------------------------------------- messages


def test_a_dry_run_needs_no_network(online_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BertEncoder, "network", property(lambda self: pytest.fail("BERT was run")))
    plan = make_plan(training(online_shards), tmp_path / "run", [])
    assert plan["training_images"] == len(ShardFolder(online_shards, "train")) and not (tmp_path / "run").exists()


def test_training_without_the_bert_is_refused_at_once(online_shards: Path, tiny_bert: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_bert, tmp_path / "moved")
    shards = shutil.copytree(online_shards, tmp_path / "shards")
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["text"]["model"] = "/absent/bert"
    (shards / "manifest.json").write_text(json.dumps(manifest))
    said = r"shards: holds token ids only \(text\.embeddings = 'online'\), so training runs their BERT: text\.model: "
    with pytest.raises(EnvironmentFault, match=said + r"'/absent/bert': no such folder.*give yours with --set text\."):
        train(training(shards), lambda: tmp_path / "run")
    assert len(texts(training(shards, f"text.model={moved}"), 1)) == 2
    torch.manual_seed(1)
    from transformers import BertModel

    other = shutil.copytree(tiny_bert, tmp_path / "other")
    BertModel(BertModel.from_pretrained(tiny_bert).config).save_pretrained(other)
    with pytest.raises(EnvironmentFault, match="token ids only.*is not the text encoder of this run.*text.model=DIR"):
        make_plan(training(shards, f"text.model={other}"), tmp_path / "run", [])


def test_the_hub_cannot_be_reached(online_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentFault, match=r"token ids only.*not in the Hugging Face cache and cannot be fetched"):
        texts(training(online_shards, "text.model=google-bert/bert-base-uncased"), 1)


def test_other_vectors_are_refused_online_too(online_shards: Path, stored_shards: Path) -> None:
    found = ShardFolder(stored_shards, "train").text_identity
    reader = BertReader(type(found)(**{**found.to_json(), "sha256": "0" * 64}), "masked_mean", None, CPU)
    with pytest.raises(DataError, match="captions were encoded by .* prepare the data with the run's text encoder"):
        reader.stored(ShardFolder(online_shards, "val"), [(0, 0)])


def test_keys_that_contradict_each_other(prepared, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"text\.pad_sum = true stores sums of vectors, and .*'online' stores none"):
        prepared(pictures, tmp_path / "out", "text.embeddings=online", "text.pad_sum=true")
    with pytest.raises(RecipeError, match=r"'online' stores the token ids of a BERT, and text\.model = 'none' has"):
        prepared(pictures, tmp_path / "out", "text.embeddings=online", "text.model=none")
    assert not (tmp_path / "out").exists()
    prepared(pictures, tmp_path / "out")
    with pytest.raises(DataError, match=r"text\.embeddings: 'stored' there, 'online' now"):
        prepared(pictures, tmp_path / "out", "text.embeddings=online")


def test_less_disk_is_asked_for(prepared, pictures: Path, tmp_path: Path) -> None:
    needed = [
        prepared(pictures, tmp_path / "out", f"text.embeddings={how}", dry_run=True)["estimated_bytes"]
        for how in ("stored", "online")
    ]
    assert needed[0] - needed[1] >= 36 * 5 * 12 * 2  # captions, tokens at least, numbers, bytes


# ---------------------------------------------------------------------------- long captions


@pytest.mark.parametrize("how", ["stored", "online"])
def test_captions_of_64_tokens(tmp_path: Path, tiny_bert: Path, how: str) -> None:
    made_up_pictures(tmp_path / "raw", 12)
    with (tmp_path / "raw" / "captions.jsonl").open("w") as file:
        for number in range(12):
            long = " ".join(WORDS[(number + i) % 8] for i in range(40 + 5 * number))
            file.write(json.dumps({"file": f"{number:03d}.png", "captions": [long]}) + "\n")
    keys = [f"text.model={tiny_bert}", "text.max_tokens=64", f"text.embeddings={how}", "images.size=32"]
    recipe = load_data_recipe("folder", [*keys, "reader.val_share=0.1"])
    summary = prepare(recipe, tmp_path / "raw", tmp_path / "out", Options(workers=1))
    assert summary["truncated_captions"] == 7  # above 62 words
    training_recipe = training(tmp_path / "out", "text.max_words=64")
    trainer = build(training_recipe, Weights(), CPU)
    (batches,) = islice(batches_from(trainer, World(0, 1, CPU), 0), 1)
    for batch in batches:
        assert batch.text.words.shape == (4, 64, 12)
        assert batch.text.mask.sum(1).min() >= 42 and batch.text.mask.sum(1).max() == 64
        assert max(len(caption.split()) for caption in batch.captions) > 50
    losses = one_step(trainer, World(0, 1, CPU), batches)
    assert {"d/word", "g/word"} <= losses.keys()
    assert all(torch.isfinite(loss).all() for loss in losses.values())


def test_the_loader_refuses_padded_sums_that_are_nowhere(prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "stored")
    prepared(pictures, tmp_path / "online", "text.embeddings=online")
    with pytest.raises(DataError, match=r"needs the sums at pad positions"):
        Loader(ShardFolder(tmp_path / "stored", "train"), 16, 4, sentence="padded_sum")
    assert next(Loader(ShardFolder(tmp_path / "online", "train"), 16, 4, sentence="padded_sum").batches())
