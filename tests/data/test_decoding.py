"""Pictures as people have them."""

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from t2icli.data import decoding
from t2icli.data.decoding import FILE_LIMIT, PIXEL_LIMIT, ImageError, decode
from t2icli.data.images import encode, load_picture, resize
from t2icli.recipe import Images


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    return exif


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
    image, notes = decode(encoded(gradient(), "JPEG", exif=turned(6)))
    assert image.size == (20, 40)
    assert notes == ("rotated",)


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_as_pillow_does(orientation: int) -> None:
    raw = encoded(gradient("RGB"), exif=turned(orientation))
    image, notes = decode(raw)
    assert image.tobytes() == ImageOps.exif_transpose(Image.open(io.BytesIO(raw))).tobytes()
    assert notes == (("rotated",) if 2 <= orientation <= 8 else ())


def test_bands_leave_pixels_as_they_are(monkeypatch) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 30, 4), np.uint8), "RGBA")
    cases = [encoded(noise), encoded(noise.convert("LA")), encoded(noise.convert("P"), transparency=3)]
    cases += [encoded(noise.convert("RGB"), transparency=noise.convert("RGB").getpixel((4, 4)))]
    cases += [encoded(Image.fromarray(np.arange(1500, dtype=np.uint16).reshape(50, 30) * 43))]
    whole = [decode(raw)[0].tobytes() for raw in cases]
    monkeypatch.setattr(decoding, "BAND", 100)  # three rows, the last band shorter
    assert [decode(raw)[0].tobytes() for raw in cases] == whole
    layered = Image.alpha_composite(Image.new("RGBA", noise.size, "white"), noise).convert("RGB")
    assert whole[0] == layered.tobytes()


def test_damage() -> None:
    raw = encoded(gradient(size=(400, 300)), "JPEG")
    image, notes = decode(raw[: len(raw) * 2 // 3])
    assert notes == ("truncated",)
    assert image.size == (400, 300)
    with pytest.raises(ImageError, match="not an image that Pillow knows"):
        decode(b"no picture")
    with pytest.raises(ImageError):
        decode(raw[:30])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_costs_no_picture(kind: str) -> None:
    """Pillow raises struct.error, among others, when it reads it or writes it anew."""
    exif = turned(6).tobytes()
    for place in range(6, len(exif)):
        for value in (0, 5, 127, 255):
            damaged = exif[:place] + bytes([value]) + exif[place + 1 :]
            image, _ = decode(encoded(gradient(size=(8, 4)), kind, exif=damaged))
            assert set(image.size) == {4, 8}


def test_a_palette_picture_without_its_palette() -> None:
    with pytest.raises(ImageError, match="^cannot be decoded: Pillow fails with AssertionError$"):
        decode(png(4, 4, colour=3))


def made_of(kind: str, mode: str, **options: object) -> bytes:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 4), np.uint8), "RGBA")
    return encoded(noise.convert(mode), kind, **options)


WHOLE = [
    made_of("JPEG", "RGB", exif=turned(6)),
    made_of("JPEG", "CMYK", progressive=True),
    made_of("PNG", "RGBA", exif=turned(5)),
    made_of("PNG", "P", transparency=3),
    made_of("WEBP", "RGBA", exif=turned(8)),
    made_of("GIF", "P", transparency=3),
    made_of("BMP", "P"),
    made_of("TIFF", "RGB", compression="tiff_lzw"),
]
changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=600, deadline=None)
@given(whole=st.sampled_from(WHOLE), changes=changes, left=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_damaged_bytes_are_a_picture_or_a_reason(whole: bytes, changes: list[tuple[float, int]], left: float) -> None:
    damaged = bytearray(whole)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "PIXEL_LIMIT", 100_000)  # or sizes that lie would take seconds
        try:
            image, notes = decode(bytes(damaged[: int(left * len(damaged))]))
        except ImageError as fault:
            assert str(fault)
        else:
            assert image.mode == "RGB"
            assert set(notes) <= {"greyscale", "CMYK", "palette", "alpha", "16-bit", "rotated", "truncated"}


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (MemoryError(), "not enough memory"),
        (AssertionError(), "Pillow fails with AssertionError"),
        (struct.error("unpack requires\n a buffer"), "unpack requires a buffer"),
        (OSError("broken data stream when writing image file"), "broken data stream when writing image file"),
    ],
)
def test_whatever_pillow_fails_with_is_a_reason(tmp_path: Path, monkeypatch, fault: Exception, text: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise fault

    (tmp_path / "a.png").write_bytes(encoded(gradient()))
    for method in ("resize", "save"):
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, method, fails)
            with pytest.raises(ImageError, match=f"^cannot be resized or encoded: {text}$"):
                load_picture(tmp_path / "a.png", Images())
    monkeypatch.setattr(Image.Image, "convert", fails)
    with pytest.raises(ImageError, match=f"^cannot be decoded: {text}$"):
        load_picture(tmp_path / "a.png", Images())


@pytest.mark.parametrize("method", ["convert", "resize", "save"])
def test_an_interruption_passes(tmp_path: Path, monkeypatch, method: str) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.png").write_bytes(encoded(gradient()))
    monkeypatch.setattr(Image.Image, method, interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_picture(tmp_path / "a.png", Images())


def test_too_narrow_for_the_codec(tmp_path: Path) -> None:
    """JPEG ends a little below the sides that PNG and the schema allow."""
    (tmp_path / "narrow.png").write_bytes(encoded(gradient(size=(2, 431))))
    narrow = "^2 x 431 pixels is too narrow to be 304 pixels on its shorter side: "
    with pytest.raises(ImageError, match=narrow + "the longer would be 65512, and no side may exceed 65500$"):
        load_picture(tmp_path / "narrow.png", Images(size=304, fit="short"))
    stored = load_picture(tmp_path / "narrow.png", Images(size=304, fit="short", codec="png"))
    assert Image.open(io.BytesIO(stored.data)).size == (304, 65_512)
    longest = resize(gradient(size=(1, 65_500)), Images(size=1, fit="short"))
    assert Image.open(io.BytesIO(encode(longest, Images()))).size == (1, 65_500)


def test_empty_absent_and_far_too_large(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match="the file is empty"):
        load_picture(tmp_path / "empty.jpg", Images())
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        load_picture(tmp_path / "absent.jpg", Images())
    (tmp_path / "bomb.png").write_bytes(encoded(gradient(size=(400, 300))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="^120,000 pixels: no picture may have more than 64,000,000$"):
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


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, colour: int = 2) -> bytes:
    """A PNG of a few bytes that claims to be this large."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "found"),
    [
        (50_000, 50_000, "2,500,000,000 pixels: no picture may have more than 64,000,000"),  # over Pillow's limit
        (13_300, 13_300, "13300 x 13300 = 176,890,000 pixels: no picture may have more than 64,000,000"),  # just below
        (8_001, 8_000, "8001 x 8000 = 64,008,000 pixels: no picture may have more than 64,000,000"),
        (65_536, 1, "65536 x 1 pixels: no side may exceed 65535"),
    ],
)
def test_a_bomb_takes_no_memory(tmp_path: Path, width: int, height: int, found: str) -> None:
    (tmp_path / "bomb.jpg").write_bytes(png(width, height))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=f"^{found}$"):
        load_picture(tmp_path / "bomb.jpg", Images())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_as_many_pixels_as_are_allowed(monkeypatch) -> None:
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 800)
    assert decode(encoded(gradient(size=(40, 20))))[0].size == (40, 20)
    with pytest.raises(ImageError, match="^40 x 21 = 840 pixels: no picture may have more than 800$"):
        decode(encoded(gradient(size=(40, 21))))


def test_a_large_tile_of_a_small_tiff(monkeypatch) -> None:
    """libtiff decodes tiles whole: one of 40,000 x 40,000 would take 1.6 GB for a picture of 10 x 10."""
    tile = zlib.compress(bytes(64 * 64))
    short, long = 3, 4
    tags = [(256, short, 10), (257, short, 10), (258, short, 8), (259, short, 8), (262, short, 1), (277, short, 1)]
    tags += [(322, long, 64), (323, long, 64), (324, long, 8), (325, long, len(tile))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    raw = b"II*\0" + struct.pack("<I", 8 + len(tile)) + tile + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert decode(raw)[0].size == (10, 10)
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 64 * 64 - 1)
    with pytest.raises(ImageError, match="^a tile of 64 x 64 = 4,096 pixels: no picture may have more than 4,095$"):
        decode(raw)


def test_the_worst_picture_takes_a_gigabyte(tmp_path: Path) -> None:
    """WebP takes the most by a pixel; measured at an eighth of the limit, in a process of its own."""
    side = int((PIXEL_LIMIT / 8) ** 0.5)
    layered = Image.linear_gradient("L").resize((side, side)).convert("RGBA")
    layered.putalpha(Image.radial_gradient("L").resize((side, side)))
    path = tmp_path / "worst.webp"
    layered.save(path, exif=turned(6))
    program = f"""
from pathlib import Path
from t2icli.data.images import load_picture
from t2icli.recipe import Images

def peak():  # kB; getrusage would begin with that of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

load_picture(Path({str(tmp_path / "small.webp")!r}), Images())  # what is allocated once
before = peak()
assert set(load_picture(Path({str(path)!r}), Images()).notes) == {{"rotated", "alpha"}}
print(peak() - before)
"""
    layered.resize((64, 64)).save(tmp_path / "small.webp")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (
        12 * side**2 < int(done.stdout) * 1024 < 19 * side**2
    )  # 16, and the bands, which weigh less in a larger picture


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)  # a hole: takes no disk
    with pytest.raises(ImageError, match="536,870,913 bytes: no picture may take more than 536,870,912"):
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
