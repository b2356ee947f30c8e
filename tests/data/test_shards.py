"""Shards: what goes in comes out, and damage is named."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard, ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.data.source import Box
from t2icli.data.verify import verify
from t2icli.errors import DataError

DIM = 3
texts = st.text(st.characters(codec="utf-8"), max_size=30)


@st.composite
def contents(draw: st.DrawFn) -> ShardContent:
    """Any pictures, with any captions and boxes."""
    images, captions = [], []
    for row in range(draw(st.integers(1, 5))):
        boxes = tuple(
            Box("bus" if i % 2 else "dog", *map(float, draw(st.tuples(*[st.integers(0, 99)] * 4))))
            for i in range(draw(st.integers(0, 2)))
        )
        number, size = draw(st.integers(-(2**62), 2**62)), draw(st.tuples(st.integers(1, 65535), st.integers(1, 65535)))
        images.append(StoredImage(number, draw(st.binary(min_size=1, max_size=50)), *size, row - 1, boxes))
        for _ in range(draw(st.integers(1, 3))):
            length = draw(st.integers(2, 6))
            random = np.random.default_rng(length + row)
            words = random.standard_normal((length, DIM)).astype(np.float16)
            pad_sum = random.standard_normal(DIM).astype(np.float32)
            captions.append(StoredCaption(row, draw(texts), random.integers(0, 99, length, np.int32), words, pad_sum))
    return ShardContent(images, captions, DIM, ("bus", "dog"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=contents())
def test_what_goes_in_comes_out(content: ShardContent, tmp_path: Path) -> None:
    path = tmp_path / "shard.h5"
    write_shard(path, content, {"schema": 2, "note": "x"})
    shard = Shard(path)
    assert len(shard) == len(content.images)
    assert shard.attributes["note"] == "x"
    numbers = []
    for row, image in enumerate(content.images):
        assert shard.image_bytes(row) == image.data
        assert shard.ids[row] == image.id
        assert shard.classes[row] == image.class_index
        assert tuple(shard.sizes[row]) == (image.height, image.width)
        assert tuple(shard.objects(row)) == image.boxes
        numbers += [(row, number) for number in shard.captions(row)]
    assert [row for row, _ in numbers] == [caption.image for caption in content.captions]
    for (_, number), caption in zip(numbers, content.captions, strict=True):
        assert shard.text(number) == caption.text
        assert np.array_equal(shard.tokens(number), caption.tokens)
        assert np.array_equal(shard.embedding(number), caption.words)
        assert np.array_equal(shard.pad_sum(number), caption.pad_sum)
    again = tmp_path / "again.h5"
    write_shard(again, content, {"schema": 2, "note": "x"})
    assert again.read_bytes() == path.read_bytes()


def folder_of(prepared, pictures: Path, tmp_path: Path) -> Path:
    prepared(pictures, tmp_path / "out")
    return tmp_path / "out"


def test_a_flipped_byte_is_named_with_shard_and_row(prepared, pictures: Path, tmp_path: Path) -> None:
    out = folder_of(prepared, pictures, tmp_path)
    assert verify(out)["verified"]
    shard = Shard(out / "train-00000-of-00002.h5")
    data = shard.image_bytes(2)
    content = bytearray(shard.path.read_bytes())
    place = content.index(data) + len(data) // 2
    content[place] ^= 1
    shard.path.write_bytes(content)
    damaged = Shard(shard.path)
    assert damaged.image_bytes(1)
    with pytest.raises(DataError, match=r"train-00000-of-00002.h5: image 2 \(id \d+\): damaged, its crc32"):
        damaged.image_bytes(2)
    with pytest.raises(DataError, match=r"train-00000-of-00002.h5: image 2"):
        verify(out)
    content[place] ^= 1
    last = shard.caption_count - 1
    for data, name in ((shard.text(last).encode(), "text"), (shard.embedding(last).tobytes(), "vectors")):
        struck = bytearray(content)
        struck[struck.rindex(data)] ^= 1
        shard.path.write_bytes(struck)
        named = rf"train-00000-of-00002.h5: {name} of caption {last} \(of image \d+, id \d+\): damaged, its crc32"
        with pytest.raises(DataError, match=named):
            verify(out)


def test_truncated_missing_and_foreign_files(prepared, pictures: Path, tmp_path: Path) -> None:
    out = folder_of(prepared, pictures, tmp_path)
    path = out / "train-00000-of-00002.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=f"has {len(whole) - 100} bytes instead of {len(whole)}"):
        ShardFolder(out, "train")
    with pytest.raises(DataError, match="not a readable shard"):
        path.write_bytes(b"nothing")
        len(Shard(path))
    path.unlink()
    with pytest.raises(DataError, match="is missing; run the same 't2i prepare' again"):
        ShardFolder(out, "train")
    with pytest.raises(DataError, match="missing"):
        verify(out)
    with pytest.raises(DataError, match="there is no split 'test'; available: train, val"):
        ShardFolder(out, "test")
    with pytest.raises(DataError, match="no such folder; make it with 't2i prepare"):
        ShardFolder(tmp_path / "absent", "train")
    (out / "manifest.json").unlink()
    with pytest.raises(DataError, match="preparation was not finished"):
        ShardFolder(out, "train")
    (out / "manifest.json").write_text('{"schema": 9}')
    with pytest.raises(DataError, match="schema 9, and this t2i reads schema 2"):
        ShardFolder(out, "train")


@pytest.mark.parametrize("key", ["images", "captions"])
def test_a_manifest_that_counts_wrongly(key: str, prepared, pictures: Path, tmp_path: Path) -> None:
    out = folder_of(prepared, pictures, tmp_path)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["shards"][0][key] += 1
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"whole, but manifest\.json counts other numbers of images or captions in it"):
        verify(out)
    if key == "images":
        with pytest.raises(DataError, match=r"counts 5 images in train-00000-of-00002\.h5, which holds 4; delete"):
            ShardFolder(out, "train").locate(0)
    (out / "manifest.json").unlink()
    prepared(pictures, out)
    assert verify(out)["verified"]


CROWDED = """
import errno, sys
from pathlib import Path
from t2icli.data.shards import ShardContent, StoredImage, write_shard

folder, content = Path(sys.argv[1]), ShardContent([StoredImage(1, b"x" * 8_000, 8, 8)], [], 0)
failed = []
for taken in range(0, 61_440, 4_096):
    (folder / "taken").write_bytes(b"x" * taken)
    try:
        write_shard(folder / "shard.h5", content, {"vocabulary": "word " * 1000})
    except OSError as fault:
        assert fault.errno == errno.ENOSPC, fault
        assert [path.name for path in folder.iterdir()] == ["taken"]
        failed.append(taken)
    (folder / "shard.h5").unlink(missing_ok=True)
assert 0 < len(failed) < 15, failed
"""


def test_a_full_disk_is_an_ordinary_error_wherever_hdf5_meets_it(tmp_path: Path) -> None:
    """On a file system of 64 kB, filled block by block."""
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}"
    try:
        subprocess.run([*within, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets no user mount a file system of their own")
    subprocess.run([*within, f'{mount} && exec "$0" -c "$1" {tmp_path}', sys.executable, CROWDED], check=True)


def test_hdf5_says_in_a_text_that_the_disk_is_full(tmp_path: Path, monkeypatch) -> None:
    close = h5py.File.close

    def full(file: h5py.File) -> None:
        close(file)
        raise RuntimeError("Disable slist on flush dest failure failed (errno = 28, error message = 'No space left')")

    monkeypatch.setattr(h5py.File, "close", full)
    with pytest.raises(OSError, match="No space left on device") as told:
        write_shard(tmp_path / "shard.h5", ShardContent([StoredImage(1, b"x", 8, 8)], [], 0), {})
    assert told.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
