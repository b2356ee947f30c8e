r"""Which picture a name in a list means: exactly, or else as the same name is written elsewhere.

Lists come from ``find`` (``./a.png``), from Windows (``sub\a.png``), from Macs (accents in another Unicode form), from
web pages (``a%20b.png``) and from people who change the case of an ending. Such a name is matched where one picture
alone can be meant, and counted; else the message says what may be meant.
"""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from t2icli.data.places import climbs_out, shown

LOOKED_FOR = 20  # names for which the most similar one is looked for; each takes a look at every picture
SIMILAR = 0.9  # of the letters in common, in order


class NotMatched(Exception):
    """A name that means no picture, or may mean several; its text is the reason, ``remedy`` what may be meant."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.remedy = remedy


class Names:
    """The pictures below a folder, by what lists may call them."""

    def __init__(self, folder: Path, pictures: Iterable[str]) -> None:
        self.pictures = frozenset(pictures)
        self.folders = {folder.absolute().as_posix(), os.path.realpath(folder)}
        self.otherwise: Counter[str] = Counter()  # what names differ in -> how many
        self.example = ""
        self.looked = 0
        self.indices: dict[Callable[[str], str], dict[str, list[str]]] = {}

    def find(self, name: str) -> str:
        """The picture that a name means; ``NotMatched`` says why there is none."""
        if name in self.pictures:
            return name
        plain = self.plain(name)
        if climbs_out(plain):
            raise NotMatched("its name leads out of the folder")
        for what, spelt, rule in self.ways(plain):
            found = self.index(rule).get(rule(spelt), [])
            if len(found) > 1:
                several = " or ".join(map(shown, sorted(found)[:2]))
                raise NotMatched("no picture is called exactly so", f"write {several}, whichever is meant")
            if found:
                self.otherwise[what] += 1
                self.example = self.example or f"{shown(name)} for {shown(found[0])}"
                return found[0]
        near = self.nearest(plain)
        remedy = f"did you mean {shown(near)}?" if near else ""
        raise NotMatched("is described, but no such picture is there", remedy)

    def ways(self, plain: str) -> Iterator[tuple[str, str, Callable[[str], str]]]:
        """What a name may differ in, from the smallest difference on; how it reads then, and what is compared."""
        yield "slashes", plain, str
        yield "Unicode form", plain, composed
        yield "percent signs", unquote(plain), composed
        yield "case", plain, caseless
        yield "case", unquote(plain), caseless

    def plain(self, name: str) -> str:
        """A name as a path from the folder on: slashes forward, none but the parts that say where."""
        path = name.strip().replace("\\", "/")
        for folder in self.folders:
            if path.startswith(f"{folder}/"):
                path = path.removeprefix(f"{folder}/")
        return str(PurePosixPath(path)) if path else ""

    def index(self, rule: Callable[[str], str]) -> dict[str, list[str]]:
        """Pictures by their names under a rule."""
        if rule not in self.indices:
            index: dict[str, list[str]] = {}
            for picture in self.pictures:
                index.setdefault(rule(picture), []).append(picture)
            self.indices[rule] = index
        return self.indices[rule]

    def nearest(self, plain: str) -> str | None:
        """The one picture that a name seems to mean: in another folder, with another ending, or much alike."""
        for rule in (base, stem):
            found = self.index(rule).get(rule(plain), [])
            if len(found) == 1:
                return found[0]
        self.looked += 1
        if self.looked > LOOKED_FOR:
            return None
        digits = re.findall(r"[0-9]+", plain)  # 0042.png is no slip of 0043.png
        likely = sorted(picture for picture in self.pictures if re.findall(r"[0-9]+", picture) == digits)
        return next(iter(difflib.get_close_matches(plain, likely, n=1, cutoff=SIMILAR)), None)

    def note(self, listing: str) -> list[str]:
        """What a result says of names that were matched although they are written otherwise."""
        if not self.otherwise:
            return []
        ways = ", ".join(f"{count:,} by {what}" for what, count in self.otherwise.items())
        return [
            f"{self.otherwise.total():,} names in {listing} are written otherwise than the pictures' and were matched "
            f"({ways}), e.g. {self.example}"
        ]


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC); Macs write names decomposed (NFD)."""
    return unicodedata.normalize("NFC", name)


def caseless(name: str) -> str:
    """A name without regard to case."""
    return composed(composed(name).casefold())


def base(name: str) -> str:
    """A name without its folder."""
    return caseless(PurePosixPath(name).name)


def stem(name: str) -> str:
    """The same without its ending."""
    return caseless(PurePosixPath(name).stem)


# ---------------------------------------------------------------------------- order


def in_natural_order(names: Sequence[str]) -> list[str]:
    """Names as people count: 2.png before 10.png, in every subfolder too."""
    return sorted(names, key=lambda name: ([counted(part) for part in PurePosixPath(name).parts], name))


def counted(part: str) -> list[tuple[int, int]]:
    """A part of a path letter by letter, but for its numbers, which are compared as such where two meet."""
    pieces = re.findall(r"[0-9]+|[^0-9]", part)
    return [(ord("0"), int(piece)) if "0" <= piece[0] <= "9" else (ord(piece), 0) for piece in pieces]
