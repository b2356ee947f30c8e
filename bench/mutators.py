"""Damage as disks, copies, editors and strangers do it: functions of a random stream from good content to bad."""

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 12345678\n"
PAGE = b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>\n"
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 10**30, -(10**400), 1e308, -1e-308, float("nan"), float("inf"), "", " ", "x" * 5000,
    "\0", "\ud800", "../../etc/passwd", "/dev/zero", "1e9", [], [[]], {}, [None], {"": {}}, [[[[[[]]]]]], ["a"] * 2000,
)  # fmt: skip


def flip(content: bytes, random: Random) -> bytes:
    """One bit is another."""
    if not content:
        return b"\x01"
    changed = bytearray(content)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(content: bytes, random: Random) -> bytes:
    """A copy that broke off."""
    return content[: random.randrange(len(content) + 1)]


def zeroed(content: bytes, random: Random) -> bytes:
    """A block that never came to the disk."""
    start = random.randrange(len(content) + 1)
    length = min(len(content) - start, random.choice((1, 16, 512, 4096, len(content))))
    return content[:start] + bytes(length) + content[start + length :]


def inserted(content: bytes, random: Random) -> bytes:
    """Bytes that were not there."""
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice((1, 4, 100))) + content[start:]


def repeated(content: bytes, random: Random) -> bytes:
    """A part stands there twice."""
    start, stop = sorted(random.randrange(len(content) + 1) for _ in range(2))
    return content[:stop] + content[start:]


def replaced(content: bytes, random: Random) -> bytes:
    """Another file under this name."""
    return random.choice(
        (b"", b"\n", LFS, PAGE, b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", bytes(len(content)), b"[" * 10**5)
    )


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (flip, flip, flip, cut, zeroed, inserted, repeated, replaced)


def bytes_mutated(content: bytes, random: Random) -> bytes:
    """A file damaged in one of these ways."""
    return random.choice(BYTES)(content, random)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within a value of JSON or TOML."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in pairs] + [place for _, inner in pairs for place in places(inner)]


def value_mutated(value: Any, random: Random) -> Any:
    """The same tables with one value gone, added, renamed, or another."""
    changed = copy.deepcopy(value)
    found = places(changed)
    if not found or random.random() < 0.05:
        return random.choice(ODD)
    container, key = random.choice(found)
    way = random.random()
    if way < 0.2:
        del container[key]
    elif way < 0.3 and isinstance(container, dict):
        container[random.choice(("", "x", "class", f"{key} ", str(key).upper(), "\0"))] = container.pop(key)
    else:
        container[key] = copy.deepcopy(random.choice(ODD))
    return changed


def json_mutated(content: bytes, random: Random) -> bytes:
    """A JSON file with another value in it, or damaged as bytes."""
    if random.random() < 0.3:
        return bytes_mutated(content, random)
    changed = value_mutated(json.loads(content), random)
    return json.dumps(changed, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def lines_mutated(content: bytes, random: Random) -> bytes:
    """A text of lines with one of them another, gone, twice, or damaged as bytes."""
    if random.random() < 0.4:
        return bytes_mutated(content, random)
    lines = content.split(b"\n")
    number = random.randrange(len(lines))
    lines[number : number + 1] = random.choice(
        ([], [lines[number]] * 2, [b""], [bytes_mutated(lines[number], random)], [line_of_odd(lines[number], random)])
    )
    return b"\n".join(lines)


def line_of_odd(line: bytes, random: Random) -> bytes:
    """``key = value`` or ``{...}`` with an odd value in it."""
    name, equals, _ = line.partition(b"=")
    said = json.dumps(random.choice(ODD)).encode()
    return name + equals + b" " + said if equals else said


def weights_mutated(content: bytes, random: Random) -> bytes:
    """A safetensors file damaged as bytes, or with another value in what its header says of it in JSON."""
    if random.random() < 0.3:
        return bytes_mutated(content, random)
    end = 8 + int.from_bytes(content[:8], "little")  # the header's length comes first
    header = json.loads(content[8:end])
    said = header["__metadata__"]
    key = random.choice(list(said))
    said[key] = json_mutated(said[key].encode(), random).decode("utf-8", "replace")
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


def text_of_odd(random: Random) -> str:
    """A value as somebody might type it after ``--set KEY=``; no shell passes a NUL on."""
    value = random.choice((*ODD, "9" * 5000, "[" * 500, "{a=1}", "1e400", "0x10", "1_0", "-0", "'a", '"a', "a\nb = 1"))
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\0", "\u2400").encode("utf-8", "replace").decode()
