"""Pictures as people have them, read in one way by every verb: upright RGB, and what had to be done to get it.

What is transparent lies on white; of 16 bits a channel the upper eight are taken; EXIF (or XMP) says how a picture is
turned; of several frames the first is read; CMYK becomes RGB by Pillow's formula. Numbers are taken as they are:
colour profiles and gamma are not applied. What has no one meaning as eight bits, numbers with a point and those of
32 bits, is refused. Limits on pixels and bytes are checked before anything is decoded.
"""

import importlib.util
import io
import re
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from t2icli.data.picture_files import what_is_it

# Raised when a picture's pixels come out otherwise, so that nothing that was computed of the old ones is used.
VERSION = 2
# What Pillow may try, whatever a file's name is: it would have Ghostscript run an EPS, for one.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
if importlib.util.find_spec("PIL.AvifImagePlugin"):  # Pillow 11.3 brought it
    FORMATS += ("AVIF",)
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")  # MPO: a JPEG with further pictures behind it, as phones write them
# The most that is decoded. Beside the bytes of the file, a pixel takes 16 bytes at worst (WEBP; measured on every
# format and mode), so a worker stays near 1 GB; Pillow's own limit of 179 million would let it come to 3 GB.
PIXEL_LIMIT = 64_000_000
FILE_LIMIT = 1 << 29  # bytes; more than so many pixels take without compression, with 16 bits in each of four channels
SIDE_LIMIT = 65_535  # of an original: what the schema's u2 holds
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
SIDEWAYS = {Image.Transpose[name] for name in ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")}
MODES = {"L": "greyscale", "1": "greyscale", "CMYK": "CMYK", "P": "palette", "I": "16-bit"}
LATE_METADATA = re.compile(rb"eXIf|[iz]TXt(?:XML:com\.adobe\.xmp|Raw profile type exif)|tEXtRaw profile type exif")


class ImageError(Exception):
    """A file from which no picture can be had; its text is the reason that quarantine.jsonl gives."""


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before a pixel is decoded."""

    height: int  # upright
    width: int
    notes: tuple[str, ...]  # greyscale, CMYK, palette, 16-bit, alpha, several frames, rotated
    lossy: bool  # whether its format compresses with loss, as a rule


# ---------------------------------------------------------------------------- bytes


def read_bytes(path: Path, part: tuple[int, int] | None = None) -> bytes:
    """A file or a part of it: the offset and the length in bytes of a picture in a larger file, such as a tar."""
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
    if not raw:
        raise ImageError("the file is empty (0 bytes)")
    return raw


# ---------------------------------------------------------------------------- pixels


def decode(raw: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """An upright RGB image, and notes on how it was had; what is cut off is filled, and noted as truncated.

    Not for several threads: it changes a switch of Pillow's.
    """
    with quietly():
        try:
            return decode_exactly(raw)
        except Damaged as fault:
            strict = str(fault)
        # outside of the handler, whose exception would hold the pixels of the first attempt
        try:
            with tolerance():
                image, notes = decode_exactly(raw)
        except ImageError:  # the first attempt's reason is the truer one
            raise ImageError(strict) from None
        return image, (*notes, "truncated")


def decode_exactly(raw: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """An upright RGB image with every pixel that the file promises, and notes on how it was had.

    Pillow's plugins let through whatever their parsing meets in damaged bytes (struct.error, AssertionError, TypeError,
    ...), so every exception is taken for a fault of the picture: one must not end the preparation of a million.
    """
    try:
        image, notes = upright(raw)
        return as_rgb(image), notes
    except ImageError:
        raise
    except Exception as fault:  # whatever Pillow lets through, as said above
        raise Damaged(reason(fault, raw[:HEAD])) from None


def upright(raw: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """The pixels as the file has them, turned; a function by itself so that no second copy is kept alive."""
    image = opened(io.BytesIO(raw))
    notes = notes_of(image)
    by_pillow = turn_of(image) if image.format == "TIFF" else None  # it turns a TIFF while it loads it
    image.load()
    turn = turn_of(image)
    if image.format == "WEBP":
        image.fp = None  # holds the decoded frame once more
    if turn is by_pillow is None:
        return image, notes
    return image if turn is None else image.transpose(turn), (*notes, "rotated")


def header(path: Path) -> Header:
    """What a file's header says, the sides as they are when the picture stands upright; thread-safe as decode_exactly.

    What cannot be read, as far as the header tells, is an ``ImageError``.
    """
    head = b""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("is no file but a folder, a pipe or a device")
        if found.st_size > FILE_LIMIT:
            raise ImageError(f"{found.st_size:,} bytes: no picture may take more than {FILE_LIMIT:,}")
        with path.open("rb") as file:
            head = file.read(HEAD)
            if not head:
                raise ImageError("the file is empty (0 bytes)")
            with opened(file) as image:
                return header_of(image, file)
    except ImageError:
        raise
    except Exception as fault:  # whatever Pillow lets through, as in decode_exactly
        raise Damaged(reason(fault, head)) from None


def header_of(image: ImageFile.ImageFile, file: BinaryIO) -> Header:
    """What an image that is not loaded yet says of itself."""
    notes, lossy = notes_of(image), image.format in LOSSY
    if image.format == "PNG" and "exif" not in image.info and not has_late_metadata(file):
        turn = turn_of(image, Image.Image.getexif)  # the PNG plugin's own would decode all pixels to look behind them
    else:
        turn = turn_of(image)
    width, height = image.size
    if turn is not None:
        notes = (*notes, "rotated")
        if image.format == "TIFF":
            image.load()  # some versions of Pillow tell the sides before they turn it, some those after
            width, height = image.size
        elif turn in SIDEWAYS:
            width, height = height, width
    return Header(height, width, notes, lossy)


def has_late_metadata(file: BinaryIO) -> bool:
    """Whether a PNG keeps EXIF or XMP behind its pixels; the place in the file is left as it was."""
    before, longest = file.tell(), 40  # bytes of a kind of chunk and its keyword
    file.seek(8)
    found = False
    while not found and len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        found = LATE_METADATA.match(kind + file.read(min(length, longest))) is not None
        file.seek(length + 4 - min(length, longest), io.SEEK_CUR)
    file.seek(before)
    return found


# ---------------------------------------------------------------------------- steps of decoding


HEAD = 64  # bytes that tell what a file is


class Damaged(ImageError):
    """A picture that Pillow fails on, and may read as far as it goes."""


def opened(file: BinaryIO) -> ImageFile.ImageFile:
    """The first frame, not decoded yet, if its header does not announce too much, or what has no one meaning."""
    try:
        image = Image.open(file, formats=FORMATS)
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
    if image.mode == "F":
        raise ImageError("pixels are floating-point numbers; save it with 8 bits per channel")
    if image.mode == "I" and image.format == "TIFF":
        raise ImageError("pixels are numbers of 32 bits, or with a sign; save it with 8 bits per channel")
    return image


def too_many(found: str) -> str:
    """The reason to decode no pixel of a picture."""
    return f"{found} pixels: no picture may have more than {PIXEL_LIMIT:,}"


def notes_of(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """What will have to be done to an image that is not loaded yet, but for turning it."""
    raw = raw_mode(image)
    kinds = [MODES.get(image.mode.partition(";")[0])]
    kinds += ["16-bit" if image.format in ("PNG", "TIFF") and ";16" in raw else None]
    scale_transparency(image, raw)
    kinds += ["alpha" if image.has_transparency_data else None]
    with suppress(Exception):  # whatever Pillow stumbles on behind the first frame is no reason to lose that
        kinds += ["several frames" if getattr(image, "is_animated", False) else None]
    return tuple(dict.fromkeys(filter(None, kinds)))


def raw_mode(image: ImageFile.ImageFile) -> str:
    """How the file holds its pixels, in Pillow's words, e.g. ``RGB;16B``; known until it is loaded."""
    arguments = image.tile[0].args if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def scale_transparency(image: ImageFile.ImageFile, raw: str) -> None:
    """The colour that a PNG calls transparent, brought from the file's bits to the eight of the pixels.

    Pillow leaves that out (13.0), so that such a colour would never be met; at 16 bits grey pixels keep all of theirs.
    """
    colour = image.info.get("transparency")
    if image.format != "PNG" or colour is None:
        return
    if isinstance(colour, int) and raw in ("L;2", "L;4"):
        image.info["transparency"] = colour * (85 if raw == "L;2" else 17)
    elif isinstance(colour, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(channel >> 8 for channel in colour)


def turn_of(
    image: Image.Image, exif_of: Callable[[Image.Image], Image.Exif] = lambda image: image.getexif()
) -> Image.Transpose | None:
    """How an image has to be turned to stand upright, if at all."""
    try:
        return TURNS.get(exif_of(image).get(ORIENTATION, 1))
    except Exception:  # whatever Pillow stumbles on in metadata is no reason to lose the picture
        return None


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB of eight bits a channel; what was transparent becomes white."""
    if image.mode.startswith("I"):
        return in_bands(image, upper_byte)
    if image.has_transparency_data:
        return in_bands(image, on_white)
    return image.convert("RGB")


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
    """Of 16 bits a pixel, whatever the byte order, the upper eight (Pillow's convert would clip at 255).

    Where the file names a grey that is transparent, that is white.
    """
    pixels = np.asarray(image).clip(0, 65_535)
    grey = (pixels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[pixels == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


# ---------------------------------------------------------------------------- Pillow's moods


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's remarks on odd metadata; what matters is in the notes. Not for several threads at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def tolerance() -> Iterator[None]:
    """Let Pillow fill what a truncated file lacks; its switch is global, so it is put back at once."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def reason(fault: BaseException, head: bytes = b"") -> str:
    """Why a file is no picture: by its first bytes, or Pillow's message without the address that it mentions."""
    if isinstance(fault, Image.UnidentifiedImageError):
        return what_is_it(head) or "not an image that Pillow knows"
    return f"cannot be decoded: {message_of(fault)}"


def message_of(fault: BaseException) -> str:
    """The message of an exception on one line, or its kind where it has none."""
    if isinstance(fault, MemoryError):
        return "not enough memory"
    return " ".join(str(fault).split()) or f"Pillow fails with {type(fault).__name__}"
