"""Attacks the program as schedulers, full disks and damage do, and counts how it ends.

    python bench/attack.py [kills] [disks] [mutations] [--rounds 10] [--cases 2000] [--seed 0] [--json FILE]

``kills``: SIGKILL at random moments of `prepare scenes`, `train` (the making of a run and its checkpoints), `evaluate`
and `import`, several in a row; then the same command once more, which must end well and give what an unbroken one does.
``disks``: the same commands on a file system of a random size that is too small, which must end with code 8, and once
more when there is room, which must end well. ``mutations``: one file of a run, of shards or of a user damaged, or one
``--set`` value; no traceback, no signal, only the exit codes of the kind, nothing damaged taken for whole.

Everything runs in a temporary folder. The file systems need ``unshare`` (util-linux) and user namespaces.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import mutators
from launcher import Ended, run
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "reference"
KILLS_IN_A_ROW = 4
RECIPE = """
description = "minute"
system = "xmcgan"
[data]
shards = "shards"
image_size = 32
workers = 0
[model]
generator_channels = 4
discriminator_channels = 4
noise_dim = 8
sentence_dim = 8
[train]
batch_size = 4
images = 24
precision = "float32"
log_every = 4
sample_every = 8
save_every = 8
[evaluate]
protocol = "scenes-2k"
"""
SCENES = ["prepare", "scenes", "--root", "raw", "--out", "shards", "--workers", "1"]
SCENES += [f"--set={key}" for key in ("reader.size=32", "reader.train=24", "reader.val=24", "images.size=32",
                                      "images_per_shard=10")]  # fmt: skip
TRAIN = ["train", "minute.toml", "--run", "run"]
EVALUATE = ["evaluate", "run", "--samples", "24", "--seeds", "1", "--metrics", "fd-scenes,scenes-right", "--batch", "8"]
IMPORT = ["import", "attngan", "generator.pth", "text.pth", "captions.pickle", "--run", "imported"]


@dataclass(frozen=True)
class Scenario:
    """A command that may be broken off, what it needs, and what it must leave in the end."""

    name: str
    command: Sequence[str]
    needs: tuple[str, ...]  # files and folders of the ground
    digest: Callable[[Path], str]


@dataclass
class Tally:
    """How commands ended."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        """Something that must not be."""
        self.faults.append(what)
        print(f"FAULT {what}", file=sys.stderr, flush=True)


def digest_of_tensors(path: Path) -> str:
    """Of names and numbers of a file of weights."""
    digest = hashlib.sha256()
    for name, values in sorted(load_file(path).items()):
        digest.update(name.encode() + values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of_shards(folder: Path) -> str:
    """Of all shards as the manifest lists them."""
    manifest = json.loads((folder / "shards" / "manifest.json").read_text())
    return json.dumps([(shard["file"], shard["sha256"]) for shard in manifest["shards"]])


def digest_of_scores(folder: Path) -> str:
    """Of the values of the newest result."""
    newest = max((folder / "run" / "eval").glob("scenes*.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.dumps({name: entry["mean"] for name, entry in json.loads(newest.read_text())["metrics"].items()})


SCENARIOS = (
    Scenario("prepare scenes", SCENES, (), digest_of_shards),
    Scenario("train", TRAIN, ("minute.toml", "shards"),
             lambda folder: digest_of_tensors(folder / "run" / "weights" / "generator.safetensors")),
    Scenario("evaluate", EVALUATE, ("minute.toml", "shards", "run"), digest_of_scores),
    Scenario("import", IMPORT, ("generator.pth", "text.pth", "captions.pickle"),
             lambda folder: digest_of_tensors(folder / "imported" / "weights" / "generator.safetensors")),
)  # fmt: skip


class Ground:
    """A folder with all that the scenarios need, made once by the program itself."""

    def __init__(self, folder: Path, notes: Path) -> None:
        self.folder, self.notes = folder, notes
        folder.mkdir()
        (folder / "minute.toml").write_text(RECIPE)
        shutil.copy(REFERENCE / "attngan_gf2.netG.pth", folder / "generator.pth")
        shutil.copy(REFERENCE / "attngan_gf2.text_encoder.pth", folder / "text.pth")
        write_captions(folder / "captions.pickle", REFERENCE / "attngan_gf2.text_encoder.pth")
        self.seconds: dict[str, float] = {}
        self.digests: dict[str, str] = {}
        for scenario in SCENARIOS:
            ended = self.run(scenario.command, folder)
            assert ended.code == 0, f"{ended}\n{ended.err}"
            self.seconds[scenario.name], self.digests[scenario.name] = ended.seconds, scenario.digest(folder)

    def run(self, command: Sequence[str | Path], folder: Path, kill_after: float | None = None) -> Ended:
        """A command in a copy, with a cache of its own there."""
        return run(command, folder, kill_after, {"T2I_CACHE": str(folder / "cache")}, notes=self.notes)

    def copy(self, into: Path, scenario: Scenario) -> Path:
        """What a scenario needs, in a folder of its own."""
        into.mkdir(exist_ok=True)
        for name in scenario.needs:
            source = self.folder / name
            if source.is_dir():
                shutil.copytree(source, into / name, symlinks=True, ignore=shutil.ignore_patterns("eval"))
            else:
                shutil.copy(source, into / name)
        return into


def write_captions(path: Path, encoder: Path) -> None:
    """A vocabulary in the form of AttnGAN's captions.pickle, as long as an encoder's table of words."""
    import pickle

    import torch

    words = ["<end>", *(f"w{i}" for i in range(1, len(torch.load(encoder, weights_only=True)["encoder.weight"])))]
    content = [[[1]], [[2]], dict(enumerate(words)), {word: number for number, word in enumerate(words)}]
    path.write_bytes(pickle.dumps(content, 2))


def finish(ground: Ground, scenario: Scenario, folder: Path, tally: Tally, story: str) -> None:
    """The same command to its end, which must be good and give what an unbroken one gives."""
    ended = ground.run(scenario.command, folder)
    if ended.crashed or ended.code != 0:
        tally.fault(f"{scenario.name}, {story}: {ended}")
    elif scenario.digest(folder) != ground.digests[scenario.name]:
        tally.fault(f"{scenario.name}, {story}: gives something else than an unbroken one")
    elif remains := [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]:
        tally.fault(f"{scenario.name}, {story}: leaves {', '.join(remains[:3])}")
    else:
        tally.counts[f"{scenario.name}: whole afterwards"] += 1


def kills(ground: Ground, rounds: int, random: Random, temporary: Path) -> Tally:
    """SIGKILL at random moments."""
    tally = Tally()
    for number in range(rounds):
        for scenario in SCENARIOS:
            folder = ground.copy(temporary / f"kill-{number}", scenario)
            moments = []
            for _ in range(random.randint(1, KILLS_IN_A_ROW)):
                moment = random.uniform(0, 1.05 * ground.seconds[scenario.name])
                ended = ground.run(scenario.command, folder, kill_after=moment)
                moments.append(round(moment, 3))
                if ended.signal is not None:
                    tally.counts[f"{scenario.name}: killed"] += 1
                elif ended.crashed or ended.code != 0:
                    tally.fault(f"{scenario.name}, after kills at {moments[:-1]} s: {ended}")
            finish(ground, scenario, folder, tally, f"after kills at {moments} s")
            shutil.rmtree(folder)
    return tally


def disks(ground: Ground, rounds: int, random: Random, temporary: Path) -> Tally:
    """File systems that are too small."""
    tally = Tally()
    disk = temporary / "disk"
    disk.mkdir()
    for _ in range(rounds):
        for scenario in SCENARIOS:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], check=True)
            try:
                folder = ground.copy(disk / "ground", scenario)
                used = shutil.disk_usage(disk).used
                room = int(random.uniform(0, 1.1) * needed(ground, scenario))
                resize(disk, used + room)
                ended = ground.run(scenario.command, folder)
                if ended.crashed or ended.code not in (0, 8):
                    tally.fault(f"{scenario.name}, with room for {room:,} bytes: {ended}")
                tally.counts[f"{scenario.name}: {'fitted' if ended.code == 0 else 'full, said'}"] += 1
                resize(disk, 64 << 20)
                finish(ground, scenario, folder, tally, f"after a disk with room for {room:,} bytes")
            finally:
                subprocess.run(["umount", disk], check=True)
    return tally


def resize(disk: Path, size: int) -> None:
    """Give a file system another size."""
    subprocess.run(["mount", "-o", f"remount,size={max(size, 4096)}", disk], check=True)


def needed(ground: Ground, scenario: Scenario) -> int:
    """Bytes that a scenario writes, about."""
    made = {"prepare scenes": ("raw", "shards"), "train": ("run",), "evaluate": ("cache",), "import": ("imported",)}
    files = [path for name in made[scenario.name] for path in (ground.folder / name).rglob("*") if path.is_file()]
    return sum(4096 * -(-path.stat().st_size // 4096) for path in files)


# ---------------------------------------------------------------------------- mutations


@dataclass(frozen=True)
class Target:
    """A file that is damaged, the command that meets it, and how that may end."""

    file: str
    mutate: Callable[[bytes, Random], bytes]
    command: Sequence[str]
    codes: tuple[int, ...]
    same: Callable[[Path], str] | None = None  # what code 0 must leave as it is without the damage
    share: float = 1.0  # of the cases, in relation to the other targets


LONGER = [*TRAIN, "--set=train.images=32"]
COMPARE = ["evaluate", "--compare", "run/eval/result.json", "other.json"]
SAMPLE = ["sample", "a red bus on a street", "--run", "run", "--out", "drawn.png"]
RUN_WEIGHTS = "run/weights/generator.safetensors"
TARGETS = (
    Target("run/state/0000000006.pt", mutators.bytes_mutated, LONGER, (0, 4),
           lambda folder: digest_of_tensors(folder / RUN_WEIGHTS), share=4),
    Target(RUN_WEIGHTS, mutators.bytes_mutated, SAMPLE, (0, 4),
           lambda folder: hashlib.sha256((folder / "drawn.png").read_bytes()).hexdigest(), share=2),
    Target("run/card.json", mutators.json_mutated, LONGER, (0, 2, 4)),
    Target("run/card.json", mutators.json_mutated, ["runs", "ls"], (0,)),
    Target("run/card.json", mutators.json_mutated, EVALUATE, (0, 4)),
    Target("run/log.jsonl", mutators.lines_mutated, LONGER, (0, 4)),
    Target("run/recipe.toml", mutators.lines_mutated, LONGER, (0, 3, 4)),
    Target("run/run.lock", mutators.json_mutated, LONGER, (0, 4)),
    Target("shards/manifest.json", mutators.json_mutated, [*LONGER, "--dry-run"], (0, 4), share=2),
    Target("shards/plan.json", mutators.json_mutated, SCENES, (0, 4)),
    Target("raw/scenes.json", mutators.json_mutated, SCENES, (0, 4)),
    Target("run/eval/result.json", mutators.json_mutated, COMPARE, (0, 4), share=2),
    Target("imported/weights/text_encoder.safetensors", mutators.bytes_mutated,
           ["sample", "w1 w2", "--run", "imported", "--out", "drawn.png"], (0, 4),
           lambda folder: hashlib.sha256((folder / "drawn.png").read_bytes()).hexdigest()),
    Target("generator.pth", mutators.bytes_mutated, IMPORT, (0, 2, 4)),
    Target("captions.pickle", mutators.bytes_mutated, IMPORT, (0, 2, 4)),
    Target("minute.toml", mutators.lines_mutated, ["recipes", "check", "minute.toml"], (0, 3), share=3),
)  # fmt: skip
KEYS = ("train.batch_size", "train.images", "train.seed", "model.generator_channels", "model.noise_dim", "optim.betas",
        "data.shards", "data.image_size", "text.model", "model.contrastive.word", "evaluate.protocol", "base", "x", "",
        "model", "train", "system", "terms.damsm.weight")  # fmt: skip


def mutations(ground: Ground, cases: int, random: Random, temporary: Path) -> Tally:
    """Damaged files, and odd values of ``--set``."""
    tally = Tally()
    pristine = temporary / "pristine"
    shutil.copytree(ground.folder, pristine, symlinks=True)
    newest = max((pristine / "run" / "eval").glob("scenes*.json"), key=lambda path: path.stat().st_mtime_ns)
    shutil.copy(newest, pristine / "other.json")
    newest.rename(newest.with_name("result.json"))
    (pristine / "run" / "run.lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    os.utime(pristine / "run" / "run.lock", (0, 0))
    undamaged = {target.file + target.command[0]: expected(ground, target, pristine, temporary) for target in TARGETS}
    weights = [target.share for target in TARGETS]
    for number in range(cases):
        if random.random() < 0.15:
            value = f"{random.choice(KEYS)}={mutators.text_of_odd(random)}"
            judge(ground.run(["recipes", "check", "xmcgan", "--set", value], temporary), (0, 2, 3), "--set", tally)
            continue
        target = random.choices(TARGETS, weights)[0]
        folder = temporary / f"case-{number}"
        shutil.copytree(pristine, folder, symlinks=True)
        path = folder / target.file
        if target.file != "run/run.lock":
            (folder / "run" / "run.lock").unlink()
        before = path.read_bytes()
        path.write_bytes(target.mutate(before, random))
        prepare_for(target, folder)
        ended = ground.run(target.command, folder)
        judge(ended, target.codes, target.file, tally)
        if ended.code == 0 and target.same and target.same(folder) != undamaged[target.file + target.command[0]]:
            tally.fault(f"{target.file}: damage was taken for whole: {ended}")
            keep = Path(tempfile.gettempdir()) / f"taken-for-whole-{number}"
            shutil.copy(path, keep)
        shutil.rmtree(folder)
    return tally


def prepare_for(target: Target, folder: Path) -> None:
    """An import needs a place that is free."""
    if target.command is IMPORT:
        shutil.rmtree(folder / "imported")


def expected(ground: Ground, target: Target, pristine: Path, temporary: Path) -> str:
    """What a command leaves where nothing is damaged."""
    if target.same is None:
        return ""
    folder = temporary / "undamaged"
    shutil.copytree(pristine, folder, symlinks=True)
    (folder / "run" / "run.lock").unlink()
    ended = ground.run(target.command, folder)
    assert ended.code == 0, f"{ended}\n{ended.err}"
    found = target.same(folder)
    shutil.rmtree(folder)
    return found


def judge(ended: Ended, codes: Sequence[int], what: str, tally: Tally) -> None:
    """Whether a command ended in one of the ways that its kind allows."""
    tally.counts[f"{what}: code {ended.code}"] += 1
    if ended.crashed or ended.code not in codes:
        tally.fault(f"{what}: {ended}")


# ---------------------------------------------------------------------------- the whole

ATTACKS = {"kills": kills, "disks": disks, "mutations": mutations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", help=f"of {', '.join(ATTACKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=10, help="of kills and disks, each over all commands")
    parser.add_argument("--cases", type=int, default=2000, help="mutations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if "T2I_ATTACK_INSIDE" not in os.environ:  # in a namespace of its own, where it may mount file systems
        os.environ["T2I_ATTACK_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv])
    faults = 0
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder)
        notes = temporary / "notes"
        notes.mkdir()
        ground = Ground(temporary / "whole", notes)
        for name in options.attacks or ATTACKS:
            start = time.monotonic()
            count = options.cases if name == "mutations" else options.rounds
            tally = ATTACKS[name](ground, count, Random(f"{name} {options.seed}"), temporary)
            figures[name] = {"seconds": round(time.monotonic() - start), "faults": tally.faults, **tally.counts}
            faults += len(tally.faults)
            print(f"{name}: {figures[name]['seconds']} s, {len(tally.faults)} faults")
            for what, number in sorted(tally.counts.items()):
                print(f"  {number:6,}  {what}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
