"""WebDataset tars: what a tar holds and where, what is left out, and tars that were made to do harm."""

import json
import resource
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tars import RED, make_tar, picture

from t2icli.data.decoding import ImageError
from t2icli.data.images import load_picture
from t2icli.data.places import TEXT_LIMIT
from t2icli.data.tars import HEADER_LIMIT, Sample, read_tar
from t2icli.errors import DataError
from t2icli.recipe import Images


def special(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def samples(path: Path) -> tuple[list[Sample], dict[str, str]]:
    """The samples of a tar, and the reasons by the member that was left out."""
    left_out: dict[str, str] = {}
    found = list(read_tar(path, lambda member, reason: left_out.update({member: reason})))
    return found, left_out


def fault_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        samples(path)
    return str(caught.value)


# ---------------------------------------------------------------------------- what is in it


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_and_their_places(tmp_path: Path, form: int) -> None:
    blue, long = picture("blue"), "x" * 90 + "/" + "y" * 95
    path = make_tar(
        tmp_path / "a.tar",
        [
            ("0001.png", RED),
            ("0001.txt", b"\xef\xbb\xbfone\r\n\r\ntwo\rstill\xe2\x80\xa8two\n"),
            ("sub/2.json", json.dumps({"captions": ["four", " ", "five"], "class": 3, "url": "more"}).encode()),
            ("sub/2.JPEG", blue),
            ("./3.webp", b"any bytes"),
            ("3.json", b'{"caption": "six"}'),
            (f"{long}.png", blue),
            (f"{long}.txt", b"seven"),
            ("4.png", RED),
            ("4.json", b'{"caption": "not taken", "class": 7}'),
            ("4.txt", b"eight"),
            ("notes", b"passed over"),
            ("._4.png", b"passed over"),
            special("folder", tarfile.DIRTYPE),
        ],
        form,
    )
    found, left_out = samples(path)
    assert [(s.key, s.member, s.captions, s.class_index) for s in found] == [
        ("0001", "0001.png", ("one", "two\rstill\u2028two"), -1),
        ("sub/2", "sub/2.JPEG", ("four", "five"), 3),
        ("3", "3.webp", ("six",), -1),
        (long, f"{long}.png", ("seven",), -1),
        ("4", "4.png", ("eight",), 7),
    ]
    content = path.read_bytes()
    assert [content[at : at + length] for at, length in (s.part for s in found)] == [RED, blue, b"any bytes", blue, RED]
    assert left_out == {}


def test_members_that_are_left_out(tmp_path: Path) -> None:
    sparse = b"9\n"  # stands for a map of holes
    info = tarfile.TarInfo("sparse.png")
    info.pax_headers = {"GNU.sparse.map": "0,1,4,1", "GNU.sparse.size": "5", "GNU.sparse.name": "sparse.png"}
    described = [(f"{key}.txt", b"a caption") for key in ("link", "hard", "dir", "pipe", "device", "sparse")]
    path = make_tar(
        tmp_path / "a.tar",
        [
            ("../up.png", RED),
            ("../up.txt", b"a caption"),
            ("a/../../up.png", RED),
            ("/etc/passwd.txt", b"a caption"),
            special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            special("hard.png", tarfile.LNKTYPE, "good.png"),
            special("dir.png", tarfile.DIRTYPE),
            special("pipe.png", tarfile.FIFOTYPE),
            special("device.png", tarfile.CHRTYPE),
            (info, sparse),
            *described,
            ("b\udcff.png", RED),
            ("alone.png", RED),
            ("blank.png", RED),
            ("blank.txt", b" \n\n"),
            ("lost.txt", b"a caption"),
            ("good.png", RED),
            ("good.png", picture("blue")),
            ("good.jpg", picture("blue")),
            ("good.txt", b"first"),
            ("good.txt", b"second"),
            ("latin.png", RED),
            ("latin.txt", "café".encode("latin-1")),
            ("form.png", RED),
            ("form.json", b'{"captions": "one"}'),
            ("class.png", RED),
            ("class.json", b'{"captions": ["one"], "class": 2147483648}'),
            ("broken.png", RED),
            ("broken.json", b'{"captions": '),
            ("null.png", RED),
            ("null.json", b'{"caption": null}'),
            ("long.png", RED),
            ("long.txt", b"x" * (TEXT_LIMIT + 1)),
        ],
    )
    found, left_out = samples(path)
    assert [(s.member, s.captions) for s in found] == [("good.png", ("first",))]
    assert load_picture(path, Images(size=8, codec="png"), part=found[0].part).data == RED
    again = "its key has a {} already in this tar; the first is kept"
    assert left_out == {
        "../up.png": "../up.png: its name leads out of the tar",
        "a/../../up.png": "a/../../up.png: its name leads out of the tar",
        "/etc/passwd.txt": "/etc/passwd.txt: its name leads out of the tar",
        "link.png": "link.png: is a link",
        "hard.png": "hard.png: is a link",
        "dir.png": "dir.png: is a folder",
        "pipe.png": "pipe.png: is a device or a pipe",
        "device.png": "device.png: is a device or a pipe",
        "sparse.png": "sparse.png: is sparse, so its bytes do not lie in one piece",
        "b\\udcff.png": "b\\udcff.png: its name is not UTF-8",
        "alone.png": "has no caption",
        "blank.png": "has no caption",
        "null.png": "has no caption",
        "lost.txt": "no picture of the same name is in this tar",
        "good.png": again.format("picture"),
        "good.jpg": again.format("picture"),
        "good.txt": again.format(".txt"),
        "latin.png": "latin.txt: byte 3 is not UTF-8; save the file as UTF-8 text",
        "form.png": "form.json: captions: Input should be a valid array",
        "class.png": "class.json: class: Input should be less than or equal to 2147483647",
        "broken.png": "broken.json: the file: Invalid JSON: EOF while parsing a value at line 1 column 13",
        "long.png": "long.txt: is 1,048,577 bytes long; the captions of a picture may take 1,048,576",
    }


def test_keys_end_at_the_first_dot(tmp_path: Path) -> None:
    path = make_tar(
        tmp_path / "a.tar",
        [
            ("v1.0/a.image.png", RED),  # dots of folders are none of the key
            ("v1.0/a.caption.txt", b"one "),
            ("b.png", RED),
            ("b.seg.png", RED),  # more of a whole sample is passed over
            ("b.txt", b"two"),
            ("b.more.json", b"[]"),
            ("c.b.jpg", RED),
            ("c.json", b'{"class": 3}'),
            ("c.caption", b"three"),
            ("2020.1.png", RED),  # names that agree to their last dot belong together
            ("2020.1.txt", b"four"),
            ("2020.2.png", RED),
            ("2020.2.txt", b"five"),
            ("d.left.png", RED),
            ("d.right.png", RED),
            ("d.txt", b"six"),
            ("e.old.png", RED),
            ("e.old.txt", b"seven"),
            ("e.new.png", RED),
            ("f.x.png", RED),
            ("f.y.txt", b"\xe9"),
            ("g.x.txt", b"nine"),
        ],
    )
    found, left_out = samples(path)
    assert [(s.key, s.member, s.captions, s.class_index) for s in found] == [
        ("v1.0/a", "v1.0/a.image.png", ("one ",), -1),
        ("b", "b.png", ("two",), -1),
        ("c", "c.b.jpg", ("three",), 3),
        ("2020.1", "2020.1.png", ("four",), -1),
        ("2020.2", "2020.2.png", ("five",), -1),
        ("d", "d.left.png", ("six",), -1),
        ("e.old", "e.old.png", ("seven",), -1),
    ]
    assert left_out == {
        "d.right.png": "its key has a picture already in this tar; the first is kept",
        "e.new.png": "has no caption",
        "f.x.png": "has no caption",
        "f.y.txt": "f.y.txt: byte 0 is not UTF-8; save the file as UTF-8 text",
        "g.x.txt": "no picture of the same name is in this tar",
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_of_members_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    text = "Käfer\u2028 one \r\ntwo"
    path = make_tar(
        tmp_path / "a.tar",
        [
            ("1.png", RED),
            ("1.txt", text.encode(encoding)),
            ("2.png", RED),
            ("2.json", json.dumps({"caption": text}).encode(encoding)),
        ],
    )
    assert [s.captions for s in samples(path)[0]] == [("Käfer\u2028 one ", "two"), (text,)]


def test_members_that_are_no_text(tmp_path: Path) -> None:
    bad = {
        "nul.txt": ("one\ntwo".encode("utf-16-le"), "line 1 holds a NUL; save the file as UTF-8 text, not as UTF-16"),
        "lfs.txt": (b"version https://git-lfs.github.com/spec/v1\n", "should be text: it is a Git LFS pointer"),
        "page.json": (b"<html><body>", "should be text: it is a web page"),
        "twice.json": (b'{"caption": "a", "caption": "b"}', "caption: this key is there twice"),
        "number.json": (b'{"caption": 5}', "caption: Input should be a valid string"),
    }
    members = [(f"{name[:-4].rstrip('.')}.png", RED) for name in bad] + [
        (name, text) for name, (text, _) in bad.items()
    ]
    found, left_out = samples(make_tar(tmp_path / "a.tar", members))
    assert found == []
    for name, (_, reason) in bad.items():
        assert left_out[f"{name.partition('.')[0]}.png"].startswith(f"{name}: {reason}")


def test_reading_a_part(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", [("1.png", RED), ("1.txt", b"one"), ("0.png", b""), ("0.txt", b"zero")])
    (first, empty), _ = samples(path)
    alone = tmp_path / "1.png"
    alone.write_bytes(RED)
    assert load_picture(path, Images(size=8), part=first.part) == load_picture(alone, Images(size=8))
    with pytest.raises(ImageError, match=r"the file is empty \(0 bytes\)"):
        load_picture(path, Images(), part=empty.part)
    path.write_bytes(path.read_bytes()[: sum(first.part) - 2])
    with pytest.raises(ImageError, match=r"a\.tar ends 2 bytes too early; has it changed since it was listed\?"):
        load_picture(path, Images(), part=first.part)


# ---------------------------------------------------------------------------- tars that are none


def test_damaged_tars_are_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", [("1.png", RED), ("1.txt", b"one"), ("2.png", RED), ("2.txt", b"two")])
    whole = path.read_bytes()
    (first, second), _ = samples(path)
    path.write_bytes(whole[: second.part[0] + 5])
    assert "a.tar: is no whole tar: unexpected end of data; was it cut short?" in fault_of(path)
    path.write_bytes(whole[: second.part[0] - 100])
    assert f"at byte {second.part[0] - 512:,} stands neither a member nor the end of the tar" in fault_of(path)
    path.write_bytes(whole[: second.part[0] - 500] + b"?" + whole[second.part[0] - 499 :])
    assert f"at byte {second.part[0] - 512:,} stands neither" in fault_of(path)
    path.write_bytes(whole + whole)
    assert "or several tars were put one behind the other" in fault_of(path)
    path.write_bytes(b"")
    assert "is no whole tar: empty file" in fault_of(path)
    path.write_bytes(RED * 10)
    assert "is no whole tar: " in fault_of(path)
    path.unlink()
    assert "a.tar: cannot be read: No such file" in fault_of(path)
    end = second.part[0] + 3 * 512  # without the two empty blocks that most programs write at the end
    path.write_bytes(whole[:end])
    assert samples(path)[0] == [first, second]


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One block, as only a forger writes it."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (size % 256**12).to_bytes(12, "big")
    block[124] |= 0x80 if size >= 0 else 0xFF
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_forged_sizes_end_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header("a.png", 0) + header("b.png", -1024) + bytes(1024))
    assert "the tar is damaged" in fault_of(path) or "is no whole tar" in fault_of(path)  # newer Pythons see it too
    path.write_bytes(header("a.png", 2**80) + bytes(1024))
    assert "is no whole tar: " in fault_of(path)
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        for size in (-512, 2**40):
            path.write_bytes(header("x", size, kind) + bytes(4096))
            assert "is no whole tar: " in fault_of(path)
    chain = header("x", 0, tarfile.XGLTYPE) * 3000
    path.write_bytes(chain + header("a.png", 0) + bytes(1024))
    assert f"longer than {HEADER_LIMIT:,} bytes" in fault_of(path)


def test_a_header_of_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(header("x", 1 << 30, tarfile.GNUTYPE_LONGNAME))
        file.truncate((1 << 30) + 2048)  # a hole: takes no disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert f"a member's headers are longer than {HEADER_LIMIT:,} bytes" in fault_of(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


# ---------------------------------------------------------------------------- whatever comes

NAMES = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(["..", ".", "", "a", "b\n", "/", "c:", "\\", "\udcff"]), max_size=5).map("/".join),
)
CONTENTS = st.one_of(
    st.just(RED), st.binary(max_size=30), st.just(b'{"captions": ["\\ud83d"]}'), st.text(max_size=9).map(str.encode)
)


def check(path: Path) -> None:
    """Only what lies inside the file, or a message."""
    size = path.stat().st_size
    try:
        found, left_out = samples(path)
    except DataError:
        return
    for sample in found:
        offset, length = sample.part
        assert 0 < offset <= offset + length <= size
        assert ".." not in sample.member.split("/")
        assert not sample.member.startswith("/")
        assert sample.captions
    json.dumps([*left_out, *left_out.values(), *(sample.member for sample in found)], ensure_ascii=False).encode()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from([".png", ".JPG", ".txt", ".json", ""]), CONTENTS), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_names(members: list[tuple[str, str, bytes]], form: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(make_tar(Path(folder, "a.tar"), [(name + suffix, content) for name, suffix, content in members], form))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_239), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_any_damage(blows: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = make_tar(
            Path(folder, "a.tar"),
            [("1.png", RED), ("1.txt", b"one"), ("x" * 120 + ".png", RED), ("y" * 120 + ".json", b"{}")],
        )
        content = bytearray(path.read_bytes())
        for place, blow in blows:
            content[place : place + len(blow)] = blow
        for at in range(0, len(content), 512):  # headers whose sum is right again are read further
            block = content[at : at + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                content[at + 148 : at + 156] = b"%06o\0 " % sum(block)
        path.write_bytes(content)
        check(path)
