"""What networks saw, kept: the same numbers again, and nothing that was changed."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_shards import pictures, save, write_shards

from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError
from t2icli.evaluation import caching
from t2icli.evaluation.caching import HEADER, Stored, path_of, read_chunk, read_part, write_chunk, write_part
from t2icli.evaluation.images import FolderImages, MemoryImages, ShardImages

KEY = {"pixels": {"kind": "files", "sha256": "a"}, "rows": [0, 2], "network": {"network": "n"}, "precision": "float32"}
LAYERS = {"2048": torch.arange(6.0).view(2, 3)}
SEEN = Stored(bytes(range(64)), LAYERS)


def rewritten(path, header=None, **tensors):
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        old = json.loads(file.metadata()[HEADER])
    save_file(kept | tensors, path, metadata={HEADER: json.dumps(old | (header or {}))})


def test_what_was_kept_comes_back(tmp_path):
    assert read_chunk(tmp_path, KEY) is None
    write_chunk(tmp_path, KEY, SEEN)
    seen = read_chunk(tmp_path, KEY)
    assert (seen.digests, seen.rows) == (SEEN.digests, 2)
    torch.testing.assert_close(seen.layers, LAYERS, rtol=0, atol=0)
    assert not list(tmp_path.rglob("*.tmp"))


def test_captions_have_no_pixels(tmp_path):
    write_chunk(tmp_path, KEY, Stored(b"", LAYERS))
    assert read_chunk(tmp_path, KEY).digests == b""


def test_a_part_waits_until_the_rest_is_seen(tmp_path):
    write_part(tmp_path, KEY, SEEN.first(1))
    assert read_chunk(tmp_path, KEY) is None
    part = read_part(tmp_path, KEY)
    assert (part.rows, part.digests) == (1, SEEN.digests[:32])
    assert part.layers["2048"].tolist() == [[0, 1, 2]]
    write_chunk(tmp_path, KEY, SEEN)
    assert read_part(tmp_path, KEY) is None
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": {"kind": "files", "sha256": "b"}},
        {"rows": [0, 3]},
        {"network": {"network": "n", "weights": {"sha256": "1"}}},
        {"precision": "bfloat16"},
        {"captions": {"own": "x"}},
    ],
)
def test_another_key_finds_nothing(tmp_path, change):
    write_chunk(tmp_path, KEY, SEEN)
    assert read_chunk(tmp_path, KEY | change) is None


def test_another_format_finds_nothing(tmp_path, monkeypatch):
    write_chunk(tmp_path, KEY, SEEN)
    monkeypatch.setattr(caching, "FORMAT", caching.FORMAT + 1)
    assert read_chunk(tmp_path, KEY) is None


def test_changed_numbers_are_refused(tmp_path):
    write_chunk(tmp_path, KEY, SEEN)
    rewritten(path_of(tmp_path, KEY), **{"layer/2048": LAYERS["2048"] + 1e-6})
    with pytest.raises(DataError, match="has been changed since it was written; delete it .* --no-cache"):
        read_chunk(tmp_path, KEY)


def test_a_changed_key_is_refused(tmp_path):
    write_chunk(tmp_path, KEY, SEEN)
    rewritten(path_of(tmp_path, KEY), header={"key": caching.text_of(KEY | {"rows": [2, 4]})})
    with pytest.raises(DataError, match="holds what was seen of other images, or by another network"):
        read_chunk(tmp_path, KEY)


def test_a_file_of_another_key_is_refused(tmp_path):
    """As if somebody had copied real statistics of another data set into place."""
    other = KEY | {"rows": [2, 4]}
    write_chunk(tmp_path, other, SEEN)
    path_of(tmp_path, KEY).parent.mkdir(exist_ok=True)
    path_of(tmp_path, other).rename(path_of(tmp_path, KEY))
    with pytest.raises(DataError, match="holds what was seen of other images"):
        read_chunk(tmp_path, KEY)


@pytest.mark.parametrize("content", [b"", b"{}", b"not a file of tensors at all"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = path_of(tmp_path, KEY)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_chunk(tmp_path, KEY)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "its header: damaged: the whole"),
        ("[1]", "its header: damaged: the whole"),
        ('{"key": 3, "content": "a"}', "key: Input should be a valid string"),
        ('{"key": "a"}', "lacks content"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_header_of_another_shape_is_refused(tmp_path, said, why):
    path = path_of(tmp_path, KEY)
    path.parent.mkdir()
    save_file(LAYERS, path, metadata=None if said is None else {HEADER: said})
    with pytest.raises(DataError, match=rf"cannot be read \({'.*' + why}.* --no-cache"):
        read_chunk(tmp_path, KEY)


def test_identity_of_files_is_their_content(tmp_path):
    folder = save(tmp_path / "a", pictures(4))
    first = FolderImages(folder).identity(0, 4)
    assert FolderImages(save(tmp_path / "b", pictures(4))).identity(0, 4) == first
    save(folder, pictures(1, seed=9))  # the first file is another now
    assert FolderImages(folder).identity(0, 4) != first
    assert FolderImages(folder).identity(1, 4) == FolderImages(tmp_path / "b").identity(1, 4)


def test_identity_of_shards_says_everything_that_decides_pixels(tmp_path):
    folder = ShardFolder(write_shards(tmp_path / "shards"), "val")
    found = ShardImages(folder, range(9), 32).identity(0, 4)
    for key in ("dataset", "split", "manifest", "rows", "fit", "stored_size", "size", "filter", "flips"):
        assert found[key], key
    assert ShardImages(folder, range(9), 16).identity(0, 4) != found
    assert ShardImages(folder, range(1, 9), 32).identity(0, 4) != found
    assert ShardImages(folder, range(8), 32).identity(0, 4) == found


def test_pictures_in_memory_have_no_name():
    assert MemoryImages(pictures(2)).identity(0, 2) is None
