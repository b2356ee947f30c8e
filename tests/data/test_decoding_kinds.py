"""Kinds of pictures that programs disagree about, each against values worked out by hand or by NumPy."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from t2icli.data.decoding import Header, ImageError, decode, decode_exactly, has_late_metadata, header

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (9, 5)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def png(rows: np.ndarray, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of rows of bytes as they are packed in the file; chunks stand before the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = rows.shape[0], rows.shape[1] * 8 // (bits * {0: 1, 2: 3, 4: 2, 6: 4}[colour])
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    before = b"".join(chunk(*one) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + size + before + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def pixels_of(raw: bytes) -> np.ndarray:
    return np.asarray(decode_exactly(raw)[0])


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


# ---------------------------------------------------------------------------- 16 bits and transparency


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_the_upper_byte_of_sixteen_bits(colour: int, channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 65_536, (4, 6, channels), np.uint16)
    if channels in (2, 4):
        values[..., -1] = 65_535
    raw = png(values.astype(">u2").view(np.uint8).reshape(4, -1), 16, colour)
    grey = channels < 3
    assert np.array_equal(pixels_of(raw), np.broadcast_to(values[..., :1] if grey else values[..., :3], (4, 6, 3)) >> 8)
    assert "16-bit" in decode(raw)[1]


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bits_in_a_tiff_of_either_byte_order(order: str) -> None:
    values = np.random.default_rng(1).integers(0, 65_536, (4, 6)).astype(order)
    image = Image.fromarray(values)
    assert image.mode == ("I;16" if order == "<u2" else "I;16B")
    raw = encoded(image, "TIFF")
    assert np.array_equal(pixels_of(raw), np.broadcast_to((values >> 8)[..., None], (4, 6, 3)))
    assert decode(raw)[1] == ("16-bit",)


def test_transparent_colours_of_png_at_every_depth() -> None:
    white = (255, 255, 255)
    grey16 = np.array([[0x1234, 0x1235, 0x9999]], ">u2").view(np.uint8)
    found = pixels_of(png(grey16, 16, 0, (b"tRNS", struct.pack(">H", 0x1234))))
    assert [tuple(pixel) for pixel in found[0]] == [white, (0x12,) * 3, (0x99,) * 3]
    colour16 = np.array([[1000, 2000, 3000, 40_000, 50_000, 60_000]], ">u2").view(np.uint8)
    found = pixels_of(png(colour16, 16, 2, (b"tRNS", struct.pack(">HHH", 1000, 2000, 3000))))
    assert [tuple(pixel) for pixel in found[0]] == [white, (40_000 >> 8, 50_000 >> 8, 60_000 >> 8)]
    two_bits = np.array([[0b00011011]], np.uint8)  # levels 0, 1, 2 and 3
    found = pixels_of(png(two_bits, 2, 0, (b"tRNS", struct.pack(">H", 1))))
    assert [tuple(pixel) for pixel in found[0]] == [(0,) * 3, white, (170,) * 3, white]
    four_bits = np.array([[0x4C]], np.uint8)
    assert pixels_of(png(four_bits, 4, 0, (b"tRNS", struct.pack(">H", 4))))[0].tolist() == [[255] * 3, [0xCC] * 3]
    one_bit = np.array([[0b01000000]], np.uint8)
    assert pixels_of(png(one_bit, 1, 0, (b"tRNS", struct.pack(">H", 0))))[0].tolist() == [[255] * 3] * 8
    eight = np.array([[7, 8, 9]], np.uint8)
    assert pixels_of(png(eight, 8, 0, (b"tRNS", struct.pack(">H", 8))))[0, :, 0].tolist() == [7, 255, 9]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_lies_on_white(mode: str, kind: str) -> None:
    raw = encoded(noise(mode), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    given = np.asarray(noise(mode).convert("RGBA")).astype(float)
    assert np.abs(pixels_of(raw) - on_white(given[..., :3], given[..., 3])).max() <= 1  # rounding
    assert "alpha" in decode(raw)[1]


def test_a_palette_with_alpha_lies_on_white() -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8)[None] % 3, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    raw = encoded(image, "PNG", transparency=bytes([0, 128, 255]))
    assert pixels_of(raw)[0, :3].tolist() == [[255] * 3, [127, 255, 127], [0, 0, 255]]
    assert decode(raw)[1] == ("palette", "alpha")
    assert pixels_of(encoded(image, "GIF", transparency=1))[0, :3].tolist() == [[255, 0, 0], [255] * 3, [0, 0, 255]]


def test_one_bit_and_portable_maps() -> None:
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert np.array_equal(pixels_of(encoded(noise("1"), kind)), np.asarray(noise("1").convert("RGB"))), kind
    assert np.array_equal(pixels_of(encoded(noise("RGB"), "PPM")), np.asarray(noise("RGB")))
    assert np.array_equal(pixels_of(encoded(noise("L"), "PPM")), np.asarray(noise("L").convert("RGB")))


def test_cmyk_as_programs_of_printers_write_it() -> None:
    """JPEGs of Adobe's hold inverted inks, which Pillow writes and reads as such."""
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    raw = encoded(ink, "JPEG", quality=100)
    assert b"Adobe" in raw
    assert np.abs(pixels_of(raw).astype(int) - [255, 0, 0]).max() <= 3
    assert decode(raw)[1] == ("CMYK",)


@pytest.mark.parametrize("kind", ["F", "I"])
def test_numbers_that_are_no_levels_are_refused(tmp_path: Path, kind: str) -> None:
    raw = encoded(Image.new(kind, (4, 4), 100), "TIFF")
    message = "floating-point numbers" if kind == "F" else "numbers of 32 bits, or with a sign"
    (tmp_path / "a.tif").write_bytes(raw)
    for read in (lambda: decode(raw), lambda: decode_exactly(raw), lambda: header(tmp_path / "a.tif")):
        with pytest.raises(ImageError, match=f"^pixels are {message}; save it with 8 bits per channel$"):
            read()


# ---------------------------------------------------------------------------- turning


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_headers_agree_with_pixels_however_it_is_turned(tmp_path: Path, kind: str, orientation: int) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    raw = encoded(noise(size=(24, 16)), kind, exif=exif)
    (tmp_path / "a").write_bytes(raw)
    image, notes = decode_exactly(raw)
    with Image.open(io.BytesIO(raw)) as whole:
        assert image.tobytes() == ImageOps.exif_transpose(whole).convert("RGB").tobytes()
    assert header(tmp_path / "a") == Header(image.height, image.width, notes, kind in ("JPEG", "WEBP", "AVIF"))
    assert image.size == ((24, 16) if orientation < 5 else (16, 24))
    assert ("rotated" in notes) == (orientation > 1)


def test_metadata_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    """As exiftool and ImageMagick write it; Pillow finds it only when all pixels are decoded."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    raw = encoded(noise(size=(24, 16)), "PNG", exif=exif)
    start = raw.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", raw[start : start + 4])[0]
    end = raw.index(b"IEND") - 4
    late = raw[:start] + raw[start + length : end] + raw[start : start + length] + raw[end:]
    (tmp_path / "a.png").write_bytes(late)
    assert has_late_metadata(io.BytesIO(late))
    assert not has_late_metadata(io.BytesIO(encoded(noise(), "PNG")))
    assert decode_exactly(late)[0].size == (16, 24)
    assert header(tmp_path / "a.png") == Header(24, 16, ("rotated",), False)


# ---------------------------------------------------------------------------- frames, and what is no picture


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_of_several_frames(tmp_path: Path, kind: str) -> None:
    first, second = Image.new("RGB", (16, 8), (200, 40, 40)), Image.new("RGB", (16, 8), (40, 40, 200))
    raw = encoded(first, kind, save_all=True, append_images=[second])
    (tmp_path / "a").write_bytes(raw)
    image, notes = decode_exactly(raw)
    assert np.abs(np.asarray(image).astype(int) - [200, 40, 40]).max() < 8
    assert "several frames" in notes
    assert header(tmp_path / "a") == Header(8, 16, notes, kind in ("WEBP", "MPO"))
    assert "several frames" not in decode(encoded(first, "JPEG" if kind == "MPO" else kind))[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html><body>not found</body></html>", "it is a web page, as servers send it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "it is a Git LFS pointer"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
            "is HEIC, which cannot be read here; save it as PNG or JPEG",
        ),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "is JPEG XL, which cannot be read here"),
        (b"a red bus", "not an image that Pillow knows"),
        (bytes(100), "it holds zeros only"),
    ],
)
def test_what_is_only_called_a_picture(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=f"^{message}"):
        header(tmp_path / "a.jpg")
    if content:
        with pytest.raises(ImageError, match=f"^{message}"):
            decode(content)


def test_what_is_cut_short_is_no_exact_picture() -> None:
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        raw = encoded(noise(size=(90, 70)), kind)
        with pytest.raises(ImageError):
            decode_exactly(raw[: len(raw) * 2 // 3])


def test_colour_profiles_change_no_number() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    raw = encoded(noise(), "PNG", icc_profile=profile)
    assert np.array_equal(pixels_of(raw), np.asarray(noise()))
