"""Images to be scored: datasets whose items are uint8 tensors 3xHxW, all of one size."""

import hashlib
import io
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from t2icli.errors import DataError
from t2icli.storage import sha256

if TYPE_CHECKING:
    from t2icli.data.shard_folder import ShardFolder  # scoring a folder of images should not need HDF5

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
FILTER = "PIL bicubic"
DECODERS = 4  # threads; PIL decodes without holding the interpreter's lock


class Images(Dataset[Tensor], ABC):
    """A sequence of images of one known size, read by ranges so that a source can work in batches."""

    size: tuple[int, int]  # height, width

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def batch(self, start: int, stop: int) -> Tensor:
        """Images ``start`` to ``stop``, (n, 3, H, W) uint8."""

    def identity(self, start: int, stop: int) -> Mapping[str, Any] | None:
        """What decides every pixel of images ``start`` to ``stop``, as plain types; ``None``: not known."""
        return None

    def __getitem__(self, index: int) -> Tensor:
        """One image; torch-fidelity and others read a dataset this way."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.batch(index, index + 1)[0]


class MemoryImages(Images):
    """Images that are a tensor already, or a sequence of tensors."""

    def __init__(self, images: Tensor | Sequence[Tensor]) -> None:
        shapes = sorted({(tuple(image.shape), str(image.dtype)) for image in images})
        if len(shapes) != 1 or shapes[0][1] != "torch.uint8" or len(shapes[0][0]) != 3 or shapes[0][0][0] != 3:
            raise DataError(f"images in memory should be uint8 tensors 3xHxW of one size, and are {shapes or 'none'}")
        self.images = images
        self.size = (shapes[0][0][1], shapes[0][0][2])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, start: int, stop: int) -> Tensor:
        """See ``Images``."""
        return torch.stack(list(self.images[start:stop]))


class FolderImages(Images):
    """The image files of a folder and its subfolders in the order of their paths: all, or the first ``limit``.

    ``chosen`` gives the files instead, in their own order.
    """

    def __init__(self, folder: Path, limit: int | None = None, chosen: Sequence[Path] | None = None) -> None:
        self.folder = folder
        self.paths = list(chosen if chosen is not None else image_files(folder))[:limit]
        if not self.paths:
            raise DataError(f"{folder}: no images ({', '.join(ENDINGS)}) in this folder or below it")
        if limit is not None and len(self.paths) < limit:
            raise DataError(f"{folder}: holds {len(self.paths):,} images, and {limit:,} were asked for")
        sizes = Counter(file_size(path) for path in self.paths)
        if len(sizes) > 1:
            common = ", ".join(f"{width}x{height} ({n:,})" for (height, width), n in sizes.most_common(4))
            more = f" and {len(sizes) - 4:,} other sizes" if len(sizes) > 4 else ""
            raise DataError(
                f"{folder}: images of several sizes: {common}{more}; they have to be of one size, because how they are "
                "made equal decides the score. Make shards of them (t2i prepare) or resize them first"
            )
        self.size = next(iter(sizes))

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, start: int, stop: int) -> Tensor:
        """See ``Images``."""
        with ThreadPoolExecutor(DECODERS) as pool:
            return torch.stack(list(pool.map(self.read, self.paths[start:stop])))

    def identity(self, start: int, stop: int) -> Mapping[str, Any]:
        """See ``Images``; by the content of the files, so that a changed one is looked at again."""
        contents = [file_digest(path) for path in self.paths[start:stop]]
        return {
            "kind": "files",
            "size": list(self.size),
            "sha256": hashlib.sha256("".join(contents).encode()).hexdigest(),
        }

    @staticmethod
    def read(path: Path) -> Tensor:
        """One file as a tensor."""
        try:
            with Image.open(path) as image:
                return as_tensor(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
            raise DataError(f"{path}: cannot be read as an image: {fault}") from None


class ShardImages(Images):
    """Chosen images of a prepared split, at the size that is scored."""

    def __init__(self, folder: "ShardFolder", chosen: Sequence[int], size: int) -> None:
        self.folder, self.chosen = folder, list(chosen)
        self.size = (size, size)

    def __len__(self) -> int:
        return len(self.chosen)

    def batch(self, start: int, stop: int) -> Tensor:
        """See ``Images``; bytes are read in order by one thread, since HDF5 is not for several."""
        stored = []
        for index in self.chosen[start:stop]:
            shard, row = self.folder.locate(index)
            stored.append(shard.image_bytes(row))
        with ThreadPoolExecutor(DECODERS) as pool:
            return torch.stack(list(pool.map(self.decode, stored)))

    def identity(self, start: int, stop: int) -> Mapping[str, Any]:
        """See ``Images``."""
        rows = np.asarray(self.chosen[start:stop], np.int64)
        return {
            "kind": "shards",
            "manifest": self.folder.manifest_hash,
            "dataset": str(self.folder.manifest["dataset"]),
            "split": self.folder.split,
            "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
            "fit": self.folder.fit,
            "stored_size": self.folder.image_size,
            "size": list(self.size),
            "filter": FILTER,
            "flips": "none",
        }

    def decode(self, content: bytes) -> Tensor:
        """Centre square, then PIL's bicubic filter, which antialiases when it shrinks; a no-op at the stored size."""
        with Image.open(io.BytesIO(content)) as stored:
            image = stored.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        return as_tensor(square if square.size == self.size else square.resize(self.size, Image.Resampling.BICUBIC))


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder and below it, sorted by path; hidden ones are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    try:
        return sha256(path)
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror}") from None


def file_size(path: Path) -> tuple[int, int]:
    """Height and width from a file's header."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise DataError(f"{path}: cannot be read as an image: {fault}") from None


def as_tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 3xHxW."""
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).contiguous()
