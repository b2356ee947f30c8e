"""Pictures as people have them, turned into pictures as networks want them: RGB, upright, resized, encoded once."""

import io
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from t2icli.recipe import Images

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What Pillow may try, whatever a file's name is: it would have Ghostscript run an EPS, for one.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# The most that is decoded. Beside the bytes of the file, a pixel takes 16 bytes at worst (WEBP; measured on every
# format and mode), so a worker stays near 1 GB; Pillow's own limit of 179 million would let it come to 3 GB.
PIXEL_LIMIT = 64_000_000
FILE_LIMIT = 1 << 29  # bytes; more than so many pixels take without compression, with 16 bits in each of four channels
SIDE_LIMIT = 65_535  # of an original: what the schema's u2 holds
JPEG_SIDE_LIMIT = 65_500  # of what is stored: libjpeg refuses more, although the format holds 65,535
BAND = 1 << 20  # pixels that are converted at once
ORIENTATION = 0x0112  # the EXIF tag
# How a picture is turned upright, by the value of the tag; 1 is upright, others mean nothing.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MODES = {"L": "greyscale", "1": "greyscale", "CMYK": "CMYK", "P": "palette", "I": "16-bit"}


class ImageError(Exception):
    """A file from which no picture can be had; its text is the reason that quarantine.jsonl gives."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture, and what had to be done to get it."""

    data: bytes
    height: int  # of the original, upright
    width: int
    notes: tuple[str, ...]  # greyscale, CMYK, palette, alpha, 16-bit, rotated, truncated


def load_picture(
    path: Path,
    rule: Images,
    crop: tuple[int, int, int, int] | None = None,
    part: tuple[int, int] | None = None,
) -> Picture:
    """Decode a file, strictly and else tolerantly, cut out what is wanted of it, resize it and encode it.

    ``part`` is the offset and the length in bytes of a picture that lies in a larger file, such as a tar.
    """
    raw = read_bytes(path, part)
    if not raw:
        raise ImageError("the file is empty (0 bytes)")
    image, notes = decode(raw)
    width, height = image.size
    try:
        if crop is not None:
            image = cut_out(image, crop)
        data = encode(resize(image, rule), rule)
    except ImageError:
        raise
    except Exception as fault:  # Pillow lets through whatever it meets, see decode; nothing in here touches a disk
        raise ImageError(f"cannot be resized or encoded: {message_of(fault)}") from None
    return Picture(data, height, width, notes)


def read_bytes(path: Path, part: tuple[int, int] | None) -> bytes:
    """A file or a part of it."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever for somebody to write to it
            raise ImageError("is no file but a folder, a pipe or a device")
        offset, length = part or (0, found.st_size)
        if length > FILE_LIMIT:
            raise ImageError(f"{length:,} bytes: no picture may take more than {FILE_LIMIT:,}")
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read(length)
    except OSError as fault:
        raise ImageError(f"cannot be read: {fault.strerror}") from None
    if len(raw) < length:
        raise ImageError(f"{path.name} ends {length - len(raw):,} bytes too early; has it changed since it was listed?")
    return raw


def cut_out(image: Image.Image, crop: tuple[int, int, int, int]) -> Image.Image:
    """What of a picture lies inside a rectangle."""
    left, top, right, bottom = crop
    inside = max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ImageError(f"the part to be cut out, {crop}, lies outside of its {image.width} x {image.height} pixels")
    return image.crop(inside)


def decode(raw: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """An upright RGB image, and notes on how it was had.

    Pillow's plugins let through whatever their parsing meets in damaged bytes (struct.error, AssertionError, TypeError,
    ...), so every exception is taken for a fault of the picture: one must not end the preparation of a million.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; what matters is counted in the notes
        try:
            return upright_rgb(open_image(raw))
        except ImageError:
            raise
        except Exception as fault:  # whatever Pillow lets through, as said above
            strict = reason(fault)
        # outside of the handler, whose exception would hold the pixels of the first attempt
        try:
            with tolerance():
                image, notes = upright_rgb(open_image(raw))
        except Exception:  # likewise; the first attempt's reason is the truer one
            raise ImageError(strict) from None
        return image, (*notes, "truncated")


def open_image(raw: bytes) -> Image.Image:
    """The whole first frame, decoded if its header does not announce too much."""
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
    except Image.DecompressionBombError as fault:  # over Pillow's own limit, which is higher
        found = re.search(r"\d+", str(fault))
        raise ImageError(too_many(f"{int(found[0]):,}" if found else "far too many")) from None
    width, height = image.size
    if max(width, height) > SIDE_LIMIT:
        raise ImageError(f"{width} x {height} pixels: no side may exceed {SIDE_LIMIT}")
    if width * height > PIXEL_LIMIT:
        raise ImageError(too_many(f"{width} x {height} = {width * height:,}"))
    if isinstance(image, TiffImageFile):
        # a tile is decoded whole, however little of it the picture shows
        tile = image.tag_v2.get(TILEWIDTH, 1), image.tag_v2.get(TILELENGTH, 1)
        if tile[0] * tile[1] > PIXEL_LIMIT:
            raise ImageError(too_many(f"a tile of {tile[0]} x {tile[1]} = {tile[0] * tile[1]:,}"))
    image.load()
    if image.format == "WEBP":
        image.fp = None  # holds the decoded frame once more
    return image


def too_many(found: str) -> str:
    """The reason to decode no pixel of a picture."""
    return f"{found} pixels: no picture may have more than {PIXEL_LIMIT:,}"


@contextmanager
def tolerance() -> Iterator[None]:
    """Let Pillow fill what a truncated file lacks; its switch is global, so it is put back at once."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def reason(fault: BaseException) -> str:
    """Pillow's message without the memory address that it likes to mention."""
    if isinstance(fault, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    return f"cannot be decoded: {message_of(fault)}"


def message_of(fault: BaseException) -> str:
    """The message of an exception on one line, or its kind where it has none."""
    if isinstance(fault, MemoryError):
        return "not enough memory"
    return " ".join(str(fault).split()) or f"Pillow fails with {type(fault).__name__}"


def upright_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Turn as EXIF says and convert to RGB; what was transparent becomes white."""
    kind = MODES.get(image.mode.partition(";")[0])
    notes = [kind] if kind else []
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # whatever Pillow stumbles on in metadata is no reason to lose the picture
        turn = None
    if turn is not None:
        notes.append("rotated")
        image = image.transpose(turn)
    if image.has_transparency_data:
        notes.append("alpha")
        return in_bands(image, on_white), tuple(notes)
    if image.mode.startswith("I"):
        return in_bands(image, upper_byte), tuple(notes)
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers; save it with 8 bits per channel")
    return image.convert("RGB"), tuple(notes)


def in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """RGB by a function of single pixels, a few rows at a time: what lies in between takes up to 16 bytes a pixel."""
    converted = Image.new("RGB", image.size)
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        converted.paste(convert(band), (0, top))
    return converted


def on_white(image: Image.Image) -> Image.Image:
    """What is transparent becomes white."""
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def upper_byte(image: Image.Image) -> Image.Image:
    """Of 16 bits a pixel, whatever the byte order, the upper eight (Pillow's convert would clip at 255)."""
    return Image.fromarray((np.asarray(image).clip(0, 65_535) >> 8).astype(np.uint8)).convert("RGB")


def resize(image: Image.Image, rule: Images) -> Image.Image:
    """By the recipe's rule, antialiased.

    Bicubic rather than Lanczos: Lanczos leaves brighter rings at edges, which a GAN learns, and the
    reference images of FID are made with Pillow's bicubic.
    """
    size, (width, height) = rule.size, image.size
    if rule.fit == "squash":
        return image.resize((size, size), Image.Resampling.BICUBIC)
    if rule.fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    scale = size / min(width, height)
    target = (max(size, round(width * scale)), max(size, round(height * scale)))
    limit = JPEG_SIDE_LIMIT if rule.codec == "jpeg" else SIDE_LIMIT
    if max(target) > limit:
        raise ImageError(
            f"{width} x {height} pixels is too narrow to be {size} pixels on its shorter side: "
            f"the longer would be {max(target)}, and no side may exceed {limit}"
        )
    return image.resize(target, Image.Resampling.BICUBIC)


def encode(image: Image.Image, rule: Images) -> bytes:
    """JPEG without chroma subsampling, because a GAN learns blurred colour, or PNG."""
    out = io.BytesIO()
    image.info.clear()  # colour profiles and comments would be stored with every picture
    if rule.codec == "png":
        image.save(out, "PNG")
    else:
        # no optimize=True: Pillow 13 then fails on some pictures with "broken data stream"
        image.save(out, "JPEG", quality=rule.quality, subsampling=0)
    return out.getvalue()
