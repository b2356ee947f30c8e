"""Whether the real side holds scored pictures, which would bring every distance between the sides down."""

import os
from collections.abc import Sequence
from pathlib import Path

from t2icli.errors import UserError
from t2icli.evaluation.images import FolderImages, file_digest


def overlap(scored: FolderImages, real: FolderImages) -> list[str]:
    """What a result has to say of files that both sides share; ``UserError`` where a folder holds the other by mistake.

    A folder against itself is said and not refused, because its distance of zero is what one may want to see.
    """
    common = shared(scored.paths, real.paths)
    if not common:
        return []
    inner, outer = sorted((scored, real), key=lambda side: len(Path(os.path.realpath(side.folder)).parts), reverse=True)
    inside, around = (Path(os.path.realpath(side.folder)) for side in (inner, outer))
    if inside != around and inside.is_relative_to(around):
        what = "real" if outer is real else "scored"
        raise UserError(
            f"{outer.folder}: the folder of {what} images contains {inner.folder}, so that {len(common):,} pictures "
            f"are on both sides, e.g. {common[0]}; name a folder that holds {what} images only"
        )
    return [
        f"{len(common):,} of the {len(real):,} real images are scored ones as well (the same file or the same bytes, "
        f"e.g. {common[0]}): the sides overlap, and distances come out too small"
    ]


def shared(scored: Sequence[Path], real: Sequence[Path]) -> list[Path]:
    """The real files that are scored, too: under whatever name or link, or as a copy with the same bytes."""
    files = {path: path.stat() for path in (*scored, *real)}
    places = {(files[path].st_dev, files[path].st_ino) for path in scored}
    common = {path for path in real if (files[path].st_dev, files[path].st_ino) in places}
    # only files of equal lengths can have equal bytes, so that hardly any is read for this
    lengths = {files[path].st_size for path in scored} & {files[path].st_size for path in real if path not in common}
    contents = {file_digest(path) for path in scored if files[path].st_size in lengths}
    copies = {path for path in real if files[path].st_size in lengths and file_digest(path) in contents}
    return sorted(common | copies)
