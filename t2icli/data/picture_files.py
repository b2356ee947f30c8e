"""Which files are pictures: one list of endings and one walk, for every verb that reads a folder or a tar.

A name's ending decides. What is called a picture, or begins as one, and is not taken is listed with the reason, so that
no part of a set goes missing without a word. Hidden files and what systems put beside pictures are no part of it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from t2icli.data.places import AGAIN, FOLDER, HIDDEN, HIDDEN_FOLDER, OUT, encodable, files_below, shown
from t2icli.documents import what_is

TAKEN = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# Photographs in formats that are not read: one of them is a loss, unless it also lies there as something else.
UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"), "JPEG 2000"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), "raw"),
    ".jxl": "JPEG XL",
    ".tga": "Targa",
    ".exr": "OpenEXR",
    ".hdr": "Radiance",
    ".pfm": "floating-point",
    ".qoi": "QOI",
    ".pcx": "PCX",
    ".sgi": "SGI",
}
# Drawings, icons and documents, which often lie beside pictures and are none of the set.
DRAWN = {".svg": "SVG", ".svgz": "SVG", ".ico": "icons", ".icns": "icons", ".psd": "Photoshop", ".xcf": "GIMP"}
DRAWN |= {".eps": "PostScript", ".ai": "Illustrator", ".pdf": "PDF"}
# What lies beside pictures and is not looked into.
COMPANIONS = (
    *(".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".md", ".xml", ".yaml", ".yml", ".toml", ".html", ".log"),
    *(".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors", ".pickle", ".pkl", ".h5", ".hdf5", ".parquet", ".db"),
    *(".tar", ".gz", ".tgz", ".zip", ".py", ".sh", ".ini", ".lock"),
)
# First bytes, at their offset, and what begins so.
MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1")),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
)
HEAD = 16  # bytes that MAGIC looks at
INSTEAD = "save it as PNG or JPEG"


def is_picture(name: str) -> bool:
    """Whether a name, hidden or not, ends as those of pictures that are read."""
    return name.lower().endswith(TAKEN)


def unread(name: str) -> str | None:
    """Why a file of this name is not read although it is a photograph, if so."""
    kind = UNREAD.get(PurePosixPath(name).suffix.lower())
    return f"is a picture of a kind that is not read ({kind}); {INSTEAD}" if kind else None


def kind_of_bytes(head: bytes) -> str | None:
    """What kind of picture begins with these bytes, if one does."""
    return next((kind for offset, magic, kind in MAGIC if head.startswith(magic, offset)), None)


def what_is_it(head: bytes) -> str | None:
    """What a file is that Pillow does not take for a picture, by its first bytes; ``None`` where they tell nothing."""
    kind = kind_of_bytes(head)
    return f"is {kind}, which cannot be read here; {INSTEAD}" if kind else what_is(head)


@dataclass
class Found:
    """What lies in a folder and below it, by names inside it with slashes."""

    pictures: list[str] = field(default_factory=list)
    linked_out: list[str] = field(default_factory=list)  # pictures that are links to files outside of the folder
    refused: dict[str, str] = field(default_factory=dict)  # what is called a picture and cannot be one: why
    passed_over: dict[str, str] = field(default_factory=dict)  # what may look like one, and is not meant: why
    others: dict[str, str | None] = field(default_factory=dict)  # with the endings asked for: why it is no file inside


def find_pictures(root: Path, others: tuple[str, ...] = ()) -> Found:
    """Every picture below a folder, in no particular order; besides, files with other endings."""
    found = Found()
    not_read: dict[str, str] = {}
    for below, file, reason in files_below(root, root):
        name, ending = f"{below}{file}", PurePosixPath(file).suffix.lower()
        if reason in (AGAIN, HIDDEN_FOLDER) or (reason == HIDDEN and is_picture(file)):
            found.passed_over[encodable(name)] = reason
        elif reason == HIDDEN:
            continue
        elif others and file.lower().endswith(others) and reason != FOLDER:
            found.others[name] = reason
        elif is_picture(file):
            sort_in(found, name, reason)
        elif reason is None and ending in UNREAD:
            not_read[name] = unread(file) or ""
        elif reason is None and ending in DRAWN:
            found.passed_over[encodable(name)] = f"is of a kind that is not read ({DRAWN[ending]})"
        elif reason is None and ending not in COMPANIONS and (kind := kind_of_bytes(first_bytes(root / name))):
            found.passed_over[encodable(name)] = f"begins as {kind} does, but its name has no ending of pictures"
    stems = {name.rpartition(".")[0] for name in found.pictures}
    for name, why in not_read.items():
        if name.rpartition(".")[0] in stems:
            found.passed_over[encodable(name)] = "lies there in a kind that is read, too"
        else:
            found.refused[encodable(name)] = why
    return found


def sort_in(found: Found, name: str, reason: str | None) -> None:
    """Put a file, or what else is called like a picture, where it belongs."""
    if encodable(name) != name:
        found.refused[encodable(name)] = "its name is not UTF-8"
    elif reason is None:
        found.pictures.append(name)
    elif reason == OUT:
        found.linked_out.append(name)
    elif reason == FOLDER:
        found.passed_over[name] = reason
    else:
        found.refused[name] = reason


def first_bytes(path: Path) -> bytes:
    """How a file begins; nothing where it cannot be opened, for nobody asked for it by name."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def in_words(reasons: Mapping[str, str]) -> str:
    """Files with their reasons, each reason once and with one of its files."""
    counts = Counter(reasons.values())
    first = {reason: name for name, reason in sorted(reasons.items(), reverse=True)}
    return "; ".join(
        f"{shown(first[reason])} {reason}" + (f", and {count - 1:,} more like it" if count > 1 else "")
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
