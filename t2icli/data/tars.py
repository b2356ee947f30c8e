"""What lies in a WebDataset tar: pictures with their captions, each picture by its place in the file.

Members with the same key are one sample. As WebDataset defines it, a key ends at the first dot of a name without its
folders: ``a.jpg``, ``a.txt`` and ``a.seg.png`` are of the key ``a``. A sample is KEY.jpg (or another picture) with
KEY.txt or KEY.caption, one caption a line, or KEY.json, ``{"caption": "..."}`` or ``{"captions": ["...", "..."],
"class": 3}``; other keys of it are ignored. Captions are those of KEY.txt where there is one, the class is that of
KEY.json. The ending may have several parts (``a.image.jpg`` with ``a.caption.txt``); names that agree up to their last
dot (``a.2.jpg`` with ``a.2.txt``) belong together and are a sample of their own. Nothing is ever unpacked.
"""

import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from t2icli.data.captions.lists import CLASS_LIMIT, keys_of, validated, without_lone_surrogates
from t2icli.data.captions.text import captions_of, decoded
from t2icli.data.picture_files import is_picture, unread
from t2icli.data.places import TEXT_LIMIT, climbs_out, encodable, is_hidden
from t2icli.errors import DataError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
HEADER_LIMIT = 1 << 15  # bytes that the headers of one member may take; they take hundreds
PICTURE, LINES, CAPTION, JSON = "picture", ".txt", ".caption", ".json"  # kinds of members
FAULTS = (tarfile.TarError, OSError, ValueError)  # what tarfile raises on damage

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

    key: str  # by which it is put into a split
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
    unread: tuple[str, str] | None = None  # a picture of a kind that is not read, and why

    def said(self) -> list[str]:
        """Its captions, from the first kind of member that has any."""
        return next((found for kind in (LINES, CAPTION, JSON) if (found := self.captions.get(kind))), [])


def read_tar(path: Path, leave_out: Callable[[str, str], None]) -> Iterator[Sample]:
    """The samples of an uncompressed tar in the order of their first members.

    A member that cannot be used goes to ``leave_out`` with the reason; a tar that cannot be read is a ``DataError``.
    Members that are neither a picture nor text, hidden ones, and what systems put beside files are passed over.
    """
    keys: dict[str, dict[str, Gathered]] = {}
    for stem, gathered in gather(path, leave_out).items():
        keys.setdefault(key_of(stem), {})[stem] = gathered
    for key, stems in keys.items():
        for stem, sample in joined(key, stems, leave_out).items():
            name = sample.members.get(PICTURE) or next(iter(sample.members.values()), stem)
            captions = sample.said()
            if sample.reason:
                leave_out(name, sample.reason)
            elif PICTURE not in sample.members:
                leave_out(*(sample.unread or (name, "no picture of the same name is in this tar")))
            elif not captions:
                leave_out(name, "has no caption")
            else:
                yield Sample(stem, name, sample.part, tuple(captions), sample.class_index)


def key_of(name: str) -> str:
    """WebDataset's key of a member: its name up to the first dot behind the folders."""
    folders, slash, base = name.rpartition("/")
    return f"{folders}{slash}{base.partition('.')[0]}"


def joined(key: str, stems: dict[str, Gathered], leave_out: Callable[[str, str], None]) -> dict[str, Gathered]:
    """The samples of one key: a picture and a text that lack each other belong together, whatever their endings.

    What more a whole sample has, such as a mask or other data (``a.seg.png``, ``a.more.json``), is passed over.
    """
    if len(stems) == 1:
        return stems
    whole = {stem: one for stem, one in stems.items() if one.reason or (PICTURE in one.members and one.said())}
    pictures = {stem: one for stem, one in stems.items() if stem not in whole and PICTURE in one.members}
    texts = {stem: one for stem, one in stems.items() if stem not in whole and PICTURE not in one.members}
    if key in whole and PICTURE in whole[key].members:
        return {stem: one for stem, one in whole.items() if PICTURE in one.members}
    told = [one for stem, one in sorted(texts.items(), key=lambda item: item[0] != key) if one.said()]
    if not pictures or not told:
        return stems
    chosen = key if key in pictures else next(iter(pictures))
    sample = pictures.pop(chosen)
    sample.captions = told[0].captions
    classes = (one.class_index for one in (sample, *texts.values()) if one.class_index >= 0)
    sample.class_index = next(classes, -1)
    if chosen != key:  # of a.jpg, others are data about it; of a.1.jpg they are as good as it
        for other in pictures.values():
            leave_out(other.members[PICTURE], "its key has a picture already in this tar; the first is kept")
    return {**whole, key: sample}


def gather(path: Path, leave_out: Callable[[str, str], None]) -> dict[str, Gathered]:
    """What a tar says of every name without its last ending; a member that comes again goes to ``leave_out``."""
    gathered: dict[str, Gathered] = {}
    with open_tar(path) as texts:
        for member in members(path):
            name = PurePosixPath(encodable(member.name))
            kind = PICTURE if is_picture(name.name) else name.suffix.lower()
            not_read = unread(name.name)
            if (kind not in (PICTURE, LINES, CAPTION, JSON) and not not_read) or any(map(is_hidden, name.parts)):
                continue
            sample = gathered.setdefault(str(name.with_suffix("")), Gathered())
            if not_read:
                sample.unread = str(name), not_read
                continue
            if kind in sample.members:
                what = "a picture" if kind == PICTURE else f"a {kind}"
                leave_out(str(name), f"its key has {what} already in this tar; the first is kept")
                continue
            sample.members[kind] = str(name)
            reason = refusal(member)
            reason = f"{name}: {reason}" if reason else take(sample, kind, member, texts)
            sample.reason = sample.reason or reason or ""
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
    """Keep what a member says about its sample; or say why that cannot be done."""
    if kind == PICTURE:
        sample.part = (member.offset_data, member.size)
        return None
    name = sample.members[kind]
    if member.size > TEXT_LIMIT:
        return f"{name}: is {member.size:,} bytes long; the captions of a picture may take {TEXT_LIMIT:,}"
    file.seek(member.offset_data)
    content = file.read(member.size)
    try:
        if kind != JSON:
            sample.captions[kind] = captions_of(content, name)
            return None
        text = without_lone_surrogates(decoded(content, name))
        keys_of(text)
        said = validated(Description, text, "the file")
    except DataError as fault:
        return str(fault)
    except ValueError as fault:
        return f"{name}: {fault}"
    texts = said.captions if said.captions is not None else [said.caption or ""]
    sample.captions[JSON] = [caption for caption in texts if caption.strip()]
    sample.class_index = said.class_index
    return None


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
