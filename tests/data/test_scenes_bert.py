"""The bundled BERT: loads offline, stays small, and its sentence vectors tell captions apart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from t2icli.data.bert import BUNDLED, BertEncoder
from t2icli.data.scenes import compose, describe

FOLDER = BUNDLED["scenes-bert"]


def test_transformers_loads_it_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer, BertModel

    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    network, report = BertModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokens = tokenizer("A red bus on a street.", return_tensors="pt")
    assert tokenizer.tokenize("A red bus on a street.") == ["a", "red", "bus", "on", "a", "street", "."]
    assert network(**tokens).last_hidden_state.shape == (1, 9, 128)


def test_the_bundled_files_are_small_and_described() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    assert "Held out" in (FOLDER / "CARD.md").read_text(encoding="utf-8")


def test_captions_of_scenes_fit_into_its_recipe() -> None:
    encoder = BertEncoder("scenes-bert", max_tokens=24)
    captions = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        captions += describe(compose(random, 3), random)
    tokens = encoder.tokenizer(captions)["input_ids"]
    # The longest names ("fire hydrant", "stop sign", "teddy bear") rarely meet in one caption.
    assert sum(len(ids) > 24 for ids in tokens) <= 0.01 * len(tokens)
    assert not any(encoder.tokenizer.unk_token_id in ids for ids in tokens)


def test_other_sentences_have_tokens_too() -> None:
    tokenizer = BertEncoder("scenes-bert", max_tokens=64).tokenizer
    strange = "Two zebras graze beside a quixotic giraffe, while 3 firefighters juggle (badly)!"
    assert tokenizer.unk_token not in tokenizer.tokenize(strange)


def test_sentence_vectors_carry_what_is_said() -> None:
    encoder = BertEncoder("scenes-bert", max_tokens=24)
    said = [
        "a red bus on a street",
        "There is a red bus on the road.",
        "a blue bus on a street",
        "a red bus in the sea",
    ]
    same, paraphrase, other_colour, other_place = (mean(encoded.words) for encoded in encoder.encode(said))
    assert similarity(same, paraphrase) > similarity(same, other_colour)
    assert similarity(same, paraphrase) > similarity(same, other_place)


def mean(words: NDArray[np.float16]) -> NDArray[np.float64]:
    vector: NDArray[np.float64] = words.astype(np.float64).mean(0)
    return vector


def similarity(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
