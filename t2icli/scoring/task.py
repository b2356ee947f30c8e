"""Everything that is needed to score, found and checked before anything long begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, UserError
from t2icli.evaluation.captions import Drawn, draw_negatives
from t2icli.evaluation.evaluate import Sides
from t2icli.evaluation.features import Captions as Said
from t2icli.evaluation.features import Pictures
from t2icli.evaluation.images import FILTER, FolderImages, ShardImages
from t2icli.evaluation.metric import Metric
from t2icli.evaluation.protocol import Captions, Negatives, Protocol, Real
from t2icli.evaluation.reference import STATISTICS, Reference, read_reference
from t2icli.scoring.remarks import decoding, how_read


@dataclass(frozen=True)
class Side:
    """Real images, or a file of their statistics, with what a result says about them."""

    pictures: Pictures | None
    facts: dict[str, Any]
    real_set: Real | None = None  # None: a plain folder, or a file
    reference: Reference | None = None  # in place of the images
    notes: Sequence[str] = ()  # for the result


@dataclass(frozen=True)
class Task:
    """What is scored, under which protocol, against what."""

    name: str  # of the protocol
    protocol: Protocol
    target: dict[str, Any]
    sides: Mapping[str, Sides]
    generated_facts: dict[str, Any]
    real: Side | None
    captions: Captions | None = None  # the rule that was followed; None: captions were given, or are not known
    seeds: tuple[int, ...] | None = None  # None: the images were there already
    notes: list[str] = field(default_factory=list)
    folder: Path = field(kw_only=True)  # where the result is kept unless --out says otherwise
    may_be_lost: bool = False  # whether the result may stay unkept where that folder cannot be written
    trained_with: frozenset[str] = frozenset()  # sha256 of the networks that guided the run's training
    changed: Sequence[str] = ()  # in words, the keys of the run's recipe that were changed, but for places

    @property
    def drawn(self) -> Sides:
        """The pictures of the protocol's captions."""
        return self.sides["drawn"]


def said(texts: Sequence[str], groups: Sequence[int], rule: Negatives | None) -> Said:
    """Captions with the wrong ones that each picture is compared with, where there are enough."""
    if rule is None:
        return Said(texts)
    try:
        return Said(texts, draw_negatives(groups, rule))
    except UserError:  # the metric that wants them says so
        return Said(texts)


def groups_of(drawn: Sequence[Drawn], rule: Negatives | None) -> list[int]:
    """What captions have in common that are no negatives of each other: their image, or its class."""
    if rule is not None and rule.among == "other-classes":
        return [one.class_index for one in drawn]
    return [one.id for one in drawn]


def compared_with(pictures: Sequence[Pictures], side: Side | None, dataset: str = "") -> Sides:
    """Generated pictures beside their real side; ``dataset`` says of what they are, where that is known."""
    if side is None:
        return Sides(pictures, foreign=dataset)
    known = dataset or (side.real_set.dataset if side.real_set is not None else "")
    return Sides(pictures, side.pictures, side.reference, known)


def is_statistics(path: Path) -> bool:
    """Whether a path names a file of reference statistics rather than images."""
    return path.suffix == ".npz" and not path.is_dir()


def statistics_side(path: Path) -> Side:
    """Mean and covariance in place of real images."""
    if not path.is_file():
        raise DataError(f"--against {path}: no such file of statistics")
    reference = read_reference(path)
    facts = {"kind": STATISTICS, "path": str(path), "sha256": reference.sha256, "features": reference.features}
    return Side(None, facts, reference=reference)


def refuse_foreign(name: str, named: Sequence[Metric], known: Sequence[str]) -> None:
    """Refuse a protocol whose networks have never seen such data; ``known`` are data sets that were found."""
    for only in sorted({metric.only for metric in named if metric.only}):
        for dataset in known:
            if dataset != only:
                raise DataError(
                    f"protocol {name}: its networks judge pictures of the data set {only} alone, and these are of "
                    f"{dataset}: they have never seen such pictures, so the figures would mean nothing; name another "
                    "protocol with --protocol, e.g. coco14-30k, whose result says in what it departs"
                )


def folder_side(path: Path) -> Side:
    """Real images that lie in a folder."""
    if not path.is_dir():
        raise DataError(
            f"--against {path}: no such folder; it should hold real images or shards, or be an .npz file of statistics"
        )
    images = FolderImages(path)
    facts = {"kind": "images", "path": str(path), "decoding": decoding(images)}
    return Side(Pictures(images, "real"), facts, notes=how_read(images, "real"))


def paired_side(folder: ShardFolder, drawn: Sequence[Drawn], size: int, rule: Negatives | None) -> Side:
    """The images whose captions were drawn, each once, with the first caption that was drawn of it."""
    first: dict[int, Drawn] = {}  # by the data set's number, since an image with two narratives is stored twice
    for one in sorted(drawn, key=lambda one: one.image):
        first.setdefault(one.id, one)
    chosen = list(first.values())
    captions = said([one.text for one in chosen], groups_of(chosen, rule), rule)
    return prepared_side(folder, [one.image for one in chosen], captions, size)


def whole_split(folder: ShardFolder, size: int) -> Side:
    """All images of a split."""
    return prepared_side(folder, range(len(folder)), None, size)


def prepared_side(folder: ShardFolder, chosen: Sequence[int], captions: Said | None, size: int) -> Side:
    """Images of shards as the real side."""
    dataset = str(folder.manifest["dataset"])
    real_set = Real.model_validate({"dataset": dataset, "split": folder.split, "fit": folder.fit})
    facts = {"kind": "shards", "path": str(folder.folder), "manifest_sha256": folder.manifest_hash}
    described = real_set.model_dump(exclude={"images"}) | {"stored_size": folder.image_size, "filter": FILTER}
    stored = folder.manifest["recipe"]["images"]
    lossy = [f"the real images are stored as JPEG of quality {stored.get('quality')}: lossy compression moves FID"]
    notes = lossy if stored.get("codec") == "jpeg" else []
    return Side(Pictures(ShardImages(folder, chosen, size), "real", captions), facts | described, real_set, notes=notes)
