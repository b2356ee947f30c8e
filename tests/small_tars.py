"""Tars of a few pictures."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

Member = tuple[tarfile.TarInfo | str, bytes]


def picture(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


RED = picture()


def make_tar(path: Path, members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of these members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:", format=form) as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
