"""Pictures as people have them on both sides of an evaluation: read as prepare reads them, and said."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from t2icli.data.decoding import VERSION
from t2icli.data.prepare import Options, prepare
from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, UserError
from t2icli.evaluation.images import FolderImages, ShardImages, image_files
from t2icli.recipe_files import load_data_recipe
from t2icli.scoring.overlap import overlap
from t2icli.scoring.remarks import decoding, how_read
from t2icli.scoring.request import Request, kind_of
from t2icli.scoring.score import score

SIDE = 24


def noise(seed: int, channels: int = 3, height: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, SIDE, channels), np.uint8)


def every_kind(root: Path) -> Path:
    """A picture of each kind that naive readers get wrong, with a caption beside it."""
    root.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(0)).save(root / "a.PNG")
    Image.fromarray(noise(1, 4), "RGBA").save(root / "alpha.png")
    Image.fromarray(noise(2, 4), "RGBA").convert("LA").save(root / "grey_alpha.png")
    Image.fromarray(noise(3)).quantize(16).save(root / "palette.gif", transparency=3)
    Image.fromarray(np.random.default_rng(4).integers(0, 65_536, (SIDE, SIDE)).astype(np.uint16)).save(root / "16.png")
    Image.fromarray(noise(5)).save(root / "turned.jfif", "JPEG", exif=exif)
    Image.fromarray(noise(6)).convert("CMYK").save(root / "ink.jpe", "JPEG")
    Image.fromarray(noise(7)).save(root / "anim.webp", save_all=True, append_images=[Image.fromarray(noise(8))])
    Image.fromarray(noise(9)).save(root / "map.ppm")
    Image.fromarray(noise(10)).save(root / "turned.tif", exif=exif)
    for path in list(root.iterdir()):
        path.with_name(f"{path.stem}.txt").write_text("a red bus")
    (root / "turned.tif").rename(root / "turned_too.tif")
    (root / "turned_too.txt").write_text("a red bus")
    return root


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    return every_kind(tmp_path / "kinds")


def test_both_readers_see_the_same_pixels(kinds: Path, tmp_path: Path) -> None:
    settings = ["text.model=none", f"images.size={SIDE}", "images.codec=png", "reader.val_share=0.999999999"]
    prepare(load_data_recipe("folder", settings), kinds, tmp_path / "shards", Options(workers=1))
    stored = ShardFolder(tmp_path / "shards", "val")
    folder = FolderImages(kinds)
    assert len(stored) == len(folder) == 10
    assert [path.name for path in folder.paths] == sorted(path.name for path in folder.paths)
    assert torch.equal(ShardImages(stored, range(10), SIDE).batch(0, 10), folder.batch(0, 10))
    assert decoding(folder) == stored.manifest["decoding"]


def test_a_folder_against_shards_of_it_has_no_distance(kinds: Path, tmp_path: Path, inception: str) -> None:
    settings = ["text.model=none", f"images.size={SIDE}", "images.codec=png", "reader.val_share=0.999999999"]
    prepare(load_data_recipe("folder", settings), kinds, tmp_path / "shards", Options(workers=1))
    result = score(Request(kinds, tmp_path / "shards", metrics=["fid"], weights=[inception]))
    assert result["metrics"]["fid-tf"]["value"] == pytest.approx(0, abs=1e-3)  # rounding
    assert result["generated"]["pixels_sha256"]["generated"] == result["real"]["pixels_sha256"]
    assert result["generated"]["decoding"]["rotated"] == 2
    (read, lossy, *_) = result["notes"]
    assert read == (
        "of the 10 scored images were read: 3 with transparency, which was put on white; 1 with 16 bits a channel, of "
        "which the upper eight were taken; 2 turned upright as their EXIF orientation says; 1 in CMYK, which became "
        "RGB by Pillow's formula; 1 with several frames, of which the first was taken"
    )
    assert lossy == "3 of the scored images are JPEG or WebP files: lossy compression moves FID"


def test_jpeg_is_said_of_the_real_side_too(folders, tmp_path: Path) -> None:
    lossy = tmp_path / "lossy"
    lossy.mkdir()
    for path in image_files(folders[1]):
        Image.open(path).save(lossy / f"{path.stem}.jpg")
    notes = score(Request(folders[0], lossy, metrics=["fd-scenes"]))["notes"]
    assert "12 of the real images are JPEG or WebP files: lossy compression moves FID" in notes


def test_sizes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(0, height=16)).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(noise(0, height=16).transpose(1, 0, 2)).save(tmp_path / "b.jpg")
    images = FolderImages(tmp_path)
    assert images.size == (SIDE, 16)
    assert images.batch(0, 2).shape == (2, 3, SIDE, 16)


# ---------------------------------------------------------------------------- files


def test_what_cannot_be_read_is_refused_by_name(folders) -> None:
    folder = folders[0]
    Image.new("F", (32, 32)).save(folder / "float.tif")
    (folder / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(DataError, match=r"float.tif: cannot be read as an image: pixels are float.*; and 1 more"):
        FolderImages(folder)
    (folder / "float.tif").unlink()
    with pytest.raises(DataError, match=r"page.jpg: cannot be read as an image: it is a web page"):
        FolderImages(folder)
    (folder / "page.jpg").unlink()
    (folder / "photo.heic").write_bytes(b"any")
    (folder / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"2 files are called like a picture .*; gone.png is a symbolic link"):
        kind_of(folder)
    (folder / "gone.png").unlink()
    with pytest.raises(DataError, match=r"a file is called .*photo.heic is a picture of a kind .* \(HEIC\)"):
        FolderImages(folder)


def test_a_file_that_changes_its_size_is_refused(folders) -> None:
    images = FolderImages(folders[0])
    Image.new("RGB", (8, 8)).save(images.paths[3])
    with pytest.raises(DataError, match="003.png: has changed its size since it was listed; evaluate again"):
        images.batch(0, 5)


def test_what_is_passed_over_is_said(folders) -> None:
    folder = folders[0]
    shutil.copy(folder / "000.png", folder / "._000.png")
    shutil.copy(folder / "000.png", folder / "no_ending")
    (folder / "more.tar").touch()
    (folder / "inner").mkdir()
    shutil.copy(folder / "001.png", folder / "inner" / "x.png")
    (folder / "linked").symlink_to("inner")
    images = FolderImages(folder)
    assert len(images) == 15
    assert how_read(images, "scored") == [
        "4 of what lies in the folder of scored images was passed over: no_ending begins as PNG does, but its name has "
        "no ending of pictures; linked is a link to a folder that is read under another name; more.tar is a tar, of "
        "which t2i prepare makes shards; ._000.png is hidden"
    ]


def test_a_folder_of_tars_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    with pytest.raises(DataError, match="nor a folder of images .it has none.; passed over: a.tar is a tar, of which"):
        kind_of(tmp_path)
    with pytest.raises(DataError, match="no images .* in this folder or below it; passed over: a.tar is a tar"):
        FolderImages(tmp_path)


def test_linked_pictures_are_taken_and_linked_folders_elsewhere_refused(folders, tmp_path: Path) -> None:
    subset = tmp_path / "subset"
    subset.mkdir()
    for path in image_files(folders[1])[:3]:
        (subset / path.name).symlink_to(path)
    images = FolderImages(subset)
    assert len(images) == 3
    assert how_read(images, "real") == [f"3 of the real images are symbolic links to files outside of {subset}"]
    (subset / "more").symlink_to(folders[1])
    with pytest.raises(DataError, match="more: is a symbolic link to a folder outside of"):
        FolderImages(subset)


def test_values_of_the_older_reading_are_not_used(folders) -> None:
    identity = FolderImages(folders[0]).identity(0, 4)
    assert identity["decoder"] == VERSION > 1


# ---------------------------------------------------------------------------- overlap


def said(scored: Path, real: Path) -> list[str]:
    return overlap(FolderImages(scored), FolderImages(real))


def test_sides_that_have_nothing_in_common(folders) -> None:
    assert said(*folders) == []


@pytest.mark.parametrize("how", [shutil.copy, os.link, os.symlink])
def test_files_on_both_sides_are_said(folders, how) -> None:
    scored, real = folders
    for name in ("000.png", "001.png"):
        how(scored / name, real / f"also_{name}")
    assert said(scored, real) == [
        "2 of the 14 real images are scored ones as well (the same file or the same bytes, e.g. "
        f"{real / 'also_000.png'}): the sides overlap, and distances come out too small"
    ]


def test_a_folder_against_itself_is_said(folders) -> None:
    result = score(Request(folders[0], folders[0], metrics=["fd-scenes"]))
    assert result["metrics"]["fd-scenes"]["value"] == pytest.approx(0, abs=1e-4)  # rounding
    assert any(note.startswith("14 of the 14 real images are scored ones as well") for note in result["notes"])


def test_one_folder_inside_the_other_is_refused(folders, tmp_path: Path) -> None:
    inner = folders[0] / "samples"
    shutil.copytree(folders[1], inner)
    with pytest.raises(UserError, match=r"fake: the folder of real images contains .*samples, so that 12 pic"):
        score(Request(inner, folders[0], metrics=["fd-scenes"]))
    with pytest.raises(UserError, match="fake: the folder of scored images contains .*samples.*; name a"):
        score(Request(folders[0], inner, metrics=["fd-scenes"]))
    (tmp_path / "link").symlink_to(inner)  # under another name it is the same folder
    with pytest.raises(UserError, match="contains .*link, so that 12"):
        score(Request(tmp_path / "link", folders[0], metrics=["fd-scenes"]))


def test_a_hidden_folder_inside_is_no_overlap(folders) -> None:
    shutil.copytree(folders[1], folders[0] / ".samples")
    assert said(folders[0] / ".samples", folders[0]) == []
