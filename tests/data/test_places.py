"""Files under a user's folder: what a name may be, and where links lead."""

import os
from pathlib import Path

import pytest

from t2icli.data.places import (
    AGAIN,
    FOLDER,
    HIDDEN,
    HIDDEN_FOLDER,
    NOWHERE,
    OUT,
    SPECIAL,
    Folders,
    climbs_out,
    encodable,
    files_below,
    leads_out,
    no_file_inside,
    refuse_links,
    refuse_unlisted,
    shown,
    strange,
    unsafe,
)
from t2icli.errors import DataError


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../x.jpg",
        "a/../../x.jpg",
        "/etc/passwd",
        "..\\x.jpg",
        "C:\\x.jpg",
        "a\nb.jpg",
        "a\0.jpg",
        "",
        "\ud800.jpg",
    ],
)
def test_names_that_lead_elsewhere(name: str) -> None:
    assert unsafe(name)


@pytest.mark.parametrize("name", ["a.jpg", "part 1/a.jpg", "..a.jpg", "été.jpg", "a..b/c.jpg"])
def test_names_that_are_fine(name: str) -> None:
    assert not unsafe(name)


def test_names_are_shown_short_and_printable() -> None:
    assert shown("a.jpg") == "a.jpg"
    assert shown("a\n\u202eb") == r"'a\n\u202eb'"
    assert len(shown("x" * 100_000)) < 100
    assert shown("\ud800").encode()


def test_what_names_say_by_themselves() -> None:
    assert climbs_out("../a.jpg") and climbs_out("/a.jpg") and not climbs_out("a\n\\..b.jpg")
    assert strange("a\u2028b") and not strange("\u202ea b")
    assert encodable("a\udcff\n") == "a\\udcff\n"


def test_files_inside_and_links_out(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    (root / "folder").mkdir(parents=True)
    away.mkdir()
    (away / "a.txt").write_text("a secret")
    (root / "folder" / "a.txt").write_text("one\n\ntwo")
    (root / "inner").symlink_to("folder")
    (root / "outer").symlink_to(away)
    (root / "gone.txt").symlink_to("nowhere.txt")
    (root / "circle.txt").symlink_to("circle.txt")
    (root / "away.txt").symlink_to(away / "a.txt")
    os.mkfifo(root / "pipe.txt")
    expected = {
        "folder/a.txt": None,
        "inner/a.txt": None,
        "outer/a.txt": "is a symbolic link out of the folder",
        "away.txt": "is a symbolic link out of the folder",
        "gone.txt": "is a symbolic link that leads nowhere",
        "circle.txt": "is a symbolic link that leads nowhere",
        "folder": "is a folder",
        "pipe.txt": "is a pipe, a socket or a device",
        "none.txt": "is not there",
        "a\0.txt": "is not there",
        "x" * 5_000: "is not there",
        "gone.txt/a.txt": "is not there",
    }
    assert {name: no_file_inside(root, root / name) for name in expected} == expected
    assert no_file_inside(root, root / "away.txt", walked=True) == "is a symbolic link out of the folder"
    assert leads_out(root, root / "outer" / "a.txt") and not leads_out(root, root / "inner" / "a.txt")
    refuse_links(root, ["inner", "none"])
    with pytest.raises(DataError, match="outer: is a symbolic link that leads out of"):
        refuse_links(root, ["inner", "outer"])
    with pytest.raises(DataError, match="root/outer: is a symbolic link to a folder outside of .*; put the"):
        list(files_below(root, root))
    (root / "outer").unlink()
    found = sorted((f"{folder}{name}", reason) for folder, name, reason in files_below(root, root))
    assert found == [
        ("away.txt", OUT),
        ("circle.txt", NOWHERE),
        ("folder", FOLDER),
        ("folder/a.txt", None),
        ("gone.txt", NOWHERE),
        ("inner", FOLDER),
        ("inner", AGAIN),
        ("pipe.txt", SPECIAL),
    ]
    folders = Folders(root, ["folder"])
    assert folders.refusal("folder", "./a.txt", "a list") is None
    assert folders.refusal("folder", "b.txt", "a list") == "listed in a list, but there is no folder/b.txt"


def seen(root: Path, top: Path | None = None) -> dict[str, str | None]:
    """What lies below a folder, folders apart, each name once."""
    found = [(f"{below}{name}", reason) for below, name, reason in files_below(root, top or root) if reason != FOLDER]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_linked_folders_are_followed_without_circles(tmp_path: Path) -> None:
    for name in ("a/x", "a/deep/y", "b/z", ".store/v", ".store/more/w"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "0").symlink_to("a")  # comes first by its name, and is the same folder
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    (tmp_path / "v").symlink_to(".store")  # is read under no other name
    (tmp_path / ".store" / "more" / "back").symlink_to("..")
    again = ("0", "a/up", "a/self", "a/to_b", "b/to_a", "v/more/back")
    files = ("a/x", "a/deep/y", "b/z", "v/v", "v/more/w")
    assert seen(tmp_path) == {".store": HIDDEN_FOLDER} | dict.fromkeys(again, AGAIN) | dict.fromkeys(files)
    # from a folder inside the root: what the links lead to is read, once
    assert seen(tmp_path, tmp_path / "b") == {"z": None, "to_a/x": None, "to_a/deep/y": None} | {
        "to_a/self": AGAIN,
        "to_a/to_b": AGAIN,
        "to_a/up/.store": HIDDEN_FOLDER,
        "to_a/up/0": AGAIN,
        "to_a/up/v/v": None,
        "to_a/up/v/more/w": None,
        "to_a/up/v/more/back": AGAIN,
    }


def test_what_is_hidden(tmp_path: Path) -> None:
    for name in ("._a.jpg", ".ipynb_checkpoints/a.jpg", "__MACOSX/._a.jpg", "@eaDir/a.jpg", "a.jpg", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert seen(tmp_path) == {
        "a.jpg": None,
        "._a.jpg": HIDDEN,
        "b/.DS_Store": HIDDEN,
        ".ipynb_checkpoints": HIDDEN_FOLDER,
        "__MACOSX": HIDDEN_FOLDER,
        "@eaDir": HIDDEN_FOLDER,
    }


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: the folder cannot be listed: No such file or directory"):
        list(files_below(tmp_path, tmp_path / "none"))
    with pytest.raises(DataError, match=r"^a\\udcff: the folder cannot be listed: Permission denied"):
        refuse_unlisted(PermissionError(13, "Permission denied", "a\udcff"))
