"""Files of weights: whole, whatever bit was turned; refused in words; those of older versions are read."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from safetensors.torch import load_file, save_file
from torch import nn

from t2icli.documents import SIZE_LIMIT
from t2icli.errors import DataError
from t2icli.weight_files import content_hash, fill, read_weights, write_weights

KEY = "key"


class Header(BaseModel):
    name: str
    images: int


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def read(path: Path) -> tuple[Header, dict[str, torch.Tensor]]:
    return read_weights(path, KEY, Header, "holds nothing of ours")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "weights" / "x.safetensors"
    write_weights(path, network(), KEY, {"name": "an ü", "images": 3})
    return path


def test_what_is_written_is_read(written: Path) -> None:
    header, tensors = read(written)
    assert header == Header(name="an ü", images=3)
    state = network().state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert [path.name for path in written.parent.iterdir()] == ["x.safetensors"]
    assert written.stat().st_mode & 0o044 == 0o044  # others of the group may read it


def test_every_turned_bit_is_found(written: Path) -> None:
    """All bits of all bytes: the length, names, shapes, the text, the hash, every number."""
    whole = written.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            turned = bytearray(whole)
            turned[place] ^= 1 << bit
            written.write_bytes(turned)
            with pytest.raises(DataError, match="x.safetensors: (damaged|holds nothing of ours)"):
                read(written)


@pytest.mark.parametrize("part", [0, 1, 7, 8, 100, 0.5, 0.99])
def test_what_was_cut_off_is_found(written: Path, part: float) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    with pytest.raises(DataError, match="damaged, or no safetensors file"):
        read(written)
    written.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="damaged, or no safetensors file"):
        read(written)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"it is empty \(0 bytes\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "it is a web page"),
        (bytes(4096), "it holds zeros only"),
        ((SIZE_LIMIT + 1).to_bytes(8, "little") + b"{}", "its header would be longer than 16,777,216 bytes"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path)
    with pytest.raises(DataError, match="no such file of weights"):
        read(tmp_path)


def test_a_file_of_a_version_without_hashes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(network().state_dict(), path, metadata={KEY: json.dumps({"name": "old", "images": 1})})
    assert read(path)[0].name == "old"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "its header is not valid JSON"),
        ("[" * 100_000, "its header is not valid JSON"),
        ('{"name": "a", "images": NaN}', "NaN is no number of JSON"),
        ('{"name": "a"}', "its header: damaged: lacks images"),
        ('{"name": 3, "images": 1}', "its header: damaged: name: Input should be a valid string"),
        ("[]", "its header: damaged: the whole"),
    ],
)
def test_a_header_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(network().state_dict(), path, metadata={KEY: text})
    with pytest.raises(DataError, match=message):
        read(path)


def test_unknown_keys_and_endless_numbers_are_refused(tmp_path: Path) -> None:
    path, text = tmp_path / "x.safetensors", json.dumps({"name": "a", "images": 1})
    save_file(network().state_dict(), path, metadata={KEY: text, "rha256": "0"})
    with pytest.raises(DataError, match="its header has rha256, which is not known"):
        read(path)
    state = network().state_dict()
    for endless in (float("inf"), float("nan")):
        state["0.weight"][1, 1] = endless
        save_file(state, path, metadata={KEY: text})
        with pytest.raises(DataError, match=r"holds numbers that are not finite \(0.weight\)"):
            read(path)


def test_the_hash_is_of_names_types_shapes_numbers_and_text() -> None:
    tensors = {"b": torch.ones(2, 1), "a": torch.zeros(2, dtype=torch.bfloat16), "c": torch.tensor(3)}
    whole = hashlib.sha256(b'"text"')
    whole.update(b'["a", "torch.bfloat16", [2]]' + bytes(4))
    whole.update(b'["b", "torch.float32", [2, 1]]' + b"\0\0\x80\x3f" * 2)
    whole.update(b'["c", "torch.int64", []]' + (3).to_bytes(8, "little"))
    assert content_hash(tensors, "text") == whole.hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), r"x: lacks 0.bias \(3,\)"),
        (lambda state: state.update(more=torch.zeros(1)), "x: has more, which is not known"),
        (lambda state: state.update({"0.bias": torch.zeros(1)}), r"x: 0.bias is \(1,\), should be \(3,\)"),
        (lambda state: state.update({"0.bias": torch.zeros(3).double()}), "x: 0.bias is torch.float64, should be"),
    ],
)
def test_what_fits_a_network(written: Path, change, message: str) -> None:
    filled, state = network(), load_file(written)
    before = {name: tensor.clone() for name, tensor in filled.state_dict().items()}
    change(state)
    with pytest.raises(DataError, match=message):
        fill(filled, state, "x")
    assert all(torch.equal(before[name], tensor) for name, tensor in filled.state_dict().items())  # all or nothing
