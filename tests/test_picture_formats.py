"""The ending decides a picture's format, and its facts can be read back from each."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from t2icli.errors import UserError
from t2icli.picture_formats import refuse_no_picture, write_picture

FACTS = {"caption": 'a "red" café\nein Bus 巴士 🚌', "seed": 7, "run": "runs/x"}


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    return Image.fromarray(pixels).resize((40, 32), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "PNG"),
        ("a.PNG", "PNG"),
        ("a.b.png", "PNG"),
        ("a.jpg", "JPEG"),
        ("a.JPG", "JPEG"),
        ("a.jpeg", "JPEG"),
        ("a.webp", "WEBP"),
        ("巴士.WebP", "WEBP"),
    ],
)
def test_the_ending_decides_the_format(tmp_path: Path, image: Image.Image, name: str, kind: str) -> None:
    write_picture(tmp_path / name, image, FACTS)
    with Image.open(tmp_path / name) as found:
        assert (found.format, found.size, found.mode) == (kind, (40, 32), "RGB")
        levels = np.abs(np.asarray(found).astype(int) - np.asarray(image))
        assert levels.max() == 0 if kind != "JPEG" else levels.mean() < 3
        assert facts_of(found) == {key: str(value) for key, value in FACTS.items()}


def facts_of(found: Image.Image) -> dict[str, str]:
    """What a picture says of itself, as other programs read it."""
    if found.format == "PNG":
        return dict(found.text)  # type: ignore[attr-defined]
    exif = found.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(b"ASCII\0\0\0")
    said = json.loads(comment[8:])
    # TIFF's text is bytes; Pillow reads them as Latin-1, others as the UTF-8 that they are
    assert exif[ExifTags.Base.ImageDescription].encode("latin-1").decode() == said["caption"]
    return {key: str(value) for key, value in said.items()}


@pytest.mark.parametrize("letter", ["a", "é", "巴", "🚌", "\\", "\n"])
def test_a_caption_that_is_too_long_for_exif_is_cut(tmp_path: Path, image: Image.Image, letter: str) -> None:
    for name in ("a.jpg", "a.webp"):
        write_picture(tmp_path / name, image, {"caption": letter * 100_000, "seed": 2**63, "run": "r" * 255})
        with Image.open(tmp_path / name) as found:
            caption = facts_of(found)["caption"]
        assert set(caption) == {letter, "…"} and 3000 < len(caption) < 4000
    write_picture(tmp_path / "a.png", image, {"caption": letter * 100_000})
    with Image.open(tmp_path / "a.png") as found:
        assert facts_of(found)["caption"] == letter * 100_000


@pytest.mark.parametrize("name", ["a", "a.gif", "a.bmp", "a.tiff", "a.png.txt", "a.", ".png", "png", "a.jpg "])
def test_other_endings_are_refused(tmp_path: Path, image: Image.Image, name: str) -> None:
    path = tmp_path / name
    said = f"--out {path}: pictures are written as .png, .jpg, .jpeg or .webp; name a file that ends so"
    with pytest.raises(UserError, match=re.escape(said)):
        refuse_no_picture(path, "--out")
    with pytest.raises(UserError, match="name a file that ends so"):
        write_picture(path, image, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_what_flows_on(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match="a.png: is a folder; name a file in it"):
        refuse_no_picture(tmp_path / "a.png", "--out")
    refuse_no_picture(Path("/dev/null"), "--out")
    for name, refused in (("pipe", False), ("pipe.webp", False), ("pipe.gif", True)):
        os.mkfifo(tmp_path / name)
        if refused:
            with pytest.raises(UserError, match="name a file that ends so"):
                refuse_no_picture(tmp_path / name, "--out")
        else:
            refuse_no_picture(tmp_path / name, "--out")
