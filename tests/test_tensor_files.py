"""Checkpoints of others: what is opened, and what a file is called that is not opened."""

import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from t2icli.errors import DataError
from t2icli.tensor_files import check_safetensors, read_tensors

TENSORS = {"a": torch.arange(3.0), "deeper": {"b": torch.ones(2)}}
ADVICE = ("weights_only", "will likely succeed", "trust")


class Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


def refused(path: Path, *said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_tensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and all(part in message for part in said), message
    assert not any(part in message for part in ADVICE), message


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "anything"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    found = read_tensors(path)
    assert torch.equal(found["a"], TENSORS["a"]) and torch.equal(found["deeper"]["b"], torch.ones(2))
    whole = path.read_bytes()
    for length in range(1, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:length])
        refused(path)


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"  # the name does not matter
    save_file({"a": torch.arange(3.0)}, path)
    assert torch.equal(read_tensors(path)["a"], torch.arange(3.0))
    check_safetensors(path)
    whole = path.read_bytes()
    for length in range(9, len(whole) - 1, 5):
        path.write_bytes(whole[:length])
        refused(path, "damaged or cut off")
        with pytest.raises(DataError, match="damaged or cut off"):
            check_safetensors(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (bytes(600), "zeros only"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"<!doctype html><html>Sign in", "a web page"),
        (b"NoSuchKey: the file is gone", "a text that begins with 'NoSuchKey"),
        (b'{"error": 404}', "a text that begins with"),
        (pickle.dumps([1, 2], 2), "a pickle"),
        (pickle.dumps({"a": Command()}, 4), "a pickle"),
        (b"\x1f\x8b\x08" + bytes(range(40)), "gzip"),
        (b"\x9c\x01" * 20, "its first bytes are 9c 01"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "state.pth"
    path.write_bytes(content)
    refused(path, "is no checkpoint: ", said)
    with pytest.raises(DataError, match=r"state\.pth: should be a safetensors file: "):
        check_safetensors(path)


def test_archives_and_hdf5_are_named(tmp_path: Path) -> None:
    h5py.File(tmp_path / "keras.h5", "w").close()
    refused(tmp_path / "keras.h5", "an HDF5 file")
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
        for name in "abcde":
            archive.writestr(f"birds/{name}.jpg", "x")
    refused(tmp_path / "birds.zip", "a zip archive that is no checkpoint", "birds/a.jpg", "and 2 more")
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(3))
    refused(tmp_path / "statistics.npz", "a zip archive that is no checkpoint", "mu.npy")
    with tarfile.open(tmp_path / "birds.tar", "w") as archive:
        archive.add(tmp_path / "keras.h5", "keras.h5")
    refused(tmp_path / "birds.tar", "a tar archive")
    with zipfile.ZipFile(tmp_path / "traced.pt", "w") as archive:  # as torch.jit.save lays it out
        for name in ("traced/data.pkl", "traced/constants.pkl", "traced/code/__torch__.py"):
            archive.writestr(name, "x")
    refused(tmp_path / "traced.pt", "a TorchScript program")


def test_torch7(shared: Path) -> None:
    refused(shared / "golden" / "t7" / "gan_int_cls_2_net_G.t7", "a Torch7 file")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Command(), "system"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (np.float32(3), "multiarray.scalar"),
    ],
)
def test_what_a_file_asks_for_is_named(tmp_path: Path, value: object, said: str, zipped: bool) -> None:
    torch.save({"a": value}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "x.pth", f"{said}, which could run code")


def test_what_is_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "gone.pth", "no such file")
    refused(tmp_path, "a folder, a pipe or a device")
