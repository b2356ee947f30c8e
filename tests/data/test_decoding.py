"""Pictures as people have them."""

import io
import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2icli.data.images import FILE_LIMIT, ImageError, decode, encode, load_picture, resize
from t2icli.recipe import Images


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def test_every_kind_becomes_rgb_and_is_noted() -> None:
    sixteen = Image.fromarray((np.arange(800, dtype=np.uint16) * 80).reshape(20, 40))
    transparent = Image.new("RGBA", (40, 20), (255, 0, 0, 0))
    cases = {
        "greyscale": encoded(gradient("L")),
        "CMYK": encoded(gradient("CMYK"), "JPEG"),
        "palette": encoded(gradient("P")),
        "16-bit": encoded(sixteen),
        "alpha": encoded(transparent),
    }
    for note, raw in cases.items():
        image, notes = decode(raw)
        assert (image.mode, image.size) == ("RGB", (40, 20))
        assert note in notes
    assert decode(cases["alpha"])[0].getpixel((5, 5)) == (255, 255, 255)
    assert decode(cases["16-bit"])[0].getpixel((39, 19))[0] == 799 * 80 >> 8


def test_exif_turns_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image, notes = decode(encoded(gradient(), "JPEG", exif=exif))
    assert image.size == (20, 40)
    assert notes == ("rotated",)


def test_damage() -> None:
    raw = encoded(gradient(size=(400, 300)), "JPEG")
    image, notes = decode(raw[: len(raw) * 2 // 3])
    assert notes == ("truncated",)
    assert image.size == (400, 300)
    with pytest.raises(ImageError, match="not an image that Pillow knows"):
        decode(b"no picture")
    with pytest.raises(ImageError):
        decode(raw[:30])


def test_empty_absent_and_far_too_large(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="the file is empty"):
        load_picture(tmp_path / "empty.jpg", Images())
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        load_picture(tmp_path / "absent.jpg", Images())
    (tmp_path / "bomb.png").write_bytes(encoded(gradient(size=(400, 300))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="exceeds limit"):
        load_picture(tmp_path / "bomb.png", Images())


def test_three_ways_to_fit() -> None:
    wide = Image.new("RGB", (60, 30), "white")
    wide.paste((0, 0, 0), (0, 0, 15, 30))
    assert resize(wide, Images(size=30, fit="squash")).size == (30, 30)
    assert resize(wide, Images(size=10, fit="short")).size == (20, 10)
    cropped = resize(wide, Images(size=30, fit="crop"))
    assert cropped.size == (30, 30)
    assert np.asarray(cropped).min() > 250  # the black quarter lies outside the centre square
    assert np.asarray(resize(wide, Images(size=30, fit="squash"))).min() == 0


def test_resizing_is_antialiased() -> None:
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    small = np.asarray(resize(board, Images(size=8)))
    assert abs(small.astype(int) - 127).max() <= 2


def test_codecs() -> None:
    image = gradient(size=(32, 32))
    png = Image.open(io.BytesIO(encode(image, Images(codec="png"))))
    assert png.tobytes() == image.tobytes()
    jpeg = Image.open(io.BytesIO(encode(image, Images(codec="jpeg"))))
    assert [component[1:3] for component in jpeg.layer] == [(1, 1)] * 3  # no chroma subsampling
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    assert len(encode(noise, Images(quality=50))) < len(encode(noise, Images(quality=95)))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be this large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.jpg").write_bytes(bomb(50_000, 50_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"Image size \(2500000000 pixels\) exceeds limit"):
        load_picture(tmp_path / "bomb.jpg", Images())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)  # a hole: takes no disk
    with pytest.raises(ImageError, match="1,073,741,825 bytes: no picture may take more than 1,073,741,824"):
        load_picture(tmp_path / "huge.jpg", Images())


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("folder.jpg", "pipe.jpg"):
        with pytest.raises(ImageError, match="is no file but a folder, a pipe or a device"):
            load_picture(tmp_path / name, Images())


def test_postscript_is_not_run(monkeypatch) -> None:
    """Pillow would hand it to Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    ran = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: ran.append(True))
    with pytest.raises(ImageError, match="not an image that Pillow knows"):
        decode(encoded(gradient(), "EPS"))
    assert not ran
