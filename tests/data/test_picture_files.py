"""Which files are pictures: what is taken, what is refused, and what is passed over with a word."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from small_tars import RED, make_tar

from t2icli.data.picture_files import DRAWN, TAKEN, UNREAD, find_pictures, in_words, is_picture, kind_of_bytes
from t2icli.data.places import AGAIN, FOLDER, HIDDEN, HIDDEN_FOLDER, NOWHERE, SPECIAL
from t2icli.data.prepare import count_left_out
from t2icli.data.readers.folder import Config, read
from t2icli.data.report import left_out
from t2icli.data.tars import read_tar
from t2icli.errors import DataError


def files(root: Path, *names: str, content: bytes = RED) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize("ending", [*TAKEN, ".JPG", ".JFIF", ".Png", ".TIFF"])
def test_endings_in_any_case_are_taken(tmp_path: Path, ending: str) -> None:
    files(tmp_path, f"sub/a{ending}")
    found = find_pictures(tmp_path)
    assert (found.pictures, found.refused, found.passed_over) == ([f"sub/a{ending}"], {}, {})


def test_no_ending_is_on_two_lists() -> None:
    assert not set(TAKEN) & (UNREAD.keys() | DRAWN.keys())
    assert not UNREAD.keys() & DRAWN.keys()
    assert not is_picture("jpg") and not is_picture("a.jpg.txt")


def test_nothing_that_looks_like_a_picture_vanishes(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.HEIC", "c.heic", "c.jpg", "d.jxl", "e.svg", "._a.png", ".ipynb_checkpoints/a.png")
    files(tmp_path, "no_ending", "twitter.jpg_large", "album.png/f.png")
    files(tmp_path, "notes", "Thumbs.db", ".DS_Store", "a.txt", content=b"no picture at all")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "round.png").symlink_to("round.png")
    (tmp_path / "again").symlink_to("album.png")
    os.mkfifo(tmp_path / "pipe.png")
    found = find_pictures(tmp_path)
    assert sorted(found.pictures) == ["a.png", "album.png/f.png", "c.jpg"]
    unread = "is a picture of a kind that is not read ({}); save it as PNG or JPEG"
    assert found.refused == {
        "b.HEIC": unread.format("HEIC"),
        "d.jxl": unread.format("JPEG XL"),
        "gone.png": NOWHERE,
        "round.png": NOWHERE,
        "pipe.png": SPECIAL,
    }
    begins = "begins as PNG does, but its name has no ending of pictures"
    assert found.passed_over == {
        "c.heic": "lies there in a kind that is read, too",
        "e.svg": "is of a kind that is not read (SVG)",
        "._a.png": HIDDEN,
        ".ipynb_checkpoints": HIDDEN_FOLDER,
        "no_ending": begins,
        "twitter.jpg_large": begins,
        "album.png": FOLDER,
        "again": AGAIN,
    }
    words = in_words(found.passed_over)
    assert words.startswith(f"no_ending {begins}, and 1 more like it; album.png is a folder; ")
    assert "; e.svg is of a kind that is not read (SVG); c.heic lies there in a kind that is read, too" in words


def test_links_to_files(tmp_path: Path) -> None:
    files(tmp_path, "away.png", "root/a.png")
    root = tmp_path / "root"
    (root / "b.png").symlink_to("a.png")
    (root / "c.png").symlink_to("../away.png")
    found = find_pictures(root)
    assert (sorted(found.pictures), found.linked_out) == (["a.png", "b.png"], ["c.png"])


def test_other_files_are_had_by_their_endings(tmp_path: Path) -> None:
    files(tmp_path, "a.tar", "b.TAR.gz", "._c.tar", "d.png")
    assert find_pictures(tmp_path, others=(".tar", ".tar.gz")).others == {"a.tar": None, "b.TAR.gz": None}


def encoded(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "said"), [("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("WEBP", "WebP")])
def test_kinds_by_their_first_bytes(kind: str, said: str) -> None:
    assert kind_of_bytes(encoded(kind)) == said
    assert kind_of_bytes(encoded("TIFF")) == "TIFF"
    for head in (b"", b"a red bus", b"RIFF\0\0\0\0WAVE", b"\0" * 16):
        assert kind_of_bytes(head) is None


def test_prepare_lists_all_of_it(tmp_path: Path) -> None:
    files(tmp_path, "a.jfif", "b.jpe", "c.heic", "._a.jpg", "e.svg")
    files(tmp_path, "a.txt", "b.txt", "c.txt", content=b"a red bus")
    source = read(Config(val_share=0.0), tmp_path, 0)
    assert [record.path.name for record in source.splits["train"]] == ["a.jfif", "b.jpe"]
    assert [(line["image"], line["what"]) for line in source.left_out] == [
        ("c.heic", "image"),
        ("._a.jpg", "passed over"),
        ("e.svg", "passed over"),
    ]
    counts = count_left_out(source.left_out)
    assert counts == {"images": 1, "captions": 0, "passed_over": 2}
    assert left_out({"left_out": counts, "out": "o"}) == (
        "  left out: 1 images, 0 captions, 2 other files passed over (see o/quarantine.jsonl)"
    )


def test_a_folder_of_what_is_not_read_says_so(tmp_path: Path) -> None:
    files(tmp_path, "a.heic", "b.heic", "c.svg")
    with pytest.raises(DataError, match=r"holds no pictures .*; a.heic is a picture of a kind .* \(HEIC\)"):
        read(Config(), tmp_path, 0)


def test_tars_hold_the_same_pictures(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    members = [("a.JFIF", RED), ("a.txt", b"one"), ("b.heic", RED), ("b.txt", b"two"), ("c.heic", RED), ("c.png", RED)]
    members += [("c.txt", b"three"), ("__MACOSX/._a.png", RED), (".ipynb_checkpoints/a.png", RED), ("d.jxl", RED)]
    tar = make_tar(tmp_path / "a.tar", members)
    samples = list(read_tar(tar, lambda member, reason: said.update({member: reason})))
    assert [sample.member for sample in samples] == ["a.JFIF", "c.png"]
    assert said.keys() == {"b.heic", "d.jxl"}
    assert "is a picture of a kind that is not read (HEIC)" in said["b.heic"]
