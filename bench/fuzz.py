"""Attack the small files that t2i reads with damaged ones, in this process, and count how the program ends.

    python bench/fuzz.py --cases 4000 --seed 0

Every kind of file lies in a small ground: a run of an older version with its shards, a folder of scenes, checkpoints
and pickles of others. One file is damaged (``mutators.py``), given to the smallest command that reads it, and put back.
A case has to end with one of the codes that its kind allows; anything else fails the bench, a traceback above all.
``bench/attack.py`` does the same to whole commands in processes of their own. Prints one JSON object: how often each
kind ended how, the longest case in seconds and the peak memory of the process.
"""

import argparse
import contextlib
import io
import json
import pickle
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import mutators
import torch
from safetensors.torch import save_file

from t2icli.ending import ending
from t2icli.evaluation.caching import Stored, path_of, read_chunk, write_chunk
from t2icli.training.log import Log

OLD = Path(__file__).parents[1] / "tests" / "reference" / "old-runs" / "a792fbe"
RUN, MATCHED = "runs/old/xmcgan", "runs/old/dfgan"  # captions read by a BERT, and by a matcher that is kept in the run
RESULT = f"{MATCHED}/eval/result.json"
SCENES = ["prepare", "scenes", "--root", "raw", "--out", "scenes", "--workers", "1", "--set=text.model=none"]
SCENES += [f"--set=reader.{key}" for key in ("size=32", "train=2", "val=2")] + ["--set=images.size=32"]
RESUME = ["train", "minute.toml", "--run", RUN, "--dry-run"]
CACHE_KEY = {"pixels": "p", "network": "n"}
CACHED = str(path_of(Path("cache"), CACHE_KEY))
KEYS = ("train.images", "train.batch_size", "train.seed", "model.generator_channels", "model.noise_dim", "optim.betas",
        "data.shards", "data.image_size", "text.model", "model.contrastive.word", "evaluate.protocol", "base", "system",
        "terms", "terms.damsm.weight", "model", "a.b", "")  # fmt: skip


def ended(command: Callable[[], object]) -> int | str:
    """How a command ends: its exit code, or the fault that a user would see as a traceback."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            with ending():
                command()
        except SystemExit as end:
            return int(end.code or 0)
        except Exception as fault:  # what the bench is looking for
            return f"{type(fault).__name__}: {str(fault)[:120]}"
    return 0


def t2i(*arguments: str) -> Callable[[], object]:
    """A command line, to be run in this process."""
    from t2icli.cli import app

    return lambda: app(list(arguments))


# ---------------------------------------------------------------------------- what is attacked


@dataclass(frozen=True)
class Kind:
    """A file, how it is damaged, what reads it, and how that may end."""

    file: str
    mutate: Callable[[bytes, Random], bytes]
    read: Callable[[], object]
    codes: tuple[int, ...]

    def attack(self, ground: Path, random: Random) -> int | str:
        """One case; the file is as it was afterwards."""
        with contextlib.chdir(ground):
            whole = Path(self.file).read_bytes()
            Path(self.file).write_bytes(self.mutate(whole, random))
            try:
                return ended(self.read)
            finally:
                Path(self.file).write_bytes(whole)


@dataclass(frozen=True)
class Assignment:
    """A value of ``--set``, which lies in no file."""

    codes: tuple[int, ...] = (0, 3)

    def attack(self, ground: Path, random: Random) -> int | str:
        """One case."""
        value = f"{random.choice(KEYS)}={mutators.text_of_odd(random)}"
        return ended(t2i("recipes", "check", "tiny/xmcgan", "--set", value))


def imports(file: str, name: str = "dfgan") -> Kind:
    """A file of others; none of these is enough for a whole import, so none may end with 0."""
    return Kind(file, mutators.bytes_mutated, t2i("import", name, file, "--run", "imported"), (4,))


def draws(run: str, file: str) -> Kind:
    """Weights of a run, without the hash that newer versions write; damaged numbers may be drawn from."""
    command = t2i("sample", "a red bus on a street", "--run", run, "--out", "drawn.png")
    return Kind(f"{run}/weights/{file}", mutators.weights_mutated, command, (0, 4))


KINDS: dict[str, Kind | Assignment] = {
    "--set": Assignment(),
    "recipe": Kind("minute.toml", mutators.lines_mutated, t2i("recipes", "check", "minute.toml"), (0, 3)),
    "recipe of a run": Kind(f"{RUN}/recipe.toml", mutators.lines_mutated, t2i(*RESUME), (0, 3, 4)),
    "card, listed": Kind(f"{RUN}/card.json", mutators.json_mutated, t2i("runs", "ls"), (0,)),
    "card, gone on from": Kind(f"{RUN}/card.json", mutators.json_mutated, t2i(*RESUME), (0, 4)),
    "lock": Kind(f"{RUN}/run.lock", mutators.json_mutated, t2i("runs", "ls"), (0,)),
    "log": Kind(f"{RUN}/log.jsonl", mutators.lines_mutated, lambda: Log(Path(RUN), 8).close(), (0, 4)),
    "manifest": Kind("shards/manifest.json", mutators.json_mutated, t2i("data", "inspect", "shards"), (0, 4)),
    "plan": Kind("scenes/plan.json", mutators.json_mutated, t2i(*SCENES), (0, 4)),
    "scenes.json": Kind("raw/scenes.json", mutators.json_mutated, t2i(*SCENES), (0, 4)),
    "result": Kind(RESULT, mutators.json_mutated, t2i("evaluate", "--compare", RESULT, "other.json"), (0, 4)),
    "weights of a generator": draws(MATCHED, "generator.safetensors"),
    "weights of a text encoder": draws(MATCHED, "text_encoder.safetensors"),
    "cache of features": Kind(CACHED, mutators.weights_mutated, lambda: read_chunk(Path("cache"), CACHE_KEY), (0, 4)),
    "checkpoint (zip)": imports("zip.pth"),
    "checkpoint (pickle)": imports("old.pth"),
    "checkpoint (safetensors)": imports("whole.safetensors"),
    "captions.pickle": imports("captions.pickle", "damsm"),
}


def lay_out(ground: Path) -> None:
    """Every file of ``KINDS``, whole."""
    shutil.copytree(OLD / "shards", ground / "shards")
    for name in ("xmcgan", "dfgan"):
        shutil.copytree(OLD / name, ground / "runs" / "old" / name)
    with contextlib.chdir(ground):
        shutil.copy(f"{RUN}/recipe.toml", "minute.toml")
        Path(RUN, "run.lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
        next(Path(MATCHED, "eval").glob("*.json")).rename(RESULT)
        shutil.copy(RESULT, "other.json")
        layers = {"2048": torch.arange(6.0).view(2, 3)}
        write_chunk(Path("cache"), CACHE_KEY, Stored(bytes(64), layers))
        state = {"GBlocks.0.c1.weight": torch.zeros(2, 2)}
        torch.save({"netG": state}, "zip.pth")
        torch.save({"netG": state}, "old.pth", _use_new_zipfile_serialization=False)
        save_file(state, "whole.safetensors")
        words = {0: "<end>", 1: "bus"}
        Path("captions.pickle").write_bytes(pickle.dumps([[[1]], [[1]], words, {"<end>": 0, "bus": 1}], 2))
        if ended(t2i(*SCENES)) != 0:
            raise RuntimeError("the ground cannot be laid out: t2i prepare scenes fails on whole files")


# ---------------------------------------------------------------------------- the whole


def bench(cases: int, seed: int) -> dict[str, object]:
    """Run so many cases, the kinds in turn; what ended as it must not is listed."""
    random, outcomes, faults, longest = Random(seed), dict[str, Counter[str]](), list[str](), (0.0, "")
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        ground = Path(place) / "ground"
        lay_out(ground)
        for number in range(cases):
            name = list(KINDS)[number % len(KINDS)]
            of_case, start = random.getrandbits(32), time.process_time()
            end = KINDS[name].attack(ground, Random(of_case))
            longest = max(longest, (round(time.process_time() - start, 2), name))
            outcomes.setdefault(name, Counter())["traceback" if isinstance(end, str) else f"exit {end}"] += 1
            faults += [] if end in KINDS[name].codes else [f"{name}, seed {of_case}: {end}"]
    return {
        "cases": cases,
        "ended": {name: dict(sorted(counts.items())) for name, counts in outcomes.items()},
        "faults": faults,
        "longest_case": longest,
        "cpu_s": round(time.process_time() - began),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = bench(options.cases, options.seed)
    print(json.dumps(found, indent=2, ensure_ascii=False))
    sys.exit(bool(found["faults"]))
