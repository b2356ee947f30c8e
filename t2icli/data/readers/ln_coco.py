"""Localized Narratives over the images of COCO 2017: one pair for every narrative, 64 tokens each in XMC-GAN.

An image that two people described is there twice, with the same id. Pairs keep the order of the files.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from t2icli.data.narratives import PAGE, missing_files, parts, read_narratives
from t2icli.data.places import Folders, refuse_links, shown
from t2icli.data.source import Record, Source
from t2icli.errors import DataError
from t2icli.recipe import Section

FOLDERS = {"train": "train2017", "val": "val2017"}
NARRATIVES = {
    "train": parts("coco_train_localized_narratives", 4),
    "val": ("coco_val_localized_narratives.jsonl",),
}
PUBLISHED = {"train": 134_272, "val": 8_573}
COCO_ID = re.compile(r"[0-9]{1,12}")


class Config(Section):
    """Narratives over COCO need nothing but their files."""


def read(config: Config, root: Path | None, seed: int) -> Source:
    """Both splits; nothing here depends on the seed."""
    if root is None:
        raise DataError(
            "ln-coco: say where the raw data lies: --root DIR (it holds train2017/, val2017/ and the narratives)"
        )
    require(root)
    folders = Folders(root, FOLDERS.values())
    source = Source("ln-coco", {}, published=dict(PUBLISHED))
    for split in FOLDERS:
        source.splits[split] = list(read_split(root, split, folders, source))
    return source


def require(root: Path) -> None:
    """Name everything that is missing, and where it is to be had; refuse links that lead out of the root."""
    missing = [
        f"  {folder}: from http://images.cocodataset.org/zips/{folder}.zip"
        for folder in FOLDERS.values()
        if not (root / folder).is_dir()
    ]
    missing += [line for names in NARRATIVES.values() for line in missing_files(root, names)]
    if missing:
        lines = "\n".join(missing)
        raise DataError(
            f"{root}: Localized Narratives over COCO 2017 are not whole; missing:\n{lines}\n"
            f"images are at https://cocodataset.org/#download (2017 train images, val images), narratives at {PAGE}; "
            f"unpack the images in {root} and put the narratives beside them"
        )
    refuse_links(root, FOLDERS.values())


def read_split(root: Path, split: str, folders: Folders, source: Source) -> Iterator[Record]:
    """A record for every narrative whose image is there; the others go to ``source.left_out``."""
    folder = FOLDERS[split]
    for file in NARRATIVES[split]:
        for narrative in read_narratives(root, file):
            if not COCO_ID.fullmatch(narrative.image_id):
                source.leave_out(split, shown(narrative.image_id), "the image_id is not a number of COCO")
                continue
            name = f"{int(narrative.image_id):012d}.jpg"
            reason = folders.refusal(folder, name, file)
            if reason is None:
                yield Record(int(narrative.image_id), root / folder / name, (narrative.caption,))
            else:
                source.leave_out(split, name, reason)
