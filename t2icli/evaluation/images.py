"""Images to be scored: datasets whose items are uint8 tensors 3xHxW, all of one size."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from t2icli.data.decoding import VERSION, Header, ImageError, decode_exactly, header, quietly, read_bytes
from t2icli.data.picture_files import TAKEN, Found, find_pictures, in_words
from t2icli.data.tars import ENDINGS as TARS
from t2icli.errors import DataError
from t2icli.storage import sha256

if TYPE_CHECKING:
    from t2icli.data.shard_folder import ShardFolder  # scoring a folder of images should not need HDF5

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

    ``chosen`` gives the files instead, in their own order. All headers are read at once, so that what cannot be read is
    refused before networks look at anything.
    """

    def __init__(self, folder: Path, limit: int | None = None, chosen: Sequence[Path] | None = None) -> None:
        self.folder = folder
        found = look_into(folder)
        self.passed_over = passed_over(found)
        self.linked_out = frozenset(folder / name for name in found.linked_out)
        self.paths = list(chosen if chosen is not None else paths_of(folder, found))[:limit]
        if not self.paths:
            aside = f"; passed over: {in_words(self.passed_over)}" if self.passed_over else ""
            raise DataError(f"{folder}: no images ({', '.join(TAKEN)}) in this folder or below it{aside}")
        if limit is not None and len(self.paths) < limit:
            raise DataError(f"{folder}: holds {len(self.paths):,} images, and {limit:,} were asked for")
        self.headers = read_headers(self.paths)
        sizes = Counter((one.height, one.width) for one in self.headers)
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
        paths = self.paths[start:stop]
        with quietly(), ThreadPoolExecutor(DECODERS) as pool:
            images = list(pool.map(self.read, paths))
        for path, image in zip(paths, images, strict=True):
            if tuple(image.shape[1:]) != self.size:
                raise DataError(f"{path}: has changed its size since it was listed; evaluate again")
        return torch.stack(images)

    def identity(self, start: int, stop: int) -> Mapping[str, Any]:
        """See ``Images``; by the content of the files, so that a changed one is looked at again."""
        contents = [file_digest(path) for path in self.paths[start:stop]]
        return {
            "kind": "files",
            "decoder": VERSION,
            "size": list(self.size),
            "sha256": hashlib.sha256("".join(contents).encode()).hexdigest(),
        }

    @staticmethod
    def read(path: Path) -> Tensor:
        """One file as a tensor; one of which a part is missing is refused, for its score would be that of a guess."""
        try:
            return as_tensor(decode_exactly(read_bytes(path))[0])
        except ImageError as fault:
            raise unreadable(path, fault) from None


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
        with quietly(), ThreadPoolExecutor(DECODERS) as pool:
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
        try:
            image, _ = decode_exactly(content)
        except ImageError as fault:
            raise DataError(f"{self.folder.folder}: a stored picture cannot be read: {fault}") from None
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        return as_tensor(square if square.size == self.size else square.resize(self.size, Image.Resampling.BICUBIC))


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder and below it, sorted by path; hidden ones are left out."""
    return paths_of(folder, look_into(folder))


def look_into(folder: Path) -> Found:
    """What lies in a folder; ``DataError`` for what is called a picture and cannot be read, which a score needs."""
    found = find_pictures(folder, others=TARS)
    if found.refused:
        number = f"{len(found.refused):,} files are" if len(found.refused) > 1 else "a file is"
        raise DataError(
            f"{folder}: {number} called like a picture and cannot be read: {in_words(found.refused)}; repair what is "
            "wrong, or take it out of the folder"
        )
    return found


def paths_of(folder: Path, found: Found) -> list[Path]:
    """All pictures; a link to a file elsewhere is one, because nothing of it goes anywhere but into a score."""
    return sorted(folder / name for name in (*found.pictures, *found.linked_out))


def passed_over(found: Found) -> dict[str, str]:
    """What is not scored although it may look so, with the reasons."""
    return found.passed_over | dict.fromkeys(found.others, "is a tar, of which t2i prepare makes shards")


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """The headers of all files; the first that is no picture is named, with the number of all such."""
    headers, faults = [], []
    with quietly():
        for path in paths:
            try:
                headers.append(header(path))
            except ImageError as fault:
                faults.append(unreadable(path, fault))
    if len(faults) > 1:
        raise DataError(f"{faults[0]}; and {len(faults) - 1:,} more of {len(paths):,} cannot be read")
    if faults:
        raise faults[0]
    return headers


def unreadable(path: Path, fault: ImageError) -> DataError:
    """What is said of a file that is no picture."""
    return DataError(f"{path}: cannot be read as an image: {fault}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    try:
        return sha256(path)
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror}") from None


def as_tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 3xHxW."""
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).contiguous()
