"""Names in lists against names on the disk: exactly, or as the same name is written elsewhere."""

import unicodedata
from pathlib import Path

import pytest

from t2icli.data.captions.names import LOOKED_FOR, Names, NotMatched, in_natural_order


def names(*pictures: str, folder: Path = Path("/data/pics")) -> Names:
    return Names(folder, pictures)


def reason(known: Names, name: str) -> str:
    with pytest.raises(NotMatched) as caught:
        known.find(name)
    return str(caught.value)


NFC, NFD = (unicodedata.normalize(form, "sub/café Å.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("picture", "name", "what"),
    [
        ("a.png", "a.png", None),
        ("sub/a.png", "./sub/a.png", "slashes"),
        ("sub/a.png", "sub\\a.png", "slashes"),
        ("sub/a.png", ".\\sub\\a.png", "slashes"),
        ("sub/a.png", "sub//a.png", "slashes"),
        ("sub/a.png", " sub/a.png ", "slashes"),
        ("sub/a.png", "/data/pics/sub/a.png", "slashes"),
        ("a\\b.png", "a\\b.png", None),  # a file may be called so
        (NFC, NFD, "Unicode form"),
        (NFD, NFC, "Unicode form"),
        (NFD, f".\\{NFC}", "Unicode form"),
        ("sub/a b%.png", "sub/a%20b%25.png", "percent signs"),
        ("a%20b.png", "a%20b.png", None),
        (NFC, "sub/caf%C3%A9%20%C3%85.jpg", "percent signs"),
        ("IMG_1.JPG", "IMG_1.jpg", "case"),
        ("img 1.jpg", "IMG%201.JPG", "case"),
        (NFC, NFD.upper(), "case"),
        ("STRASSE.png", "straße.png", "case"),
    ],
)
def test_names_that_are_matched(picture: str, name: str, what: str | None) -> None:
    known = names(picture, "other.png")
    assert known.find(name) == picture
    assert known.otherwise == ({what: 1} if what else {})
    note = "".join(known.note("c.csv"))
    assert ("1 names in c.csv are written otherwise than the pictures' and were matched (1 by" in note) == bool(what)


def test_a_relative_folder_and_one_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    known = names("a.png", folder=Path("link"))
    for name in (tmp_path / "link" / "a.png", tmp_path / "real" / "a.png"):
        assert known.find(str(name)) == "a.png"


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "/data/a.png", "sub/../a.png", "..\\a.png", "/data/pics/../a.png"]
)
def test_names_that_lead_out(name: str) -> None:
    assert reason(names("a.png", "sub/a.png", "passwd"), name) == "its name leads out of the folder"


def test_what_may_mean_several_is_refused() -> None:
    known = names("A.png", "a.png", NFC, NFD)
    assert known.find("A.png") == "A.png" and known.find(NFD) == NFD  # exactly is exactly
    assert reason(names("A.png", "a.PNG"), "a.png") == (
        "no picture is called exactly so; write A.png or a.PNG, whichever is meant"
    )
    assert "write " in reason(known, f"./{NFC.upper()}")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("a-picture.png", "sub/a-picture.png"),  # the folder is missing
        ("pics/sub/a-picture.png", "sub/a-picture.png"),  # or is there once more
        ("C:\\pics\\a-picture.png", "sub/a-picture.png"),
        ("sub/a-picture.jpg", "sub/a-picture.png"),  # another ending
        ("sub/a-pictrue.png", "sub/a-picture.png"),  # a slip
    ],
)
def test_the_likely_name_is_said(name: str, near: str) -> None:
    known = names("sub/a-picture.png", "b.png", "c.png")
    assert reason(known, name) == f"is described, but no such picture is there; did you mean {near}?"


def test_where_nothing_is_like_it_nothing_is_guessed() -> None:
    known = names("a.jpg", "sub/b.png", "x/b.png", "many_pictures_0042.png")
    for name in ("gone.jpg", "", "b.png", "zzz", "many_pictures_0043.png"):
        assert reason(known, name) == "is described, but no such picture is there"


def test_likely_names_are_not_looked_for_without_end() -> None:
    known = names("sub/a-picture.png")
    found = [reason(known, "sub/a-pictrue.png") for _ in range(LOOKED_FOR + 1)]
    assert "did you mean" in found[-2] and "did you mean" not in found[-1]


@pytest.mark.parametrize(
    "ordered",
    [
        ["1.png", "2.png", "10.png", "100.png"],
        ["1/2.png", "1/10.png", "2/1.png", "10/1.png"],
        ["01.png", "1.png", "02.png", "2.png"],
        ["a1b2.png", "a1b10.png", "a2b1.png", "b0.png"],
        ["a b.png", "a.png", "a1.png", "a_.png", "b.png"],  # as plain letters have it, where no two numbers meet
        ["000.png", "001.png", "002.png"],
        ["9" * 200 + ".png", "1" + "0" * 200 + ".png"],
    ],
)
def test_natural_order(ordered: list[str]) -> None:
    assert in_natural_order(list(reversed(ordered))) == ordered
