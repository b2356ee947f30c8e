"""Shards under any content and any damage: what goes in comes out bit by bit, and what is damaged is said to be."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from t2icli.data.manifest import ShardEntry, TextIdentity
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard, ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.data.source import Box
from t2icli.data.verify import verify
from t2icli.errors import DataError
from t2icli.storage import sha256

CATEGORIES = ("bus", "dog", "träd\n‮")
FILE = "val-00000-of-00001.h5"

numbers = st.floats(width=32, allow_nan=False)
boxes = st.builds(Box, st.sampled_from(CATEGORIES), numbers, numbers, numbers, numbers)
images = st.builds(
    StoredImage,
    id=st.integers(-(2**63), 2**63 - 1),
    data=st.binary(max_size=60),
    height=st.integers(0, 2**16 - 1),
    width=st.integers(0, 2**16 - 1),
    class_index=st.integers(-1, 2**31 - 1),
    boxes=st.lists(boxes, max_size=3).map(tuple),
)


@st.composite
def captions(draw: st.DrawFn, image: int, dim: int, pad_sums: bool) -> StoredCaption:
    """Any text with any vectors, the ones that are no numbers included."""
    length = draw(st.integers(0, 5))
    return StoredCaption(
        image,
        draw(st.text(max_size=20)),
        draw(arrays(np.int32, length)),
        draw(arrays(np.float16, (length, dim), elements=st.floats(width=16))),
        draw(arrays(np.float32, dim, elements=st.floats(width=32))) if pad_sums else None,
    )


@st.composite
def contents(draw: st.DrawFn, fewest: int = 0) -> ShardContent:
    """Any pictures with any captions, none of either included."""
    dim, pad_sums = draw(st.integers(0, 4)), draw(st.booleans())
    pictures = draw(st.lists(images, min_size=fewest, max_size=4))
    texts = [draw(captions(row, dim, pad_sums)) for row in range(len(pictures)) for _ in range(draw(st.integers(0, 3)))]
    return ShardContent(pictures, texts, dim, CATEGORIES)


def folder_with(content: ShardContent, folder: Path) -> Path:
    """A finished folder of one shard."""
    folder.mkdir(exist_ok=True)
    path = folder / FILE
    write_shard(path, content, {"schema": 2, "split": "val", "vocabulary": json.dumps(["a", "bus"] * 20)})
    tokens = sum(len(caption.tokens) for caption in content.captions)
    counts = (len(content.images), len(content.captions), tokens, path.stat().st_size)
    identity = TextIdentity("tests", "1", "a" * 64, "b" * 64, max_tokens=5, dim=content.dim)
    manifest = {
        "schema": 2,
        "dataset": "tests",
        "shards": [asdict(ShardEntry(FILE, "val", *counts, sha256(path)))],
        "text": asdict(identity),
        "recipe": {"images": {"size": 8, "fit": "squash"}, "text": {"pad_sum": False, "embeddings": "stored"}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def read_everything(shard: Shard) -> list[object]:
    """Every value of a shard, by every way in; numbers as bytes, so that not-a-number equals itself."""
    found: list[object] = [shard.attributes]
    for row in range(len(shard)):
        found += [shard.ids[row], shard.classes[row], *shard.sizes[row], shard.image_bytes(row), shard.objects(row)]
        for caption in shard.captions(row):
            pad_sum = shard.pad_sum(caption)
            found += [shard.text(caption), shard.tokens(caption).tobytes(), shard.embedding(caption).tobytes()]
            found.append(None if pad_sum is None else pad_sum.tobytes())
    return found


def assert_unread_or_as_before(path: Path, before: list[object]) -> None:
    """A shard with a changed byte is an error, or the byte held nothing: HDF5 leaves room between its parts."""
    try:
        found = read_everything(Shard(path))
    except DataError as fault:
        assert FILE in str(fault)
    else:
        assert found == before


def same_bits(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal in shape, type and bits, so that not-a-number equals itself."""
    return found.shape == wanted.shape and found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()


rules = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ONE = ShardContent(
    [StoredImage(7 + i, bytes([65 + i]) * 40, 5, 6, i, (Box("bus", 1, 2, 3, 4),)) for i in range(3)],
    [
        StoredCaption(i, f"a bus é{i}", np.arange(4, dtype=np.int32), np.full((4, 3), 0.5 + i, np.float16))
        for i in range(3)
    ],
    3,
    CATEGORIES,
)


@rules
@given(content=contents())
def test_any_content_is_read_back(content: ShardContent, tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path, content, {"note": "é‮"})
    shard = Shard(path)
    assert len(shard) == len(content.images) and shard.caption_count == len(content.captions)
    assert shard.attributes["note"] == "é‮"
    for row, image in enumerate(content.images):
        assert shard.image_bytes(row) == image.data
        assert (shard.ids[row], shard.classes[row]) == (image.id, image.class_index)
        assert tuple(shard.sizes[row]) == (image.height, image.width)
        assert tuple(shard.objects(row)) == image.boxes
        assert all(content.captions[caption].image == row for caption in shard.captions(row))
    assert sum(len(shard.captions(row)) for row in range(len(shard))) == len(content.captions)
    for number, caption in enumerate(content.captions):
        assert shard.text(number) == caption.text
        assert shard.token_count(number) == len(caption.tokens)
        assert same_bits(shard.tokens(number), caption.tokens)
        assert same_bits(shard.embedding(number), caption.words)
        pad_sum = shard.pad_sum(number)
        assert (pad_sum is None) if caption.pad_sum is None else same_bits(pad_sum, caption.pad_sum)


@rules
@given(content=contents())
def test_offsets_are_the_running_sums_of_lengths(content: ShardContent, tmp_path: Path) -> None:
    """Read by h5py alone, as another program would."""
    path = tmp_path / "shard.h5"
    write_shard(path, content, {})
    wanted: dict[str, Sequence[int]] = {
        "image/offset": [len(image.data) for image in content.images],
        "object/offset": [len(image.boxes) for image in content.images],
        "caption/text_offset": [len(caption.text.encode()) for caption in content.captions],
        "caption/token_offset": [len(caption.tokens) for caption in content.captions],
    }
    with h5py.File(path) as file:
        for name, lengths in wanted.items():
            assert file[name][:].tolist() == [0, *np.cumsum(lengths, dtype=int).tolist()], name
        assert file["image/bytes"][:].tobytes() == b"".join(image.data for image in content.images)
        assert file["caption/text_bytes"][:].tobytes().decode() == "".join(c.text for c in content.captions)
        assert file["caption/embedding"].shape == (sum(wanted["caption/token_offset"]), content.dim)
        assert file["object/box"].shape == (sum(wanted["object/offset"]), 4)


@rules
@given(content=contents(fewest=1), data=st.data())
def test_a_flipped_byte_anywhere_is_found(content: ShardContent, data: st.DataObject, tmp_path: Path) -> None:
    folder = folder_with(content, tmp_path / "out")
    assert verify(folder)["verified"]
    before = read_everything(Shard(folder / FILE))
    whole = bytearray((folder / FILE).read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1), label="place")
    whole[place] ^= data.draw(st.integers(1, 255), label="bits")
    (folder / FILE).write_bytes(whole)
    with pytest.raises(DataError, match=FILE):
        verify(folder)
    assert_unread_or_as_before(folder / FILE, before)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_byte_is_never_read(place: float, bits: int, tmp_path: Path) -> None:
    """The same shard many times, so that many places of what HDF5 and the offsets need are hit."""
    path = tmp_path / FILE
    write_shard(path, ONE, {"vocabulary": json.dumps(["a", "bus"] * 20)})
    before = read_everything(Shard(path))
    whole = bytearray(path.read_bytes())
    whole[int(place * len(whole))] ^= bits
    path.write_bytes(whole)
    assert_unread_or_as_before(path, before)


def test_nothing_lies_in_the_part_of_hdf5_that_has_no_checksum(tmp_path: Path) -> None:
    """In a global heap, where text of variable length lies, one flipped byte can make HDF5 search for ever."""
    assert b"GCOL" not in (folder_with(ONE, tmp_path / "out") / FILE).read_bytes()


@pytest.mark.parametrize(
    ("column", "item", "message"),
    [
        ("image/offset", 1, "not a readable shard .*its index is damaged"),
        ("object/offset", 2, "not a readable shard .*its index is damaged"),
        ("caption/text_offset", 3, "not a readable shard .*its index is damaged"),
        ("caption/token_offset", 0, "not a readable shard .*its index is damaged"),
        ("caption/image", 1, "not a readable shard .*its index is damaged"),
        ("caption/embedding_crc32", 1, "not a readable shard .*its index is damaged"),
        ("object/category", 1, "not a readable shard .*its index is damaged"),
        ("image/id", 1, "not a readable shard .*its index is damaged"),
        ("caption/text_bytes", 2, r"text of caption 0 \(of image 0, id 7\): damaged, its crc32 does not fit"),
        ("caption/token", 4, r"tokens of caption 1 \(of image 1, id 8\): damaged, its crc32 does not fit"),
        ("caption/embedding", 30, r"vectors of caption 2 \(of image 2, id 9\): damaged, its crc32 does not fit"),
    ],
)
def test_the_highest_bit_of_what_points_elsewhere(column: str, item: int, message: str, tmp_path: Path) -> None:
    folder = folder_with(ONE, tmp_path / "out")
    with h5py.File(folder / FILE) as file:
        width = file[column].dtype.itemsize
        place = file[column].id.get_offset() + (item + 1) * width - 1
    whole = bytearray((folder / FILE).read_bytes())
    whole[place] ^= 0x80
    (folder / FILE).write_bytes(whole)
    with pytest.raises(DataError, match=f"{FILE}: {message}"):
        read_everything(ShardFolder(folder, "val").shard(0))
    with pytest.raises(DataError, match=FILE):
        verify(folder)


@rules
@given(row=st.integers(0, 2), place=st.integers(0, 39), bits=st.integers(1, 255))
def test_a_flipped_byte_of_a_picture_is_named_with_shard_and_row(
    row: int, place: int, bits: int, tmp_path: Path
) -> None:
    folder = folder_with(ONE, tmp_path / "out")
    path = folder / FILE
    whole = bytearray(path.read_bytes())
    whole[whole.index(ONE.images[row].data) + place] ^= bits
    path.write_bytes(whole)
    shard = ShardFolder(folder, "val").shard(0)
    named = rf"{FILE}: image {row} \(id {7 + row}\): damaged, its crc32 does not fit"
    with pytest.raises(DataError, match=named):
        shard.image_bytes(row)
    for other in {0, 1, 2} - {row}:
        assert shard.image_bytes(other) == ONE.images[other].data
    with pytest.raises(DataError, match=named):
        verify(folder)


@rules
@given(content=contents(), share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_was_cut_is_refused_at_any_length(content: ShardContent, share: float, tmp_path: Path) -> None:
    folder = folder_with(content, tmp_path / "out")
    path = folder / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=f"{FILE}: not a readable shard"):
        len(Shard(path))
    with pytest.raises(DataError, match=rf"{FILE}: has {int(share * len(whole))} bytes instead of {len(whole)}"):
        ShardFolder(folder, "val")
    with pytest.raises(DataError, match=rf"{FILE}: {int(share * len(whole))} bytes instead of {len(whole)}"):
        verify(folder)
