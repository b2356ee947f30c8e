r"""Text that people saved with whatever they have, as lines; or a refusal with file, byte and what to save it as.

UTF-8 is read with or without a byte order mark, UTF-16 with one. A line ends at ``\n`` or ``\r\n`` and nowhere else: a
caption copied from a web page may hold U+2028, a form feed or a lone ``\r``, and to cut there would give every later
caption to another picture. Only a file without any ``\n`` ends its lines at ``\r``, as old Macs (and Excel's "CSV
(Macintosh)") do.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from t2icli.data.places import TEXT_LIMIT, no_file_inside, shown
from t2icli.documents import HEAD, what_is
from t2icli.errors import DataError

WHOLE_LIMIT = 1 << 30  # bytes of a file that is read at once; COCO's captions, the largest of them, take 60 MB
PIECE = 1 << 16  # bytes that are decoded at once
REMEDY = "save the file as UTF-8 text"
MARKS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16-LE"), (b"\xfe\xff", "UTF-16-BE"))
WIDE = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")  # the marks of UTF-32, of which the first begins like one of UTF-16
OTHERS = {
    b"PK\x03\x04": "it is an archive, as workbooks of Excel are; save the sheet as 'CSV UTF-8'",
    b"\xd0\xcf\x11\xe0": "it is a document of an old Office; save the sheet as 'CSV UTF-8'",
    b"\x1f\x8b": "it is compressed (gzip); decompress it first",
    b"%PDF": f"it is a PDF; {REMEDY}",
}


def text_of(path: Path, limit: int = WHOLE_LIMIT) -> str:
    """The text of a whole file."""
    with opened(path) as file:
        try:
            content = file.read(limit + 1)
        except OSError as fault:
            raise unreadable(path, fault) from None
    if len(content) > limit:
        raise DataError(f"{path}: is longer than {limit:,} bytes, which no file of captions is")
    return decoded(content, str(path))


def decoded(content: bytes, where: str) -> str:
    """The text of a file, or of a member of a tar, that is in memory; ``where`` names it in the message."""
    encoding, mark = encoding_of(content[:HEAD], where)
    try:
        return content[mark:].decode(encoding)
    except UnicodeDecodeError as fault:
        raise not_text(where, mark + fault.start, encoding) from None


def encoding_of(head: bytes, where: str) -> tuple[str, int]:
    """How text is encoded that begins so, and how many bytes its mark takes."""
    office = next((what for magic, what in OTHERS.items() if head.startswith(magic)), None)
    foreign = office or (what_is(head) if head else None)
    if foreign:
        raise DataError(f"{where}: should be text: {foreign}")
    if head.startswith(WIDE):
        raise DataError(f"{where}: is UTF-32, as its first bytes say; {REMEDY}")
    return next(((name, len(mark)) for mark, name in MARKS if head.startswith(mark)), ("UTF-8", 0))


def not_text(where: Path | str, place: int, encoding: str = "UTF-8") -> DataError:
    """What is said of bytes that are no text in their encoding."""
    return DataError(f"{where}: byte {place} is not {encoding}; {REMEDY}")


# ---------------------------------------------------------------------------- lines


def lines_in(text: str) -> list[str]:
    """The lines of a text, without their ends; an end at its very end begins no other line."""
    end = "\n" if "\n" in text else "\r"
    lines = text.split(end)
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def captions_in(text: str) -> list[str]:
    """One a line, as it is written; blank ones are none."""
    return [line for line in lines_in(text) if line.strip()]


def numbered_lines(
    path: Path, limit: int = TEXT_LIMIT, hint: str = "a line is of one picture"
) -> Iterator[tuple[int, str]]:
    """Lines from 1 without their ends, one in memory at a time; one of over ``limit`` bytes is not even read."""
    for number, line in enumerate(cut(pieces(path), limit), start=1):
        yield number, checked(line, path, number, limit, hint)


def cut(text: Iterator[str], limit: int) -> Iterator[str]:
    """Text that comes in pieces, as lines; one of over ``limit`` characters is the last, as far as it was read."""
    pending: list[str] = []  # the pieces of a line that has not ended
    size, end, begun = 0, "\n", False
    for piece in text:
        pending.append(piece)
        size += len(piece)
        if end not in piece and size <= limit:
            continue
        joined = "".join(pending)
        pending.clear()  # two copies of a long line would be in memory else
        if not begun and "\n" not in joined:
            end = "\r"
        begun = True
        *whole, rest = joined.split(end)
        yield from whole
        pending, size = [rest], len(rest)
        if size > limit:
            break
    *whole, last = "".join(pending).split(end if begun else "\r")
    yield from whole
    if last:
        yield last


def checked(line: str, path: Path, number: int, limit: int, hint: str) -> str:
    """A line that is text and no longer than it may be, without what ``\\r\\n`` leaves at its end."""
    if len(line) > limit or (4 * len(line) > limit and len(line.encode()) > limit):
        raise too_long(path, number, limit, hint)
    if "\0" in line:
        raise holds_nul(path, number)
    return line.removesuffix("\r")


def holds_nul(where: Path | str, number: int) -> DataError:
    """What is said of a character that no text has, but every second byte of UTF-16 is."""
    return DataError(f"{where}: line {number} holds a NUL; {REMEDY}, not as UTF-16 or UTF-32 without a mark")


def too_long(path: Path, number: int, limit: int, hint: str) -> DataError:
    """What is said of a line that no person wrote."""
    return DataError(f"{path}: line {number} is longer than {limit:,} bytes; {hint}")


def pieces(path: Path) -> Iterator[str]:
    """The text of a file, some of it at a time."""
    with opened(path) as file:
        try:
            head = file.read(HEAD)
            encoding, place = encoding_of(head, str(path))
            decoder = codecs.getincrementaldecoder(encoding)()
            raw = head[place:]
            while raw:
                begin = place - len(decoder.getstate()[0])  # of what the decoder holds back, a part of a character
                yield decoder.decode(raw)
                place += len(raw)
                raw = file.read(PIECE)
            begin = place - len(decoder.getstate()[0])
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as fault:
            raise not_text(path, begin + fault.start, encoding) from None
        except OSError as fault:
            raise unreadable(path, fault) from None


def opened(path: Path) -> BinaryIO:
    """A file that a person named. A pipe will do: a shell makes one of ``<(...)``."""
    try:
        return path.open("rb")
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise unreadable(path, fault) from None


def unreadable(path: Path, fault: OSError | ValueError) -> DataError:
    """What is said of a file that the system does not let be read."""
    if isinstance(fault, FileNotFoundError):
        return DataError(f"{path}: no such file")
    return DataError(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}")


# ---------------------------------------------------------------------------- beside a picture


def captions_beside(root: Path, path: Path, walked: bool = False) -> list[str]:
    """The lines of a picture's text file inside ``root``; a ``DataError`` says why it is not read.

    ``walked`` is that of ``no_file_inside``.
    """
    name = shown(path.name)
    reason = no_file_inside(root, path, walked)
    if reason:
        raise DataError(f"{name} {reason}")
    size = path.stat().st_size
    if size > TEXT_LIMIT:
        raise DataError(f"{name} is {size:,} bytes long; the captions of a picture may take {TEXT_LIMIT:,}")
    with opened(path) as file:
        return captions_of(file.read(TEXT_LIMIT), name)


def captions_of(content: bytes, name: str) -> list[str]:
    """The captions of one picture, from the content of a file or of a member of a tar."""
    text = decoded(content, name)
    if "\0" in text:
        raise holds_nul(name, text[: text.index("\0")].count("\n") + 1)
    return captions_in(text)
