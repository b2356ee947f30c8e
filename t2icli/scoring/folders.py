"""A folder of images made by anything as what is scored."""

from collections.abc import Sequence
from dataclasses import replace

from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, UserError
from t2icli.evaluation import protocol as protocols
from t2icli.evaluation.caching import digest_of
from t2icli.evaluation.captions import draw, texts_hash
from t2icli.evaluation.captions_file import Described, captions_lying_in, read_captions
from t2icli.evaluation.evaluate import find_metrics
from t2icli.evaluation.features import Boxes, Captions, Pictures
from t2icli.evaluation.images import FolderImages, Images, image_files
from t2icli.evaluation.protocol import Negatives, Protocol
from t2icli.evaluation.soa.labels import LABELS
from t2icli.scoring.keeping import folder_of_scores
from t2icli.scoring.overlap import overlap
from t2icli.scoring.remarks import decoding, how_read
from t2icli.scoring.request import Request, is_shards
from t2icli.scoring.task import (
    Side,
    Task,
    compared_with,
    folder_side,
    is_statistics,
    paired_side,
    refuse_foreign,
    said,
    statistics_side,
    whole_split,
)


def folder_task(request: Request) -> Task:
    """Images made by anything, as they lie in a folder."""
    for option, given in (
        ("--seeds", request.seeds),
        ("--set", request.overrides),
        ("--soa-captions", request.objects),
    ):
        if given:
            raise UserError(f"{option}: is for runs; {request.target} is a folder of images, which are there already")
    name = request.protocol or "folders"
    protocol = protocols.load(name)
    described, remarks = describe(request)
    images = FolderImages(request.target, request.samples, described.paths if described else None)
    captions, facts = None, None
    if described is not None:
        captions = captions_of(described, len(images), protocol.negatives)
        facts = {
            "sha256": digest_of(captions.texts),
            "texts_sha256": texts_hash(captions.texts),
            "from": str(described.origin),
            "paired_by": described.order,
        }
        remarks = [*remarks, *described.notes]
    real = real_side(request, protocol, images)
    if real is not None and real.real_set is not None:
        refuse_foreign(name, list(find_metrics(protocol.metrics).values()), [real.real_set.dataset])
    boxes = boxes_of(described, len(images)) if described else None
    lossy = sum(header.lossy for header in images.headers)
    notes = how_read(images, "scored")
    if real is not None and real.pictures is not None and isinstance(real.pictures.images, FolderImages):
        notes += overlap(images, real.pictures.images)
    pictures = [Pictures(images, "generated", captions, boxes=boxes)]
    return Task(
        name,
        protocol,
        {"kind": "images", "path": str(request.target)},
        {"drawn": compared_with(pictures, real)},
        {
            "quantisation": "not known: files as they are",
            "lossy": lossy,
            "seeds": None,
            "captions": facts,
            "decoding": decoding(images),
        },
        real,
        notes=[*notes, *remarks, *(real.notes if real else ())],
        folder=folder_of_scores(request.target, request.against),
        may_be_lost=True,
    )


def describe(request: Request) -> tuple[Described | None, list[str]]:
    """The captions of the folder's images: those that are given, else those that lie in it; and remarks on them."""
    pictures = image_files(request.target)
    if request.captions is not None:
        return read_captions(request.captions, request.target, pictures), []
    return captions_lying_in(request.target, pictures)


def captions_of(described: Described, count: int, rule: Negatives | None) -> Captions:
    """Captions of the first ``count`` pictures with their negatives."""
    classes = rule is not None and rule.among == "other-classes"
    groups: Sequence[int] = described.classes if classes else described.images
    return said(list(described.texts[:count]), groups[:count], rule)


def boxes_of(described: Described, count: int) -> list[Boxes] | None:
    """Where a layout told the model to draw what."""
    if described.boxes is None:
        return None
    labels = {name: label.id for label in LABELS for name in (label.name, label.yolo_name)}
    found: list[Boxes] = []
    for path, boxes in zip(described.paths[:count], described.boxes, strict=False):
        unknown = [name for name, *_ in boxes if name not in labels]
        if unknown:
            raise DataError(f"boxes of {path.name}: {unknown[0]!r} is none of COCO's 80 kinds of objects")
        found.append([(float(labels[name]), *sides) for name, *sides in boxes])
    return found


def real_side(request: Request, protocol: Protocol, images: Images) -> Side | None:
    """What the folder is compared with: nothing, statistics, shards, or another folder."""
    if request.against is None:
        return None
    if is_statistics(request.against):
        return statistics_side(request.against)
    if is_shards(request.against):
        return shard_side(request, protocol, images)
    return against_folder(request, protocol.negatives)


def against_folder(request: Request, rule: Negatives | None) -> Side:
    """Real images of a folder, with their captions where these lie in it too."""
    assert request.against is not None
    side = folder_side(request.against)
    described, remarks = captions_lying_in(request.against, image_files(request.against))
    if described is None:
        return replace(side, notes=[*side.notes, *remarks])
    captions = captions_of(described, len(described.paths), rule)
    assert side.pictures is not None
    pictures = replace(side.pictures, captions=captions)
    return replace(side, pictures=pictures, notes=[*side.notes, *remarks, *described.notes])


def shard_side(request: Request, protocol: Protocol, images: Images) -> Side:
    """Real images of shards for a folder of generated ones: the protocol's, or a whole split where it fixes none."""
    assert request.against is not None
    folder = ShardFolder(request.against, protocol.real.split if protocol.real else "val")
    height, width = images.size
    size = height if height == width else folder.image_size
    if protocol.captions is not None:
        return paired_side(folder, draw(folder, protocol.captions), size, protocol.negatives)
    return whole_split(folder, size)
