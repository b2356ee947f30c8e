import pytest
import torch
from PIL import Image
from small_shards import pictures, save, write_shards

from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError
from t2icli.evaluation.images import FolderImages, MemoryImages, ShardImages


def test_folder_in_the_order_of_paths(tmp_path):
    every = pictures(6)
    save(tmp_path / "b", every[3:])
    save(tmp_path / "a", every[:3])
    (tmp_path / "notes.txt").write_text("not an image")
    save(tmp_path / ".hidden", every)
    images = FolderImages(tmp_path)
    assert (len(images), images.size) == (6, (32, 32))
    assert torch.equal(images.batch(0, 6), every)
    assert torch.equal(images[4], every[4])
    with pytest.raises(IndexError):
        images[6]


def test_folder_limit(tmp_path):
    save(tmp_path, pictures(4))
    assert len(FolderImages(tmp_path, 3)) == 3
    with pytest.raises(DataError, match="holds 4 images, and 5 were asked for"):
        FolderImages(tmp_path, 5)


def test_grey_and_palette_images_become_rgb(tmp_path):
    Image.new("L", (8, 6), 77).save(tmp_path / "grey.png")
    Image.new("P", (8, 6)).save(tmp_path / "palette.png")
    images = FolderImages(tmp_path)
    assert images.size == (6, 8)
    assert torch.equal(images[0], torch.full((3, 6, 8), 77, dtype=torch.uint8))


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"no images \(.jpg, .jpeg, .*\) in this folder or below it$"):
        FolderImages(tmp_path)


def test_corrupt_files_are_named(tmp_path):
    save(tmp_path, pictures(3))
    (tmp_path / "001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"001.png: cannot be read as an image"):
        FolderImages(tmp_path)


def test_truncated_file_is_named_when_it_is_read(tmp_path):
    save(tmp_path, pictures(3, size=64))
    whole = (tmp_path / "002.png").read_bytes()
    (tmp_path / "002.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"002.png: cannot be read as an image"):
        FolderImages(tmp_path).batch(0, 3)


def test_mixed_sizes_are_named(tmp_path):
    save(tmp_path / "small", pictures(2))
    save(tmp_path / "large", pictures(3, size=48))
    with pytest.raises(DataError, match=r"images of several sizes: 48x48 \(3\), 32x32 \(2\); .*Make shards of them"):
        FolderImages(tmp_path)


def test_images_in_memory():
    every = pictures(5)
    assert torch.equal(MemoryImages(list(every)).batch(1, 3), every[1:3])
    assert torch.equal(MemoryImages(every)[4], every[4])
    for wrong in (every.float(), [every[0], every[1, :, :4]], []):
        with pytest.raises(DataError, match="should be uint8 tensors 3xHxW of one size"):
            MemoryImages(wrong)


def test_shards(tmp_path):
    folder = ShardFolder(write_shards(tmp_path / "shards"), "val")
    images = ShardImages(folder, [6, 0, 4], size=32)
    assert torch.equal(images.batch(0, 3), torch.stack([pictures(4, seed=1)[1], *pictures(5)[[0, 4]]]))
    assert ShardImages(folder, range(9), size=16).batch(0, 9).shape == (9, 3, 16, 16)
