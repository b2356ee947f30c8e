"""Files of tensors that others made, opened so that nothing in them can run, or refused by what they are.

PyTorch's own format (zip or pickle, both by ``weights_only``) and safetensors. What torch says of a file that it does
not open is advice to open it unsafely, so none of it reaches a user. Nothing here imports torch until a file is opened.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

from t2icli.documents import read_head, what_file_is
from t2icli.errors import DataError

ZIP = b"PK\x03\x04"
SAFETENSORS = b"\0\0\0\0{"  # from the fifth byte on: the high half of the header's length, and its beginning
SAFE = "files that hold anything but tensors and plain values are refused, because opening them could run code"
OLDER = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # the number that torch's pickles begin with
ASKED = re.compile(r"GLOBAL ([\w.]+)|[Uu]nsupported class ([\w.]+)")
NAMES = 3  # members of an archive that a message shows


def read_tensors(path: Path) -> Any:
    """The content of a checkpoint: tensors, containers and plain values, on the CPU."""
    head = read_head(path)
    if head[4:9] == SAFETENSORS:
        return read_safetensors(path)
    if head.startswith(ZIP):
        look_into(path)
    elif not is_older(head) and not is_oldest(path):
        raise DataError(f"{path}: is no checkpoint: {what_file_is(path)}")
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises whatever the damage happens to cause
        raise DataError(f"{path}: {reason(fault)}") from None


def is_older(head: bytes) -> bool:
    """Whether a file begins as torch's checkpoints of before 2020 do: a pickle of one certain number."""
    return head.startswith(b"\x80") and OLDER in head[:32]


def is_tensors(head: bytes) -> bool:
    """Whether a file begins as one of tensors does, and not as a pickle of something else."""
    return head[4:9] == SAFETENSORS or head.startswith(ZIP) or is_older(head)


def read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as fault:
        raise DataError(f"{path}: a safetensors file that is damaged or cut off: {fault}") from None


def check_safetensors(path: Path) -> None:
    """Refuse what is no whole safetensors file; only its header is read."""
    from safetensors import SafetensorError, safe_open

    if read_head(path)[4:9] != SAFETENSORS:
        raise DataError(f"{path}: should be a safetensors file: {what_file_is(path)}")
    try:
        with safe_open(path, framework="pt"):
            return
    except (SafetensorError, OSError, ValueError) as fault:
        raise DataError(f"{path}: a safetensors file that is damaged or cut off: {fault}") from None


def look_into(path: Path) -> None:
    """Refuse a zip archive that is cut off or that torch did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise DataError(
            f"{path}: begins like a checkpoint and ends too soon: a copy or download that broke off; fetch it again"
        ) from None
    if any(name.endswith(("/data.pkl", "/constants.pkl")) or name == "data.pkl" for name in names):
        if any("/code/" in name for name in names):
            raise DataError(f"{path}: is a TorchScript program; save the state_dict() of its network instead")
        return
    shown = ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES:,} more" if len(names) > NAMES else "")
    raise DataError(f"{path}: is a zip archive that is no checkpoint; it holds {shown or 'nothing'}: unpack it first")


def is_oldest(path: Path) -> bool:
    """Whether this is the tar archive in which torch wrote checkpoints before 2017."""
    import tarfile

    try:
        with tarfile.open(path, "r:") as archive:
            return {"storages", "tensors", "pickle"} <= set(archive.getnames())
    except (tarfile.TarError, OSError, ValueError):
        return False


def reason(fault: Exception) -> str:
    """Why torch did not open a file, without its advice to open it unsafely."""
    said = str(fault)
    asked = ASKED.search(said)
    if asked:
        return f"asks for {asked[1] or asked[2]}, which could run code; {SAFE}"
    if "weights_only" in said or "Weights only" in said:
        what = said.partition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
        return f"damaged, or cannot be opened as tensors and plain values ({what or 'torch says no more'}); {SAFE}"
    first = next(iter(said.strip().splitlines()), "") or type(fault).__name__
    return f"damaged or cut off: it cannot be opened as tensors and plain values ({first[:200]})"
