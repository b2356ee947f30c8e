"""Folders of models: a file that is something else is named before a library fails on it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from t2icli.data.bert import BUNDLED, BertEncoder
from t2icli.errors import EnvironmentFault, UserError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED["scenes-bert"], tmp_path / "bert"))


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        BertEncoder(str(folder), 17).encode(["a red bus"])
    assert all(part in str(caught.value) for part in (str(folder), *said)), caught.value


def test_a_whole_folder_reads(folder: Path) -> None:
    assert BertEncoder(str(folder), 17).encode(["a red bus"])[0].words.shape[0] == 5


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt", "tokenizer.json"])
@pytest.mark.parametrize(
    ("content", "said"), [(POINTER, "a Git LFS pointer"), (b"", "is empty"), (b"<html>gone</html>", "a web page")]
)
def test_a_file_in_place_of_another_is_named(folder: Path, name: str, content: bytes, said: str) -> None:
    (folder / name).write_bytes(content)
    refused(folder, name, said)


def test_weights_that_broke_off(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(folder, "model.safetensors: a safetensors file that is damaged or cut off")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([1, 2], "config.json: should hold a table"),
        ({"hidden_size": "many"}, "config.json: damaged: hidden_size"),
        ({"hidden_size": 10**9}, "config.json: damaged: hidden_size"),
        ({"num_hidden_layers": -1}, "config.json: damaged: num_hidden_layers"),
        ({"vocab_size": []}, "config.json: damaged: vocab_size"),
        ({"hidden_act": 5}, "bert"),
        ({"hidden_size": 7}, "bert"),
    ],
)
def test_a_configuration_of_a_wrong_shape(folder: Path, changes: Any, said: str) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes if isinstance(changes, dict) else changes))
    refused(folder, said)


def test_a_tokenizer_of_a_wrong_shape(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text('{"model": [1, {"type": 3}], "version": 7, "added_tokens": 3}')
    with pytest.raises(UserError, match="tokenizer"):
        BertEncoder(str(folder), 17).encode(["a red bus"])
