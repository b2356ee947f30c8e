"""BERT vectors against transformers itself, one caption at a time."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel, BertTokenizer

from t2icli.data.bert import BertEncoder
from t2icli.data.text import collate_text
from t2icli.errors import DataError, EnvironmentFault

CAPTIONS = ["a red bus on the street", "dog", "the sea in a street of grass and a dog on the bus"]


def by_hand(folder: Path, caption: str, length: int) -> tuple[torch.Tensor, int]:
    """The last layer at every one of ``length`` positions, pads not attended to; and the number of tokens."""
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    out = tokenizer(caption, max_length=length, truncation=True, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        hidden = BertModel.from_pretrained(folder)(**out).last_hidden_state[0]
    return hidden, int(out["attention_mask"].sum())


def test_vectors_are_berts(tiny_bert: Path) -> None:
    encoded = BertEncoder(str(tiny_bert), 12).encode(CAPTIONS, pad_sum=True)
    for caption, found in zip(CAPTIONS, encoded, strict=True):
        hidden, count = by_hand(tiny_bert, caption, 12)
        assert len(found.tokens) == count
        np.testing.assert_allclose(found.words.astype(np.float32), hidden[:count], atol=2e-3)  # stored as float16
        np.testing.assert_allclose(found.pad_sum, hidden[count:].sum(0), atol=1e-5)
    assert [found.truncated for found in encoded] == [False, False, True]


def test_bfloat16_rounds_and_says_so(tiny_bert: Path) -> None:
    exact, rounded = (BertEncoder(str(tiny_bert), 12, precision=name) for name in ("float32", "bfloat16"))
    for one, other in zip(exact.encode(CAPTIONS), rounded.encode(CAPTIONS), strict=True):
        assert not np.array_equal(one.words, other.words)
        np.testing.assert_allclose(one.words.astype(np.float32), other.words.astype(np.float32), atol=0.05)
    assert exact.identity.same_vectors(rounded.identity)
    assert (exact.identity.precision, rounded.identity.precision) == ("float32", "bfloat16")


def test_two_sentence_vectors(tiny_bert: Path) -> None:
    encoder = BertEncoder(str(tiny_bert), 12)
    encoded = encoder.encode(CAPTIONS, pad_sum=True)
    mean, padded = (collate_text(encoded, 12, kind) for kind in ("masked_mean", "padded_sum"))
    for row, caption in enumerate(CAPTIONS):
        hidden, count = by_hand(tiny_bert, caption, 12)
        torch.testing.assert_close(mean.sentence[row], hidden[:count].mean(0), atol=2e-3, rtol=0)
        torch.testing.assert_close(padded.sentence[row], hidden.sum(0) / count, atol=4e-3, rtol=0)
        assert mean.mask[row].sum() == count
        assert not mean.words[row, count:].any()
        assert not mean.tokens[row, count:].any()
    with pytest.raises(DataError, match=r"--set text\.pad_sum=true"):
        collate_text(encoder.encode(CAPTIONS), 12, "padded_sum")


def test_a_long_caption_is_cut(tiny_bert: Path) -> None:
    (found,) = BertEncoder(str(tiny_bert), 17).encode(["dog " * 500])
    assert len(found.tokens) == 17
    assert found.truncated
    vocabulary = (tiny_bert / "vocab.txt").read_text().split("\n")
    assert [vocabulary[token] for token in found.tokens[[0, 1, -1]]] == ["[CLS]", "dog", "[SEP]"]


def test_identity_says_which_vectors(tiny_bert: Path, tmp_path: Path) -> None:
    one = BertEncoder(str(tiny_bert), 12).identity
    moved = shutil.copytree(tiny_bert, tmp_path / "moved")
    assert one.same_vectors(BertEncoder(str(moved), 12).identity)
    words = (moved / "vocab.txt").read_text().replace("bus", "car")
    (moved / "vocab.txt").write_text(words)
    assert not one.same_vectors(BertEncoder(str(moved), 12).identity)
    torch.manual_seed(1)
    other = BertModel(BertModel.from_pretrained(tiny_bert).config)
    other.save_pretrained(tmp_path / "other")
    shutil.copy(tiny_bert / "vocab.txt", tmp_path / "other")
    assert not one.same_vectors(BertEncoder(str(tmp_path / "other"), 12).identity)


def test_no_weights(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        EnvironmentFault,
        match=r"cannot be fetched.*a BERT folder holds config\.json.*text\.model=DIR.*text\.model=none.*scenes-bert",
    ):
        BertEncoder("google-bert/bert-base-uncased", 17)
    with pytest.raises(EnvironmentFault, match="no such folder, nor a name on the Hugging Face hub"):
        BertEncoder("/absent/bert", 17)
    with pytest.raises(EnvironmentFault, match=r"lacks config\.json and vocab\.txt or tokenizer\.json and model"):
        BertEncoder(str(tmp_path), 17)


def test_the_bundled_bert() -> None:
    encoder = BertEncoder("scenes-bert", 16)
    assert sum(path.stat().st_size for path in encoder.folder.iterdir()) < 4e6
    assert (encoder.folder / "CARD.md").is_file()
    red, blue = (found.words.astype(np.float32).mean(0) for found in encoder.encode(["a red bus", "a blue bus"]))
    assert np.abs(red - blue).max() > 0.1
