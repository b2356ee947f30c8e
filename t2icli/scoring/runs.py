"""A run as what is scored: its pictures are generated when they are asked for."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from t2icli.data.shard_folder import ShardFolder
from t2icli.documents import read_document
from t2icli.errors import UserError
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.caching import digest_of
from t2icli.evaluation.captions import Drawn, caption_hash, draw, texts_hash
from t2icli.evaluation.evaluate import Sides, find_metrics
from t2icli.evaluation.features import Captions as Said
from t2icli.evaluation.features import Pictures
from t2icli.evaluation.images import Images, ShardImages
from t2icli.evaluation.protocol import Protocol
from t2icli.evaluation.soa.caption_lists import Entry, plan, read_lists
from t2icli.sampling import TrainedRun, open_run
from t2icli.scoring.keeping import SCORES
from t2icli.scoring.request import Request, is_shards
from t2icli.scoring.task import (
    Task,
    compared_with,
    folder_side,
    groups_of,
    is_statistics,
    paired_side,
    refuse_foreign,
    said,
    statistics_side,
)

BLOCK = 32  # pictures generated together; fixed, so that --batch cannot change a single pixel


class GeneratedImages(Images):
    """Pictures of captions by a run with the noise of one seed; picture i's noise is a function of (seed, i)."""

    def __init__(self, run: TrainedRun, texts: Sequence[str], seed: int) -> None:
        self.run, self.texts, self.seed = run, texts, seed
        self.size = (run.recipe.data.image_size, run.recipe.data.image_size)
        self.block: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, start: int, stop: int) -> Tensor:
        """See ``Images``."""
        pieces = []
        for number in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            first = number * BLOCK
            pieces.append(self.generate(number)[max(start - first, 0) : stop - first])
        return torch.cat(pieces)

    def identity(self, start: int, stop: int) -> Mapping[str, Any]:
        """See ``Images``."""
        captions = json.dumps(list(self.texts[start:stop]), ensure_ascii=False)
        return {
            "kind": "generated",
            "weights": self.run.weights_sha256,
            "recipe": hashlib.sha256(str(self.run.recipe.model_dump(mode="json")).encode()).hexdigest(),
            "seed": self.seed,
            "noise": [start, stop],
            "captions": hashlib.sha256(captions.encode()).hexdigest(),
            "read": "as text",
            "size": list(self.size),
            "quantisation": "round",
        }

    def generate(self, number: int) -> Tensor:
        """One block; the last one is kept, because batches of another size share it."""
        if self.block[0] != number:
            indices = range(number * BLOCK, min((number + 1) * BLOCK, len(self)))
            self.block = number, self.draw(indices)
        return self.block[1]

    def draw(self, indices: range) -> Tensor:
        """Pictures of some captions."""
        return self.run.generate([self.texts[i] for i in indices], list(indices), self.seed)


class PreparedImages(GeneratedImages):
    """The same for captions of shards, whose vectors are stored there."""

    def __init__(self, run: TrainedRun, folder: ShardFolder, drawn: Sequence[Drawn], seed: int) -> None:
        super().__init__(run, [one.text for one in drawn], seed)
        self.folder, self.drawn = folder, drawn

    def identity(self, start: int, stop: int) -> Mapping[str, Any]:
        """See ``Images``."""
        return {**super().identity(start, stop), "read": self.folder.manifest_hash}

    def draw(self, indices: range) -> Tensor:
        """See ``GeneratedImages``."""
        captions = [(self.drawn[i].image, self.drawn[i].which) for i in indices]
        return self.run.generate_from_shards(self.folder, captions, list(indices), self.seed)


def run_task(request: Request, device: torch.device) -> Task:
    """A run draws for captions of its shards' validation split, or of the shards it is scored against."""
    if request.captions is not None:
        raise UserError(f"--captions: is for folders of images; {request.target} is a run, whose protocol draws them")
    run = open_run(request.target, request.overrides, device)
    name = request.protocol or run.recipe.evaluate.protocol
    protocol = protocols.load(name)
    if protocol.captions is None or protocol.real is None:
        raise UserError(f"protocol {name}: says nothing about captions, so a run cannot be scored under it")
    from_shards = request.against is not None and is_shards(request.against)
    shards = request.against if request.against is not None and from_shards else run.recipe.data.shards
    folder = ShardFolder(shards, protocol.real.split)
    own = str(folder.manifest["dataset"])
    refuse_foreign(name, list(find_metrics(protocol.metrics).values()), [own])
    rule = protocol.captions.model_copy(update={"count": request.samples or protocol.captions.count})
    drawn = draw(folder, rule)
    captions = said([one.text for one in drawn], groups_of(drawn, protocol.negatives), protocol.negatives)
    seeds = tuple(range(request.seeds)) if request.seeds else protocol.seeds
    if request.against is None or from_shards:
        real = paired_side(folder, drawn, run.recipe.data.image_size, protocol.negatives)
    elif is_statistics(request.against):
        real = statistics_side(request.against)
    else:
        real = folder_side(request.against)
    generated = [Pictures(PreparedImages(run, folder, drawn, seed), f"seed {seed}", captions, seed) for seed in seeds]
    sides = {"drawn": compared_with(generated, real, own)}
    texts = texts_hash([one.text for one in drawn])
    facts = rule.model_dump() | {"sha256": caption_hash(drawn), "texts_sha256": texts, "from": str(shards)}
    made = {"quantisation": "round", "noise": "standard normal", "seeds": list(seeds), "captions": facts}
    if request.objects is not None:
        planned = plan_objects(request.objects, protocol)
        sides["objects"] = object_sides(run, folder, planned, seeds)
        made["objects"] = object_facts(request.objects, planned)
    return Task(
        name,
        protocol,
        run_facts(run),
        sides,
        made,
        real,
        rule,
        seeds,
        notes=list(real.notes),
        folder=run.folder / "eval" if run.folder.is_dir() else SCORES / run.folder.stem,
        may_be_lost=run.folder.is_file(),
        trained_with=guides(run.folder),
        changed=[
            f"{key} of the run's recipe is {change.given!r} instead of {change.own!r} (--set)"
            for key, change in run.changes.items()
            if not change.harmless
        ],
    )


def plan_objects(lists: Path, protocol: Protocol) -> list[tuple[int, Entry]]:
    """Which pictures SOA's lists ask for: a label and a caption each."""
    rule = protocol.objects
    if rule is None:
        raise UserError(f"--soa-captions {lists}: the protocol says nothing about SOA's lists; leave the option out")
    return plan(read_lists(lists), rule.images, rule.people, rule.seed)


def object_facts(lists: Path, planned: Sequence[tuple[int, Entry]]) -> dict[str, Any]:
    """What a result says of them."""
    labels = {label for label, _ in planned}
    asked = digest_of([f"{label}\t{entry.caption}" for label, entry in planned])
    return {"from": str(lists), "count": len(planned), "labels": len(labels), "sha256": asked}


def object_sides(
    run: TrainedRun, folder: ShardFolder, planned: Sequence[tuple[int, Entry]], seeds: Sequence[int]
) -> Sides:
    """Pictures for SOA's own captions; beside them the real images of those captions that the shards hold."""
    texts = [entry.caption for _, entry in planned]
    labels = [(label,) for label, _ in planned]
    generated = [
        Pictures(GeneratedImages(run, texts, seed), f"objects, seed {seed}", Said(texts), seed, labels)
        for seed in seeds
    ]
    return Sides(generated, real_objects(folder, planned, run.recipe.data.image_size))


def real_objects(folder: ShardFolder, planned: Sequence[tuple[int, Entry]], size: int) -> Pictures | None:
    """The real images of SOA's captions, each once a label."""
    rows = {int(number): row for row, number in enumerate(all_ids(folder))}
    chosen = {(label, entry.image_id): entry.caption for label, entry in planned if entry.image_id in rows}
    if not chosen:
        return None
    images = ShardImages(folder, [rows[image] for _, image in chosen], size)
    return Pictures(images, "objects, real", Said(list(chosen.values())), objects=[(label,) for label, _ in chosen])


def all_ids(folder: ShardFolder) -> list[int]:
    """The data set's numbers of all images of a split, in order."""
    found = []
    for image in range(len(folder)):
        shard, row = folder.locate(image)
        found.append(int(shard.ids[row]))
    return found


def run_facts(run: TrainedRun) -> dict[str, Any]:
    """What was scored: which weights, after how many real images."""
    return {
        "kind": "run",
        "path": str(run.folder),
        "system": run.recipe.system,
        "weights": "averaged (EMA) generator",
        "weights_sha256": run.weights_sha256,
        "images_trained": run.images,
        "overrides": {
            key: {"from": change.own, "to": change.given, "harmless": change.harmless}
            for key, change in run.changes.items()
        },
    }


def guides(run: Path) -> frozenset[str]:
    """SHA-256 of the networks that a run was trained with, from its card."""
    card = run / "card.json"
    if not card.is_file():
        return frozenset()
    facts = read_document(card, CardFacts)
    return frozenset(used.sha256 for used in [*facts.weights, facts.text] if used.sha256)


class Used(BaseModel):
    """Weights that a card names."""

    sha256: str | None = None


class CardFacts(BaseModel):
    """What a card says of the networks that a run was trained with."""

    weights: list[Used] = []
    text: Used = Used()
