"""Shards, schema 2: images, captions, tokens and word vectors packed into one HDF5 file; only this file imports h5py.

    /image/bytes u1[B]   /image/offset i8[N+1]   /image/crc32 u4[N]   /image/id i8[N]
    /image/size u2[N,2] (h, w of the original)   /image/class i4[N] (-1: none)
    /caption/image u4[C]   /caption/text_bytes u1   /caption/text_offset i8[C+1]   /caption/text_crc32 u4[C]
    /caption/token i4[T]   /caption/token_offset i8[C+1]   /caption/token_crc32 u4[C]
    /caption/embedding f2[T,D]   /caption/embedding_crc32 u4[C]
    /caption/pad_sum f4[C,D]   /caption/pad_sum_crc32 u4[C]   (both optional)
    /object/offset i8[N+1]   /object/category i4[O]   /object/box f4[O,4] (x, y, w, h)

Every value has a checksum: pictures and captions have theirs item by item in a column beside them, and the attribute
``index_crc32`` covers the other columns and the attributes.

Every dataset is contiguous and without a filter: JPEGs and float16 vectors do not compress, and a contiguous
dataset is a range of the file, so that one ``pread`` fetches a picture (a tenth of h5py's time). HDF5 lays
the file out; the ranges are filled and read by plain system calls.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from t2icli.data.manifest import canonical
from t2icli.data.source import Box
from t2icli.documents import list_of_words
from t2icli.errors import DataError
from t2icli.storage import write_atomically

# Columns that are read item by item, and where each has the checksums of its items.
CHECKSUMS = {
    "image/bytes": "image/crc32",
    "caption/text_bytes": "caption/text_crc32",
    "caption/token": "caption/token_crc32",
    "caption/embedding": "caption/embedding_crc32",
    "caption/pad_sum": "caption/pad_sum_crc32",
}
ITEMS = {  # what messages call them
    "caption/text_bytes": "text",
    "caption/token": "tokens",
    "caption/embedding": "vectors",
    "caption/pad_sum": "sum at pads",
}

# ---------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class StoredImage:
    """One encoded picture."""

    id: int
    data: bytes
    height: int  # of the original
    width: int
    class_index: int = -1
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class StoredCaption:
    """One caption of a picture in the same shard; t tokens, D numbers per word vector."""

    image: int  # row of its picture
    text: str
    tokens: NDArray[np.int32]  # (t,)
    words: NDArray[np.float16]  # (t, D)
    pad_sum: NDArray[np.float32] | None = None  # (D,)


@dataclass(frozen=True)
class ShardContent:
    """What one shard holds; captions are in the order of their pictures."""

    images: Sequence[StoredImage]
    captions: Sequence[StoredCaption]
    dim: int
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One dataset of the file: its shape, and the pieces that fill it one after another, for large ones the items."""

    shape: tuple[int, ...]
    kind: str  # numpy's notation; little-endian on every machine
    pieces: Sequence[bytes | NDArray[Any]]

    def raw(self) -> Iterator[bytes | memoryview]:
        """The pieces as they lie in the file."""
        for piece in self.pieces:
            yield piece if isinstance(piece, bytes) else np.ascontiguousarray(piece, self.kind).data


def write_shard(path: Path, content: ShardContent, attributes: dict[str, str | int]) -> None:
    """Write a shard so that it is either absent or whole, and the same bytes for the same content."""
    columns = pack(content)
    attributes = {**attributes, "categories": json.dumps(content.categories)}

    def write(temporary: Path) -> None:
        offsets = lay_out(temporary, columns, {**attributes, "index_crc32": index_checksum(columns, attributes)})
        with temporary.open("r+b") as file:
            for name, column in columns.items():
                if offsets[name] is not None:
                    file.seek(offsets[name])
                    for piece in column.raw():
                        file.write(piece)

    write_atomically(path, write)


def pack(content: ShardContent) -> dict[str, Column]:
    """Lists of pictures and captions as flat columns with offsets."""
    images, captions = content.images, content.captions
    texts = [caption.text.encode() for caption in captions]
    rows = {name: index for index, name in enumerate(content.categories)}
    boxes = [box for image in images for box in image.boxes]
    tokens = sum(len(caption.tokens) for caption in captions)
    data = [image.data for image in images]
    columns = {
        "image/bytes": Column((sum(map(len, data)),), "u1", data),
        "image/offset": packed_offsets(map(len, data)),
        "image/id": whole([image.id for image in images], "<i8"),
        "image/size": whole([(image.height, image.width) for image in images], "<u2", 2),
        "image/class": whole([image.class_index for image in images], "<i4"),
        "caption/image": whole([caption.image for caption in captions], "<u4"),
        "caption/text_bytes": Column((sum(map(len, texts)),), "u1", texts),
        "caption/text_offset": packed_offsets(map(len, texts)),
        "caption/token": Column((tokens,), "<i4", [caption.tokens for caption in captions]),
        "caption/token_offset": packed_offsets(len(caption.tokens) for caption in captions),
        "caption/embedding": Column((tokens, content.dim), "<f2", [caption.words for caption in captions]),
        "object/offset": packed_offsets(len(image.boxes) for image in images),
        "object/category": whole([rows[box.category] for box in boxes], "<i4"),
        "object/box": whole([(box.x, box.y, box.w, box.h) for box in boxes], "<f4", 4),
    }
    pad_sums = [caption.pad_sum for caption in captions if caption.pad_sum is not None]
    if pad_sums:
        columns["caption/pad_sum"] = Column((len(pad_sums), content.dim), "<f4", pad_sums)
    sums = {
        CHECKSUMS[name]: whole([zlib.crc32(item) for item in column.raw()], "<u4")
        for name, column in columns.items()
        if name in CHECKSUMS
    }
    return columns | sums


def whole(values: Sequence[Any], kind: str, width: int | None = None) -> Column:
    """A column given as one array, of ``width`` numbers a row or one."""
    array = np.array(values, kind).reshape((-1, width) if width else (-1,))
    return Column(array.shape, kind, [array])


def packed_offsets(lengths: Iterable[int]) -> Column:
    """Where each packed item begins, and the end of the last."""
    return whole(list(accumulate(lengths, initial=0)), "<i8")


def index_checksum(columns: dict[str, Column], attributes: dict[str, Any]) -> int:
    """Of the attributes, and of all columns but those whose items have checksums of their own."""
    total = zlib.crc32(canonical(attributes).encode())
    for name in sorted(columns.keys() - CHECKSUMS.keys()):
        for piece in columns[name].raw():
            total = zlib.crc32(piece, total)
    return total


@contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """HDF5 tells of a full disk in the text of errors of several types; make an ordinary OSError of it."""
    try:
        yield
    except (OSError, RuntimeError) as fault:
        told = re.search(r"errno = (\d+)", str(fault))
        if told is None:
            raise
        number = int(told[1])
        raise OSError(number, os.strerror(number), str(path)) from None


def lay_out(path: Path, columns: dict[str, Column], attributes: dict[str, str | int]) -> dict[str, Any]:
    """Create the file with its datasets allocated but not filled; gives where each begins (None: it is empty)."""
    allocated = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    allocated.set_layout(h5py.h5d.CONTIGUOUS)
    allocated.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    allocated.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    allocated.set_obj_track_times(False)  # a time stamp would make equal shards differ
    # v110: the first file format in which an attribute (the vocabulary) may exceed 64 kB
    with system_errors(path), h5py.File(path, "w", libver=("v110", "v110"), locking=False) as file:
        for name, column in columns.items():
            file.create_dataset(name, column.shape, column.kind, dcpl=allocated, track_times=False)
        for key, value in attributes.items():
            # text of fixed length: of variable length it would lie in HDF5's global heap, which has no checksum,
            # and in which one flipped byte makes the library search for ever
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        return {name: file[name].id.get_offset() for name in columns}


# ---------------------------------------------------------------------------- reading


class Shard:
    """One shard for reading: its index in memory, everything else fetched and checked when asked for.

    The file is opened at first use and again after pickling, so that every worker process has its own handle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_descriptor": None}

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the file handle back; the next read opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_RDONLY)
            except OSError as fault:
                raise DataError(f"{self.path}: shard cannot be opened: {fault.strerror}") from None
        return self._descriptor

    @cached_property
    def _index(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, tuple[int, int, Any]]]:
        """Attributes, the small columns, and of each large one its offset, numbers a row and type."""
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                if "index_crc32" not in file.attrs:
                    raise ValueError("it lacks index_crc32, so it is another kind of file")
                small, large = {}, {}
                for name in (f"{group}/{column}" for group in file for column in file[group]):
                    data = file[name]
                    if name in CHECKSUMS:
                        large[name] = (data.id.get_offset() or 0, int(np.prod(data.shape[1:])), data.dtype)
                    else:
                        small[name] = data[...]
                attributes = {key: v.decode() if isinstance(v, bytes) else v.item() for key, v in file.attrs.items()}
            stored = attributes.pop("index_crc32")
            kept = {name: Column(column.shape, column.dtype.str, [column]) for name, column in small.items()}
            if index_checksum(kept, attributes) != stored:
                raise ValueError("its index is damaged: index_crc32 does not fit")
            return attributes, small, large
        except (OSError, KeyError, RuntimeError, ValueError) as fault:
            reason = "no such file" if isinstance(fault, FileNotFoundError) else " ".join(str(fault).split())
            raise DataError(
                f"{self.path}: not a readable shard ({reason}); delete it and run the same 't2i prepare' again"
            ) from None

    @property
    def attributes(self) -> dict[str, Any]:
        """What ``prepare`` says about the shard."""
        return self._index[0]

    def _fetch(self, name: str, item: int, start: int, stop: int) -> bytes:
        """Rows start to stop of a column, which are one item, checked against its crc32."""
        offset, width, kind = self._index[2][name]
        size = (stop - start) * width * kind.itemsize
        try:
            data = os.pread(self._open(), size, offset + start * width * kind.itemsize)
        except OSError as fault:
            raise DataError(f"{self.path}: {self._called(name, item)}: cannot be read: {fault.strerror}") from None
        if len(data) != size:
            raise DataError(
                f"{self.path}: {self._called(name, item)}: the file is truncated (wanted {size} bytes, got {len(data)})"
            )
        if zlib.crc32(data) != self._index[1][CHECKSUMS[name]][item]:
            raise DataError(
                f"{self.path}: {self._called(name, item)}: damaged, its crc32 does not fit; "
                "delete the shard and run the same 't2i prepare' again"
            )
        return data

    def _called(self, name: str, item: int) -> str:
        """What messages call an item of a column."""
        if name == "image/bytes":
            return f"image {item} (id {self.ids[item]})"
        image = self._index[1]["caption/image"][item]
        return f"{ITEMS[name]} of caption {item} (of image {image}, id {self.ids[image]})"

    def _fetch_array(self, name: str, caption: int, start: int, stop: int) -> NDArray[Any]:
        """The same as numbers."""
        return np.frombuffer(self._fetch(name, caption, start, stop), self._index[2][name][2])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The data set's own number of each picture."""
        return self._index[1]["image/id"]

    @property
    def classes(self) -> NDArray[np.int32]:
        """The class of each picture, -1 where the data set has none."""
        return self._index[1]["image/class"]

    @property
    def sizes(self) -> NDArray[np.uint16]:
        """Height and width of each original picture."""
        return self._index[1]["image/size"]

    def image_bytes(self, row: int) -> bytes:
        """The encoded picture."""
        offset = self._index[1]["image/offset"]
        return self._fetch("image/bytes", row, int(offset[row]), int(offset[row + 1]))

    @cached_property
    def categories(self) -> list[str]:
        """Names that the boxes use."""
        return list_of_words(self.attributes.get("categories"), f"{self.path}: categories")

    def objects(self, row: int) -> list[Box]:
        """The boxes of a picture, in pixels of the original."""
        small = self._index[1]
        start, stop = small["object/offset"][row : row + 2]
        pairs = zip(small["object/category"][start:stop], small["object/box"][start:stop], strict=True)
        return [Box(self.categories[category], *map(float, box)) for category, box in pairs]

    @cached_property
    def _first_caption(self) -> NDArray[np.int64]:
        return np.searchsorted(self._index[1]["caption/image"], np.arange(len(self) + 1))

    def captions(self, row: int) -> range:
        """The captions of a picture, as numbers that ``text``, ``tokens`` and the others take."""
        first = self._first_caption
        return range(int(first[row]), int(first[row + 1]))

    @property
    def token_total(self) -> int:
        """Tokens in this shard."""
        return int(self._index[1]["caption/token_offset"][-1])

    @property
    def word_dim(self) -> int:
        """Numbers in a stored word vector."""
        return int(self._index[2]["caption/embedding"][1])

    @property
    def caption_count(self) -> int:
        """Captions in this shard."""
        return len(self._index[1]["caption/image"])

    def text(self, caption: int) -> str:
        """A caption in words."""
        start, stop = self._index[1]["caption/text_offset"][caption : caption + 2]
        return self._fetch("caption/text_bytes", caption, int(start), int(stop)).decode()

    def token_count(self, caption: int) -> int:
        """Tokens of a caption, [CLS] and [SEP] included."""
        start, stop = self._index[1]["caption/token_offset"][caption : caption + 2]
        return int(stop - start)

    def tokens(self, caption: int) -> NDArray[np.int32]:
        """Token ids (t,)."""
        start, stop = self._index[1]["caption/token_offset"][caption : caption + 2]
        return self._fetch_array("caption/token", caption, int(start), int(stop))

    def embedding(self, caption: int) -> NDArray[np.float16]:
        """Word vectors (t, D)."""
        start, stop = self._index[1]["caption/token_offset"][caption : caption + 2]
        flat = self._fetch_array("caption/embedding", caption, int(start), int(stop))
        return flat.reshape(int(stop - start), self._index[2]["caption/embedding"][1])

    def pad_sum(self, caption: int) -> NDArray[np.float32] | None:
        """Sum of the vectors at pad positions (D,), where prepare was asked to store it."""
        if "caption/pad_sum" not in self._index[2]:
            return None
        return self._fetch_array("caption/pad_sum", caption, caption, caption + 1)

    def damage(self) -> list[str]:
        """Every picture, text or vector that does not fit its crc32, in words."""
        found = []
        readings: list[tuple[Callable[[int], object], int]] = [(self.image_bytes, len(self))]
        readings += [(read, self.caption_count) for read in (self.text, self.tokens, self.embedding, self.pad_sum)]
        for read, count in readings:
            for item in range(count):
                try:
                    read(item)
                except DataError as fault:
                    found.append(str(fault))
        return found
