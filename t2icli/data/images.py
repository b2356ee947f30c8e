"""Pictures as people have them, turned into pictures as networks want them: RGB, upright, resized, encoded once."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from t2icli.recipe import Images

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What Pillow may try, whatever a file's name is: it would have Ghostscript run an EPS, for one.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
FILE_LIMIT = 1 << 30  # bytes; more than the most pixels that Pillow decodes take without compression
SIDE_LIMIT = 65_535  # what the schema's u2 holds, and nearly what JPEG allows
ORIENTATION = 0x0112  # the EXIF tag
MODES = {"L": "greyscale", "1": "greyscale", "CMYK": "CMYK", "P": "palette", "I": "16-bit"}
READABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError, Image.DecompressionBombError)


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
    if max(width, height) > SIDE_LIMIT:
        raise ImageError(f"{width} x {height} pixels: no side may exceed {SIDE_LIMIT}")
    if crop is not None:
        image = cut_out(image, crop)
    return Picture(encode(resize(image, rule), rule), height, width, notes)


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
    """An upright RGB image, and notes on how it was had."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; what matters is counted in the notes
        try:
            return upright_rgb(open_image(raw))
        except READABLE as strict:
            try:
                with tolerance():
                    image, notes = upright_rgb(open_image(raw))
            except READABLE:
                raise ImageError(reason(strict)) from None
            return image, (*notes, "truncated")


def open_image(raw: bytes) -> Image.Image:
    """The whole first frame, decoded."""
    image = Image.open(io.BytesIO(raw), formats=FORMATS)
    image.load()
    return image


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
    text = " ".join(str(fault).split()) or type(fault).__name__
    return f"cannot be decoded: {text}"


def upright_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Turn as EXIF says and convert to RGB; what was transparent becomes white."""
    kind = MODES.get(image.mode.partition(";")[0])
    notes = [kind] if kind else []
    try:
        turned = image.getexif().get(ORIENTATION, 1) not in (0, 1)
        upright = ImageOps.exif_transpose(image) if turned else image
    except (OSError, ValueError, SyntaxError, KeyError, TypeError):
        turned, upright = False, image  # metadata that cannot be read is no reason to lose the picture
    if turned:
        notes.append("rotated")
    if upright.has_transparency_data:
        notes.append("alpha")
        layered = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    elif upright.mode.startswith("I"):
        # 16 bits a pixel, whatever the byte order: the upper eight are kept (Pillow's convert would clip at 255)
        upright = Image.fromarray((np.asarray(upright).clip(0, 65_535) >> 8).astype(np.uint8))
    elif upright.mode == "F":
        raise ValueError("pixels are floating-point numbers; save it with 8 bits per channel")
    return upright.convert("RGB"), tuple(notes)


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
    if max(target) > SIDE_LIMIT:
        raise ImageError(f"{width} x {height} pixels is too narrow to be {size} pixels on its shorter side")
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
