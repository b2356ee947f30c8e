"""Scores a run, or a folder of images made by anything, under a named protocol: what ``t2i evaluate`` does."""

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import t2icli
from t2icli.console import say
from t2icli.data.shards import ShardFolder
from t2icli.errors import DataError, EnvironmentFault, UserError
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.captions import Drawn, caption_hash, draw
from t2icli.evaluation.evaluate import Machine, evaluate_images, find_metrics
from t2icli.evaluation.features import Pictures
from t2icli.evaluation.images import FolderImages, Images, ShardImages, image_files
from t2icli.evaluation.protocol import Captions, Facts, Protocol, Real
from t2icli.sampling import TrainedRun, open_run
from t2icli.storage import write_json
from t2icli.weights import Weights

BLOCK = 32  # pictures generated together; fixed, so that --batch cannot change a single pixel
LOSSY = (".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how; what is left out follows from the run or from the protocol."""

    target: Path
    against: Path | None = None
    protocol: str | None = None
    metrics: Sequence[str] = ()
    samples: int | None = None
    seeds: int | None = None
    weights: Sequence[str] = ()
    overrides: Sequence[str] = ()  # of the run's recipe
    batch_size: int = 32
    out: Path | None = None


@dataclass(frozen=True)
class Side:
    """Real images, with what a result says about them."""

    pictures: Pictures
    facts: dict[str, Any]
    real_set: Real | None = None  # None: a plain folder


@dataclass(frozen=True)
class Task:
    """Everything that is needed to score, found and checked before anything long begins."""

    name: str  # of the protocol
    protocol: Protocol
    target: dict[str, Any]
    generated: list[Pictures]
    generated_facts: dict[str, Any]
    real: Side | None
    captions: Captions | None = None  # the rule that was followed; None: captions are not known
    seeds: tuple[int, ...] | None = None  # None: the images were there already
    notes: list[str] = field(default_factory=list)
    folder: Path | None = None  # where results are kept


def score(request: Request) -> dict[str, Any]:
    """The result, also written to ``RUN/eval`` or to ``out``; metrics that could not be computed are in it too."""
    check_counts(request)
    weights = Weights(request.weights)
    kind = kind_of(request.target)
    task = run_task(request) if kind == "run" else folder_task(request)
    wanted = find_metrics(request.metrics or task.protocol.metrics)
    machine = Machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"), request.batch_size)
    real = task.real.pictures if task.real else None
    outcome = evaluate_images(task.generated, real, wanted, task.protocol, weights, machine)
    named = find_metrics(task.protocol.metrics)
    entries = {name: entry | {"named_by_protocol": name in named} for name, entry in outcome.entries.items()}
    result = document(task, entries, outcome.pixels, machine)
    keep(result, task, request.out)
    return result


def failure(result: dict[str, Any]) -> UserError | None:
    """The mistake to end with, if nothing that was asked for could be computed."""
    entries = list(result["metrics"].values())
    if any(entry["computed"] for entry in entries):
        return None
    reasons = "\n".join(f"{name}: not computed: {entry['reason']}" for name, entry in result["metrics"].items())
    kinds = {kind.exit_code: kind for kind in (UserError, DataError, EnvironmentFault)}
    return kinds[max(entry["exit_code"] for entry in entries)](reasons)


def check_counts(request: Request) -> None:
    """Numbers that cannot mean anything."""
    for option, value, least in (
        ("--samples", request.samples, 2),
        ("--seeds", request.seeds, 1),
        ("--batch", request.batch_size, 1),
    ):
        if value is not None and value < least:
            raise UserError(f"{option} {value}: should be at least {least}")


def kind_of(target: Path) -> str:
    """Whether a target is a run or a folder of images."""
    if not target.exists():
        raise DataError(f"{target}: no such run and no such folder of images")
    if target.is_file():
        if target.suffix == ".safetensors":
            return "run"
        raise DataError(f"{target}: is a file; t2i evaluate takes a run folder, its weights or a folder of images")
    if (target / "recipe.toml").is_file():
        return "run"
    runs = sorted(path.parent for depth in ("*", "*/*") for path in target.glob(f"{depth}/recipe.toml"))
    if runs:  # their sample grids must not pass for a folder of images
        raise DataError(f"{target}: holds runs, and is none itself: name one, e.g. {runs[-1]}")
    if (target / "manifest.json").is_file():
        raise DataError(f"{target}: holds shards of real images; give them with --against")
    if not image_files(target):
        raise DataError(f"{target}: neither a run (it has no recipe.toml) nor a folder of images (it has none)")
    return "images"


# ---------------------------------------------------------------------------- a run


class GeneratedImages(Images):
    """A run's pictures of drawn captions, generated when they are asked for."""

    def __init__(self, run: TrainedRun, folder: ShardFolder, drawn: Sequence[Drawn], seed: int) -> None:
        self.run, self.folder, self.drawn, self.seed = run, folder, drawn, seed
        self.size = (run.recipe.data.image_size, run.recipe.data.image_size)
        self.block: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return len(self.drawn)

    def batch(self, start: int, stop: int) -> Tensor:
        """See ``Images``."""
        pieces = []
        for number in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            first = number * BLOCK
            pieces.append(self.generate(number)[max(start - first, 0) : stop - first])
        return torch.cat(pieces)

    def generate(self, number: int) -> Tensor:
        """One block; the last one is kept, because batches of another size share it."""
        if self.block[0] != number:
            indices = range(number * BLOCK, min((number + 1) * BLOCK, len(self)))
            captions = [(self.drawn[i].image, self.drawn[i].which) for i in indices]
            self.block = number, self.run.generate_from_shards(self.folder, captions, list(indices), self.seed)
        return self.block[1]


def run_task(request: Request) -> Task:
    """A run draws for captions of its shards' validation split, or of the shards it is scored against."""
    run = open_run(request.target, request.overrides)
    name = request.protocol or run.recipe.evaluate.protocol
    protocol = protocols.load(name)
    if protocol.captions is None or protocol.real is None:
        raise UserError(f"protocol {name}: says nothing about captions, so a run cannot be scored under it")
    from_shards = request.against is not None and is_shards(request.against)
    shards = request.against if request.against is not None and from_shards else run.recipe.data.shards
    folder = ShardFolder(shards, protocol.real.split)
    rule = protocol.captions.model_copy(update={"count": request.samples or protocol.captions.count})
    drawn = draw(folder, rule)
    seeds = tuple(range(request.seeds)) if request.seeds else protocol.seeds
    captions = rule.model_dump() | {"sha256": caption_hash(drawn), "from": str(shards)}
    if request.against is None or from_shards:
        real = paired_side(folder, drawn, run.recipe.data.image_size)
    else:
        real = folder_side(request.against)
    return Task(
        name,
        protocol,
        run_facts(run),
        [generated_side(run, folder, drawn, seed) for seed in seeds],
        {"quantisation": "round", "noise": "standard normal", "seeds": list(seeds), "captions": captions},
        real,
        rule,
        seeds,
        folder=run.folder if run.folder.is_dir() else None,
    )


def generated_side(run: TrainedRun, folder: ShardFolder, drawn: Sequence[Drawn], seed: int) -> Pictures:
    """A run's pictures of the drawn captions with the noise of one seed."""
    return Pictures(GeneratedImages(run, folder, drawn, seed), f"seed {seed}", [d.text for d in drawn], seed)


def run_facts(run: TrainedRun) -> dict[str, Any]:
    """What was scored: which weights, after how many real images."""
    return {
        "kind": "run",
        "path": str(run.folder),
        "system": run.recipe.system,
        "weights": "averaged (EMA) generator",
        "weights_sha256": run.weights_sha256,
        "images_trained": run.images,
    }


# ---------------------------------------------------------------------------- a folder of images


def folder_task(request: Request) -> Task:
    """Images made by anything, as they lie in a folder."""
    for option, given in (("--seeds", request.seeds), ("--set", request.overrides)):
        if given:
            raise UserError(f"{option}: is for runs; {request.target} is a folder of images, which are there already")
    name = request.protocol or "folders"
    protocol = protocols.load(name)
    images = FolderImages(request.target, request.samples)
    real = None
    if request.against is not None:
        real = shard_side(request, protocol, images) if is_shards(request.against) else folder_side(request.against)
    lossy = sum(path.suffix.lower() in LOSSY for path in images.paths)
    notes = [f"{lossy:,} of the scored images are JPEG or WebP files: lossy compression moves FID"] if lossy else []
    return Task(
        name,
        protocol,
        {"kind": "images", "path": str(request.target)},
        [Pictures(images, "generated")],
        {"quantisation": "not known: files as they are", "seeds": None, "captions": None},
        real,
        notes=notes,
    )


def is_shards(path: Path) -> bool:
    """Whether a folder is what ``t2i prepare`` wrote."""
    return (path / "manifest.json").is_file()


def folder_side(path: Path) -> Side:
    """Real images that lie in a folder."""
    if not path.is_dir():
        raise DataError(f"--against {path}: no such folder; it should hold real images, or shards from t2i prepare")
    images = FolderImages(path)
    return Side(Pictures(images, "real"), {"kind": "images", "path": str(path)})


def shard_side(request: Request, protocol: Protocol, images: Images) -> Side:
    """Real images of shards for a folder of generated ones: the protocol's, or a whole split where it fixes none."""
    assert request.against is not None
    folder = ShardFolder(request.against, protocol.real.split if protocol.real else "val")
    height, width = images.size
    size = height if height == width else folder.image_size
    if protocol.captions is not None:
        return paired_side(folder, draw(folder, protocol.captions), size)
    return prepared_side(folder, range(len(folder)), None, size)


def paired_side(folder: ShardFolder, drawn: Sequence[Drawn], size: int) -> Side:
    """The images whose captions were drawn, each once, with the first caption that was drawn of it."""
    first: dict[int, str] = {}
    for one in drawn:
        first.setdefault(one.image, one.text)
    chosen = sorted(first)
    return prepared_side(folder, chosen, [first[image] for image in chosen], size)


def prepared_side(folder: ShardFolder, chosen: Sequence[int], captions: Sequence[str] | None, size: int) -> Side:
    """Images of shards as the real side."""
    dataset = str(folder.manifest["dataset"])
    real_set = Real.model_validate({"dataset": dataset, "split": folder.split, "fit": folder.fit})
    facts = {"kind": "shards", "path": str(folder.folder), "manifest_sha256": folder.manifest_hash}
    described = real_set.model_dump(exclude={"images"}) | {"stored_size": folder.image_size, "filter": "PIL bicubic"}
    return Side(Pictures(ShardImages(folder, chosen, size), "real", captions), facts | described, real_set)


# ---------------------------------------------------------------------------- the result


def document(
    task: Task, entries: dict[str, dict[str, Any]], pixels: dict[str, str], machine: Machine
) -> dict[str, Any]:
    """The whole tuple that makes a figure comparable (docs/protocols.md)."""
    images = task.generated[0].images
    real = task.real.pictures.images if task.real else None
    facts = Facts(
        generated=len(images),
        real=len(real) if real else 0,
        sizes=(images.size, real.size if real else images.size),
        seeds=task.seeds,
        captions=task.captions,
        real_set=task.real.real_set if task.real else None,
        entries=entries,
    )
    departed = protocols.deviations(task.protocol, facts)
    notes = list(task.notes)
    if len(images) < protocols.COMPARABLE and entries.get("fid-tf", {}).get("computed"):
        notes.append(f"FID of {len(images):,} images is biased upwards: compare only with results of the same number")
    return {
        "protocol": task.name + ("*" if departed else ""),
        "deviations": departed,
        "notes": notes,
        "target": task.target,
        "generated": sizes(images) | task.generated_facts | {"pixels_sha256": drop(pixels, "real")},
        "real": task.real.facts | sizes(real) | {"pixels_sha256": pixels.get("real")} if task.real and real else None,
        "metrics": entries,
        "protocol_file": task.protocol.model_dump(mode="json"),
        "versions": versions(),
        "device": str(machine.device),
        "utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def drop(values: dict[str, str], key: str) -> dict[str, str]:
    """All values but one."""
    return {name: value for name, value in values.items() if name != key}


def sizes(images: Images) -> dict[str, int]:
    """How many images, how large."""
    return {"count": len(images), "height": images.size[0], "width": images.size[1]}


def versions() -> dict[str, str]:
    """Of everything that could move a figure."""
    others = ("torch", "torch-fidelity", "numpy", "pillow")
    return (
        {"t2i": t2icli.__version__}
        | {name: importlib.metadata.version(name) for name in others}
        | {"python": platform.python_version()}
    )


def keep(result: dict[str, Any], task: Task, out: Path | None) -> None:
    """Write the result to ``out``, else to the run's ``eval`` folder under a name that is not taken."""
    if out is None and task.folder is None:
        return
    if out is None:
        assert task.folder is not None
        stamp = result["utc"].replace("-", "").replace(":", "")
        stem = f"{task.name}-{stamp}"
        folder = task.folder / "eval"
        taken = len(list(folder.glob(f"{stem}*.json")))
        out = folder / (f"{stem}-{taken + 1}.json" if taken else f"{stem}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, result)
    say(f"Result: {out}")
