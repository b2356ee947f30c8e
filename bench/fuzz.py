"""Attack the small files that t2i reads with damaged ones, in this process, and count how the program ends.

    python bench/fuzz.py --cases 4000 --seed 0

Recipes, ``--set`` values, manifests, headers of weights and released checkpoints are mutated (bytes flipped, cut,
doubled; values of JSON replaced by others) and given to the command that reads them. Every case has to end with 0 or
the exit code of a ``UserError``; anything else is a traceback and fails the bench. Prints one JSON object: how often
each kind of file ended how, the longest case in seconds and the peak memory of the process.
"""

import argparse
import contextlib
import io
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from t2icli.data.shards import ShardContent, StoredCaption, StoredImage, write_shard
from t2icli.ending import ending
from t2icli.storage import sha256

ODD = [None, True, -1, 0, 10**9, 10**19, 1e308, "", "a\0b", "../x", "/etc/passwd", [], {}, [[]], {"a": {}}, "é" * 300]
CODES = {0, 2, 3, 4, 5, 6, 7, 8}


def run(*arguments: str) -> int | str:
    """How a command ends: its exit code, or the fault that a user would see as a traceback."""
    from t2icli.cli import app

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            with ending():
                app(list(arguments))
        except SystemExit as end:
            return int(end.code or 0)
        except Exception as fault:  # what the bench is looking for
            return f"{type(fault).__name__}: {str(fault)[:120]}"
    return 0


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bytes with one thing wrong."""
    place = chance.randrange(len(content) + 1)
    kind = chance.randrange(6)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
    if kind == 2:
        return content[:place] + content[chance.randrange(len(content) + 1) :]
    if kind == 3:
        return content[:place] + chance.randbytes(chance.randrange(1, 40)) + content[place:]
    if kind == 4:
        return chance.choice([b"", b"[" * 5000, b"<html>", b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 50])
    return content.replace(
        *chance.choice([(b'"', b""), (b"0", b"9" * 5000), (b":", b"::"), (b"=", b"= ="), (b"[", b"[[")])
    )


def replaced(value: object, chance: random.Random) -> object:
    """A value of JSON with one place in it replaced, removed or added."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        rest = {name: inner for name, inner in value.items() if name != key}
        return rest if chance.random() < 0.2 else {**rest, key: replaced(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], replaced(value[place], chance), *value[place + (chance.random() < 0.8) :]]
    return chance.choice(ODD)


def mutated_json(value: object, chance: random.Random) -> bytes:
    """A JSON document that is damaged, as a text or in one of its values."""
    whole = json.dumps(value).encode()
    return damaged(whole, chance) if chance.random() < 0.4 else json.dumps(replaced(value, chance)).encode()


# ---------------------------------------------------------------------------- what is attacked


def shards(folder: Path) -> dict[str, object]:
    """A minute folder of shards; gives its manifest."""
    folder.mkdir()
    words = np.ones((3, 4), np.float16)
    captions = [StoredCaption(0, "a red bus", np.array([1, 2, 3], np.int32), words)]
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    path = folder / "val-00000-of-00001.h5"
    write_shard(path, ShardContent([StoredImage(1, picture.getvalue(), 8, 8)], captions, dim=4), {"split": "val"})
    entry = {"file": path.name, "split": "val", "images": 1, "captions": 1, "tokens": 3}
    entry |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    text = {"model": "m", "revision": "1", "sha256": "a", "tokenizer": "b", "max_tokens": 5, "dim": 4}
    recipe = {"images": {"size": 8, "fit": "squash"}, "text": {"pad_sum": False, "embeddings": "stored"}}
    return {"schema": 2, "dataset": "scenes", "shards": [entry], "text": text, "recipe": recipe}


def attacks(folder: Path, chance: random.Random) -> dict[str, Callable[[], int | str]]:
    """For each kind of file a function that damages one and gives it to the command that reads it."""
    manifest = shards(folder / "shards")
    recipe = b'base = "tiny/xmcgan"\ndescription = "a"\n[train]\nseed = 3\nimages = 100\n[data]\nshards = "x"\n'
    keys = ["train.images", "model.generator_channels", "data.shards", "optim.betas", "terms", "a.b", "system", "data"]
    torch.save({"netG": {"GBlocks.0.c1.weight": torch.zeros(2, 2)}}, folder / "whole.pth")
    torch.save({"netG": torch.zeros(3)}, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file({"fc.weight": torch.zeros(3)}, folder / "whole.safetensors", {"t2i": '{"recipe": {}, "text": {}}'})
    released = [(folder / name).read_bytes() for name in ("whole.pth", "old.pth", "whole.safetensors")]
    weights = folder / "run" / "weights" / "generator.safetensors"
    weights.parent.mkdir(parents=True)

    def write(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return str(folder / name)

    def header() -> int | str:
        text = mutated_json({"recipe": {"system": "xmcgan"}, "text": {"dim": 4}, "images": 3}, chance)
        save_file({"a": torch.zeros(2)}, weights, {"t2i": text.decode("latin1")})
        return run("sample", "a bird", "--run", str(folder / "run"), "--out", str(folder / "out.png"))

    def verified() -> int | str:
        (folder / "shards" / "manifest.json").write_bytes(mutated_json(manifest, chance))
        return run("data", "inspect", str(folder / "shards"))

    def assigned() -> int | str:
        value = chance.choice(
            [json.dumps(chance.choice(ODD)), "9" * 5000, "[" * 5000, "{a=1}", "nan", "0x" + "f" * 400]
        )
        return run("recipes", "check", "tiny/xmcgan", "--set", f"{chance.choice(keys)}={value}")

    def imported() -> int | str:
        file = write("released.pth", damaged(chance.choice(released), chance))
        return run("import", "dfgan", file, "--run", str(folder / "imported"))

    return {
        "recipe": lambda: run("recipes", "check", write("r.toml", damaged(recipe, chance))),
        "--set": assigned,
        "manifest": verified,
        "released checkpoint": imported,
        "header of weights": header,
    }


def attack(cases: int, seed: int) -> dict[str, object]:
    """Run so many cases, the kinds in turn; what ended in a traceback is listed."""
    chance, outcomes, faults, longest = random.Random(seed), dict[str, Counter[str]](), list[str](), 0.0
    with tempfile.TemporaryDirectory() as place:
        kinds = attacks(Path(place), chance)
        for number in range(cases):
            kind = list(kinds)[number % len(kinds)]
            began = time.perf_counter()
            end = kinds[kind]()
            longest = max(longest, time.perf_counter() - began)
            outcomes.setdefault(kind, Counter())["traceback" if end not in CODES else f"exit {end}"] += 1
            faults += [f"{kind}: {end}"] if end not in CODES else []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ended = {kind: dict(sorted(counts.items())) for kind, counts in outcomes.items()}
    return {"cases": cases, "ended": ended, "faults": sorted(set(faults)), "longest_s": longest, "peak_mb": peak}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = attack(options.cases, options.seed)
    print(json.dumps(found, indent=2, ensure_ascii=False))
    sys.exit(bool(found["faults"]))
