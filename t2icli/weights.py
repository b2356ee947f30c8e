"""Pretrained weights of other people's networks: where they lie, and whether they are the published ones.

One table says what is published. A file is looked for where the user says (``--weights NAME=PATH``), then in
``$T2I_WEIGHTS`` under its published name, then in the cache of torch.hub, and then it is downloaded. Weights
decide what a score means, so a file found under a published name must have the published hash, and a result
always carries the hash of what was used. Nothing here imports torch until weights are loaded.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2icli import registry
from t2icli.console import progress
from t2icli.errors import DataError, EnvironmentFault, UserError
from t2icli.known_weights import KNOWN, Known, Model, Published
from t2icli.storage import sha256
from t2icli.tensor_files import read_tensors

SECONDS_TO_ANSWER = 10.0  # a machine without network should say so soon
CHUNK = 1 << 20


@dataclass(frozen=True)
class Found:
    """Weights that may be loaded (a file, or a folder of a hub's model), with what a result has to say about them."""

    name: str
    path: Path
    sha256: str
    published: bool | None  # None: nobody publishes these, so every user has other ones
    note: str = ""

    def record(self) -> dict[str, Any]:
        """What a stored result says about these weights."""
        facts = {"name": self.name, "file": self.path.name, "sha256": self.sha256, "published": self.published}
        return facts | ({"note": self.note} if self.note else {})


class Weights:
    """Finds weights by name; ``given`` are the values of ``--weights``."""

    def __init__(self, given: Sequence[str] = ()) -> None:
        self.given: dict[str, Path] = {}
        for option in given:
            name, equals, path = option.partition("=")
            if not equals or not name or not path:
                raise UserError(f"--weights {option}: should be NAME=PATH, e.g. --weights inception-tf=FILE")
            known(name)
            if name in self.given:
                raise UserError(f"--weights {name}: given twice, {self.given[name]} and {path}")
            self.given[name] = Path(path).expanduser()

    def find(self, name: str) -> Found:
        """The file with these weights; ``EnvironmentFault`` says where it was looked for and how to supply it."""
        row = known(name)
        if name in self.given:
            return accept(row, self.given[name])
        if row.model is not None:
            return find_model(row, row.model)
        if not row.files:
            raise EnvironmentFault(f"{name}: {row.what}; say where it lies: --weights {name}=PATH")
        looked = []
        for folder in (weights_folder(), torch_hub_folder()):
            for published in row.files:
                path = folder / published.file
                if path.is_file():
                    return insist(row, published, path)
                looked.append(path)
        return insist(row, row.files[0], fetch(row, looked))


def known(name: str) -> Known:
    """The table's row of a name."""
    rows = {row.name: row for row in KNOWN}
    if name not in rows:
        raise UserError(f"weights: there is no {name!r}; {registry.nearest(name, sorted(rows))}")
    return rows[name]


def weights_folder() -> Path:
    """``$T2I_WEIGHTS``, where users put weights and downloads go."""
    return Path(os.environ.get("T2I_WEIGHTS") or "~/.cache/t2i/weights").expanduser()


def torch_hub_folder() -> Path:
    """Where torch.hub keeps what it downloaded; said here without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or f"{cache}/torch").expanduser() / "hub" / "checkpoints"


def offline() -> str | None:
    """The variable that forbids downloads, if one is set; clusters set Hugging Face's anyway."""
    return next((v for v in ("T2I_OFFLINE", "HF_HUB_OFFLINE") if os.environ.get(v, "0").lower() not in ("", "0")), None)


def file_hash(path: Path) -> str:
    """SHA-256 of a file of weights."""
    try:
        return sha256(path)
    except OSError as fault:
        raise EnvironmentFault(f"{path}: cannot be read: {fault.strerror}") from None


def accept(row: Known, path: Path) -> Found:
    """A file that the user names: any weights may be used, but a result says when they are not the published ones."""
    if row.model is not None:
        return accept_model(row, row.model, path)
    if not row.files:
        return accept_own(row, path)
    if not path.is_file():
        found = "is a folder; it should be the file itself" if path.is_dir() else "there is no such file"
        raise EnvironmentFault(f"--weights {row.name}={path}: {found} (published as {row.files[0].file})")
    digest = file_hash(path)
    if any(digest.startswith(published.sha256) for published in row.files):
        return Found(row.name, path, digest, published=True)
    expected = " or ".join(sorted({published.sha256 for published in row.files}))
    note = f"not the published {row.name} weights (sha256 should begin with {expected}): compare with nothing published"
    return Found(row.name, path, digest, published=False, note=note)


def accept_own(row: Known, path: Path) -> Found:
    """Weights that nobody publishes: a file, or a folder whose reader knows the file in it."""
    if not path.exists():
        raise EnvironmentFault(f"--weights {row.name}={path}: there is no such file; it should be {row.what}")
    return Found(row.name, path, file_hash(path) if path.is_file() else "", published=None)


def accept_model(row: Known, model: Model, folder: Path) -> Found:
    """A folder that the user names for a model of the hub."""
    file = weights_in(folder)
    if file is None:
        found = "no such folder" if not folder.is_dir() else f"lacks {' or '.join(MODEL_WEIGHTS)} or config.json"
        raise EnvironmentFault(
            f"--weights {row.name}={folder}: {found}; it should be a folder as Hugging Face has it ({model.repository})"
        )
    digest = file_hash(file)
    if digest in model.sha256:
        return Found(row.name, folder, digest, published=True)
    note = f"not known to be the weights of {model.repository}: compare only with results of the same sha256"
    return Found(row.name, folder, digest, published=False, note=note)


def find_model(row: Known, model: Model) -> Found:
    """A model of the hub: in ``$T2I_WEIGHTS``, in Hugging Face's cache, or downloaded by it."""
    own = weights_folder() / model.repository.rpartition("/")[2]
    if weights_in(own) is not None:
        return accept_model(row, model, own)
    failures = []
    for local in (True, False):
        try:
            file = weights_in(snapshot(model, local))
        except (OSError, ValueError) as fault:  # the hub's errors are of these kinds
            failures.append(str(fault).strip().partition("\n")[0][:160])
            continue
        if file is not None:  # as the hub has it, so these are what it publishes
            return Found(row.name, file.parent, file_hash(file), published=True)
        failures.append(f"Hugging Face's {model.repository} holds none of {' and '.join(MODEL_WEIGHTS)}")
    raise EnvironmentFault(
        f"{row.name}: these weights cannot be had: no --weights {row.name}=FOLDER, no {own}, not in Hugging Face's "
        f"cache, and no download ({failures[-1]})\nPut the files of {model.repository} into {own}, or say where they "
        f"lie: --weights {row.name}=FOLDER"
    )


def snapshot(model: Model, local: bool) -> Path:
    """The folder of a hub's model: only from Hugging Face's cache, or brought up to date from the network."""
    variable = offline()
    if not local and variable is not None:
        raise OSError(f"{variable} forbids it")
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", *MODEL_WEIGHTS]
    return Path(
        snapshot_download(
            model.repository,
            revision=model.revision,
            allow_patterns=wanted,
            local_files_only=local,
            etag_timeout=SECONDS_TO_ANSWER,
        )
    )


MODEL_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def weights_in(folder: Path) -> Path | None:
    """The file of weights of a model's folder, if it is one."""
    if not (folder / "config.json").is_file():
        return None
    return next((folder / name for name in MODEL_WEIGHTS if (folder / name).is_file()), None)


def insist(row: Known, published: Published, path: Path) -> Found:
    """A file under its published name: it must be what it is called."""
    digest = file_hash(path)
    if not digest.startswith(published.sha256):
        raise EnvironmentFault(
            f"{path}: not the published {row.name} weights: its sha256 is {digest}, and should "
            f"{'be' if len(published.sha256) == 64 else 'begin with'} {published.sha256}; "
            f"delete it or replace it with {published.url}"
        )
    return Found(row.name, path, digest, published=True)


def fetch(row: Known, looked: Sequence[Path]) -> Path:
    """Download the published file into ``$T2I_WEIGHTS``."""
    published, folder = row.files[0], weights_folder()
    variable = offline()
    if variable is None:
        try:
            return download(published, folder / published.file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as fault:
            failure = f"the download failed ({getattr(fault, 'reason', None) or fault})"
    else:
        failure = f"{variable} forbids a download"
    places = "".join(f"\n  {path}" for path in looked)
    raise EnvironmentFault(
        f"{row.name}: these weights cannot be had: no --weights {row.name}=PATH, none of the files below, "
        f"and {failure}{places}\n"
        f"Put {published.file} from {published.url} into {folder}, or say where it lies: "
        f"--weights {row.name}=PATH"
    )


def download(published: Published, path: Path) -> Path:
    """Fetch a file to a temporary name beside its place; it gets its name only when it is whole and the right one."""
    with urllib.request.urlopen(published.url, timeout=SECONDS_TO_ANSWER) as answer:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        total = int(answer.headers.get("Content-Length") or 0)
        try:
            with partial.open("wb") as file, progress(f"Downloading {path.name}", total, "bytes") as advance:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
            if total and partial.stat().st_size != total:
                raise ConnectionError(f"{partial.stat().st_size:,} of {total:,} bytes arrived")
            if not file_hash(partial).startswith(published.sha256):
                raise ConnectionError(f"what arrived is another file: its sha256 is {file_hash(partial)}")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def load(found: Found) -> dict[str, Any]:
    """The tensors of a file of weights by name; a file that holds anything but tensors and plain types is refused."""
    import torch

    try:
        content = read_tensors(found.path)
    except DataError as fault:
        what = str(fault).removeprefix(f"{found.path}: ")
        raise EnvironmentFault(f"{found.path}: cannot be read as PyTorch weights of {found.name}: {what}") from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise EnvironmentFault(f"{found.path}: should hold a state dict (names and tensors) of {found.name}")
    return content
