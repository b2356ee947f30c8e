"""What lies in a WebDataset tar: pictures with their captions, each picture by its place in the file.

Members with the same stem are one sample: KEY.jpg (or another picture) with KEY.txt, one caption a line, or
KEY.json, ``{"caption": "..."}`` or ``{"captions": ["...", "..."], "class": 3}``; other keys of it are ignored. Captions
are those of KEY.txt where there is one, the class is that of KEY.json. Nothing is ever unpacked.
"""

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from t2icli.data.images import SUFFIXES
from t2icli.data.places import TEXT_LIMIT, captions_in, climbs_out, encodable
from t2icli.errors import DataError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
HEADER_LIMIT = 1 << 15  # bytes that the headers of one member may take; they take hundreds
CLASS_LIMIT = 2**31 - 1  # what a shard's i4 holds
PICTURE, LINES, JSON = "picture", ".txt", ".json"  # kinds of members
FAULTS = (tarfile.TarError, OSError, ValueError)  # what tarfile raises on damage

# Every escape of JSON, so that an escaped backslash before a "u" is not taken for one; a lone half of a pair is named.
ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


Result = TypeVar("Result")


class Description(BaseModel):
    """KEY.json."""

    model_config = ConfigDict(strict=True)

    caption: str | None = None
    captions: list[str] | None = None
    class_index: int = Field(-1, alias="class", ge=-1, le=CLASS_LIMIT)


@dataclass(frozen=True)
class Sample:
    """A picture in a tar."""

    key: str  # the member's name without its ending
    member: str
    part: tuple[int, int]  # offset and length in bytes
    captions: tuple[str, ...]
    class_index: int


@dataclass(slots=True)
class Gathered:
    """The members of one key, as they come."""

    members: dict[str, str] = field(default_factory=dict)  # kind -> name
    captions: dict[str, list[str]] = field(default_factory=dict)  # kind -> what it says
    part: tuple[int, int] = (0, 0)
    class_index: int = -1
    reason: str = ""  # why the sample cannot be used


def read_tar(path: Path, leave_out: Callable[[str, str], None]) -> Iterator[Sample]:
    """The samples of an uncompressed tar in the order of their first members.

    A member that cannot be used goes to ``leave_out`` with the reason; a tar that cannot be read is a ``DataError``.
    Members that are neither a picture nor text, and hidden ones, are passed over.
    """
    for key, sample in gather(path, leave_out).items():
        name = sample.members.get(PICTURE) or next(iter(sample.members.values()))
        captions = sample.captions.get(LINES) or sample.captions.get(JSON)
        if sample.reason:
            leave_out(name, sample.reason)
        elif PICTURE not in sample.members:
            leave_out(name, "no picture of the same name is in this tar")
        elif not captions:
            leave_out(name, "has no caption")
        else:
            yield Sample(key, name, sample.part, tuple(captions), sample.class_index)


def gather(path: Path, leave_out: Callable[[str, str], None]) -> dict[str, Gathered]:
    """What a tar says of every key; a member that comes a second time goes to ``leave_out``."""
    gathered: dict[str, Gathered] = {}
    with open_tar(path) as texts:
        for member in members(path):
            name = PurePosixPath(encodable(member.name))
            kind = PICTURE if name.suffix.lower() in SUFFIXES else name.suffix.lower()
            if kind not in (PICTURE, LINES, JSON) or name.name.startswith("."):
                continue
            sample = gathered.setdefault(str(name.with_suffix("")), Gathered())
            if kind in sample.members:
                what = "a picture" if kind == PICTURE else f"a {kind}"
                leave_out(str(name), f"its key has {what} already in this tar; the first is kept")
                continue
            sample.members[kind] = str(name)
            reason = refusal(member) or take(sample, kind, member, texts)
            if reason:
                sample.reason = sample.reason or f"{name}: {reason}"
    return gathered


def refusal(member: tarfile.TarInfo) -> str | None:
    """Why a member is no plain file inside the tar, if so."""
    if encodable(member.name) != member.name:
        return "its name is not UTF-8"
    if climbs_out(member.name):
        return "its name leads out of the tar"
    if member.issym() or member.islnk():
        return "is a link"
    if member.isdir():
        return "is a folder"
    if not member.isfile():
        return "is a device or a pipe"
    if member.issparse():
        return "is sparse, so its bytes do not lie in one piece"
    return None


def take(sample: Gathered, kind: str, member: tarfile.TarInfo, file: io.BufferedReader) -> str | None:
    """Keep what a member says about its sample; or why that cannot be done."""
    if kind == PICTURE:
        sample.part = (member.offset_data, member.size)
        return None
    if member.size > TEXT_LIMIT:
        return f"is {member.size:,} bytes long; the captions of a picture may take {TEXT_LIMIT:,}"
    file.seek(member.offset_data)
    try:
        text = file.read(member.size).decode("utf-8-sig")
        if kind == LINES:
            sample.captions[LINES] = captions_in(text)
            return None
        said = Description.model_validate_json(without_lone_surrogates(text))
    except UnicodeDecodeError as fault:
        return f"byte {fault.start} is not UTF-8"
    except ValidationError as fault:
        first = fault.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    texts = said.captions if said.captions is not None else [said.caption or ""]
    sample.captions[JSON] = [caption for caption in texts if caption.strip()]
    sample.class_index = said.class_index
    return None


def without_lone_surrogates(json: str) -> str:
    """JSON in which a half of a character, as is left where text was cut inside an emoji, is a space."""
    return ESCAPE.sub(lambda escape: " " if escape["lone"] else escape[0], json)


# ---------------------------------------------------------------------------- the file


class Headers(io.BufferedReader):
    """A tar as tarfile reads its headers from it; one that claims to be gigabytes long does not get them."""

    left = HEADER_LIMIT

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, while the member's headers have not had their share."""
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError(f"a member's headers are longer than {HEADER_LIMIT:,} bytes")
        self.left -= size
        return super().read(size)


def open_tar(path: Path) -> io.BufferedReader:
    """The file, refused if it is compressed."""
    try:
        file = path.open("rb")
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror}") from None
    begin = file.read(max(map(len, COMPRESSED)))
    for magic, kind in COMPRESSED.items():
        if begin.startswith(magic):
            file.close()
            raise DataError(
                f"{path}: is compressed ({kind}), so pictures in it cannot be found by their place; "
                "decompress it to a plain .tar"
            )
    return file


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Every member, read once from front to back; none is kept in memory."""
    with Headers(io.FileIO(path)) as file:
        tar = faultless(path, lambda: tarfile.TarFile(fileobj=file, mode="r", encoding="utf-8"))
        while (member := faultless(path, tar.next)) is not None:
            if tar.offset < member.offset_data:  # else a negative size would have tarfile read in a circle
                raise DataError(f"{path}: member {member.name!r} has the size {member.size}; the tar is damaged")
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
            file.left = HEADER_LIMIT
            yield member
        file.left = HEADER_LIMIT
        # tarfile takes a damaged header for the end, and does not look beyond the end
        file.seek(tar.offset)
        if file.read(HEADER_LIMIT).strip(b"\0"):
            raise DataError(
                f"{path}: at byte {tar.offset:,} stands neither a member nor the end of the tar; "
                "it is damaged, or several tars were put one behind the other"
            )


def faultless(path: Path, step: Callable[[], Result]) -> Result:
    """What tarfile gives, its many ways to fail made one."""
    try:
        return step()
    except FAULTS as fault:
        raise DataError(f"{path}: is no whole tar: {fault}; was it cut short?") from None
