"""Pictures in files: the ending of a name decides the format, and what is known of a picture goes with it.

PNG and WebP keep every pixel; JPEG cannot. PNG holds each fact as a text field of its own. JPEG and WebP hold the
caption as EXIF's description, for people, and all facts as JSON in EXIF's comment, for programs.
"""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from t2icli.errors import UserError
from t2icli.storage import is_stream, refuse_unwritable, write_atomically

Facts = Mapping[str, object]  # name -> value; the one named "caption" is what the picture shows

CAPTION = "caption"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SIDE_LIMIT = 16_000  # pixels; WebP's own limit is 16,383
# EXIF in a JPEG has 65,533 bytes. A letter takes 12 of them at most in JSON, where all letters are written in ASCII,
# and four in the description.
EXIF_LETTERS = 3_900


def format_of(path: Path, option: str) -> str:
    """Pillow's name of the format that a name's ending asks for; a pipe or a device without an ending gets a PNG."""
    found = FORMATS.get(path.suffix.lower())
    if found is not None:
        return found
    if not path.suffix and is_stream(path):
        return "PNG"
    raise UserError(f"{option} {path}: pictures are written as {in_words()}; name a file that ends so")


def in_words() -> str:
    """The endings, for a message."""
    *others, last = FORMATS
    return f"{', '.join(others)} or {last}"


def refuse_no_picture(path: Path, option: str) -> None:
    """Refuse a place where no picture can be written, before the work that makes it."""
    refuse_unwritable(path)
    format_of(path, option)


def write_picture(
    path: Path,
    image: Image.Image,
    facts: Facts,
    write: Callable[[Path, Callable[[Path], object]], None] = write_atomically,
) -> None:
    """Write a picture with what is known of it; ``write`` is storage's way for old names, or the one for new ones."""
    # encoded in memory: where a disk is full, Pillow's encoders raise errors that do not say so
    content = encoded(image, format_of(path, "picture"), facts)
    write(path, lambda temporary: temporary.write_bytes(content))


def encoded(image: Image.Image, name: str, facts: Facts) -> bytes:
    """The bytes of a picture in one of the formats."""
    file = io.BytesIO()
    if name == "PNG":
        info = PngInfo()
        for key, value in facts.items():
            info.add_itxt(key, str(value))
        image.save(file, "PNG", pnginfo=info)
    elif name == "JPEG":
        image.save(file, "JPEG", quality=95, subsampling=0, exif=exif(facts))
    else:
        image.save(file, "WEBP", lossless=True, exif=exif(facts))
    return file.getvalue()


def exif(facts: Facts) -> Image.Exif:
    """The facts as EXIF: a caption that is too long for it ends in dots."""
    known = dict(facts)
    caption = str(known.get(CAPTION, ""))
    if len(caption) > EXIF_LETTERS:
        caption = caption[: EXIF_LETTERS - 1] + "…"
    if caption:
        known[CAPTION] = caption
    found = Image.Exif()
    found[ExifTags.Base.ImageDescription] = caption.encode()
    comment = b"ASCII\0\0\0" + json.dumps(known).encode("ascii")
    found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return found
