"""Pretrained weights of other people's networks: where they lie, and whether they are the published ones.

One table says what is published. A file is looked for where the user says (``--weights NAME=PATH``), then in
``$T2I_WEIGHTS`` under its published name, then in the cache of torch.hub, and then it is downloaded. Weights
decide what a score means, so a file found under a published name must have the published hash, and a result
always carries the hash of what was used. Nothing here imports torch until weights are loaded.
"""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2icli import registry
from t2icli.console import progress
from t2icli.errors import EnvironmentFault, UserError

SECONDS_TO_ANSWER = 10.0  # a machine without network should say so soon
CHUNK = 1 << 20
TORCHVISION = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class Published:
    """One file as its authors publish it; ``sha256`` is the whole hash, or the leading digits that are known."""

    file: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Known:
    """Weights that t2i can use, under the name users give them; any of the files will do, the first is downloaded."""

    name: str
    what: str
    files: tuple[Published, ...]


@dataclass(frozen=True)
class Found:
    """A file of weights that may be loaded, with what a result has to say about it."""

    name: str
    path: Path
    sha256: str
    published: bool
    note: str = ""

    def record(self) -> dict[str, Any]:
        """What a stored result says about these weights."""
        facts = {"name": self.name, "file": self.path.name, "sha256": self.sha256, "published": self.published}
        return facts | ({"note": self.note} if self.note else {})


INCEPTION_TF = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

KNOWN = (
    Known(
        "inception-tf",
        "Inception v3 of TensorFlow's 2015-12-05 graph, as torch-fidelity and pytorch-fid converted it: FID and IS",
        (
            Published(
                "weights-inception-2015-12-05-6726825d.pth",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth",
                INCEPTION_TF,
            ),
            Published(
                "pt_inception-2015-12-05-6726825d.pth",
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                "pt_inception-2015-12-05-6726825d.pth",
                INCEPTION_TF,
            ),
        ),
    ),
    Known(
        "inception-torchvision",
        "torchvision's Inception v3, ImageNet",
        (
            Published(
                "inception_v3_google-0cc3c7bd.pth", f"{TORCHVISION}/inception_v3_google-0cc3c7bd.pth", "0cc3c7bd"
            ),
            # The file of torchvision 1.0's time, which the AttnGAN family used.
            Published(
                "inception_v3_google-1a9a5a14.pth", f"{TORCHVISION}/inception_v3_google-1a9a5a14.pth", "1a9a5a14"
            ),
        ),
    ),
    Known(
        # IMAGENET1K_V1, not V2: the contrastive loss of XMC-GAN compares logits of a ResNet-50 trained in the plain
        # way; V2's label smoothing, mixup and averaging flatten logits, so its similarities mean something else.
        "resnet50",
        "torchvision's ResNet-50, ImageNet (IMAGENET1K_V1)",
        (
            Published(
                "resnet50-0676ba61.pth",
                f"{TORCHVISION}/resnet50-0676ba61.pth",
                "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            ),
        ),
    ),
    Known(
        # IMAGENET1K_V1: MirrorGAN's captioner is older than V2.
        "resnet152",
        "torchvision's ResNet-152, ImageNet (IMAGENET1K_V1)",
        (Published("resnet152-394f9c45.pth", f"{TORCHVISION}/resnet152-394f9c45.pth", "394f9c45"),),
    ),
    Known(
        "vgg19",
        "torchvision's VGG-19 without batch normalisation, ImageNet",
        (Published("vgg19-dcbb9e9d.pth", f"{TORCHVISION}/vgg19-dcbb9e9d.pth", "dcbb9e9d"),),
    ),
)


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
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as fault:
        raise EnvironmentFault(f"{path}: cannot be read: {fault.strerror}") from None


def accept(row: Known, path: Path) -> Found:
    """A file that the user names: any weights may be used, but a result says when they are not the published ones."""
    if not path.is_file():
        found = "is a folder; it should be the file itself" if path.is_dir() else "there is no such file"
        raise EnvironmentFault(f"--weights {row.name}={path}: {found} (published as {row.files[0].file})")
    digest = file_hash(path)
    if any(digest.startswith(published.sha256) for published in row.files):
        return Found(row.name, path, digest, published=True)
    expected = " or ".join(sorted({published.sha256 for published in row.files}))
    note = f"not the published {row.name} weights (sha256 should begin with {expected}): compare with nothing published"
    return Found(row.name, path, digest, published=False, note=note)


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
        content = torch.load(found.path, map_location="cpu", weights_only=True)
    except Exception as fault:  # torch raises whatever the damage happens to cause
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise EnvironmentFault(f"{found.path}: cannot be read as PyTorch weights: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise EnvironmentFault(f"{found.path}: should hold a state dict (names and tensors) of {found.name}")
    return content
