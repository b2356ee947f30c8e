"""Pictures as networks want them: decoded, cut out, resized and encoded once."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from t2icli.data.decoding import SIDE_LIMIT, ImageError, decode, message_of, read_bytes
from t2icli.recipe import Images

JPEG_SIDE_LIMIT = 65_500  # of what is stored: libjpeg refuses more, although the format holds 65,535


@dataclass(frozen=True)
class Picture:
    """An encoded picture, and what had to be done to get it."""

    data: bytes
    height: int  # of the original, upright
    width: int
    notes: tuple[str, ...]  # those of decode


def load_picture(
    path: Path,
    rule: Images,
    crop: tuple[int, int, int, int] | None = None,
    part: tuple[int, int] | None = None,
) -> Picture:
    """Decode a file, strictly and else tolerantly, cut out what is wanted of it, resize it and encode it.

    ``part`` is the offset and the length in bytes of a picture that lies in a larger file, such as a tar.
    """
    image, notes = decode(read_bytes(path, part))
    width, height = image.size
    try:
        if crop is not None:
            image = cut_out(image, crop)
        data = encode(resize(image, rule), rule)
    except ImageError:
        raise
    except Exception as fault:  # Pillow lets through whatever it meets, see decode_exactly; no disk is touched here
        raise ImageError(f"cannot be resized or encoded: {message_of(fault)}") from None
    return Picture(data, height, width, notes)


def cut_out(image: Image.Image, crop: tuple[int, int, int, int]) -> Image.Image:
    """What of a picture lies inside a rectangle."""
    left, top, right, bottom = crop
    inside = max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ImageError(f"the part to be cut out, {crop}, lies outside of its {image.width} x {image.height} pixels")
    return image.crop(inside)


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
