"""How ``t2i prepare`` is asked to work, and what is refused before anything is loaded, read or made.

Nothing here imports torch, so that a slip on the command line is told in a fraction of a second.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli import registry
from t2icli.errors import UserError
from t2icli.recipe import DataRecipe

if TYPE_CHECKING:
    from t2icli.data.parts import Part

READERS = "t2icli.data.readers"


@dataclass(frozen=True)
class Options:
    """How shards are made; nothing here changes what they hold."""

    workers: int = 0  # shards at a time; 0 leaves it to the engine
    max_bad: float = 0.001  # share of the images that may be unusable
    overwrite: bool = False  # shards that were prepared otherwise
    dry_run: bool = False  # only say what would be written
    part: "Part | None" = None  # write its shards only, and no manifest
    merge: bool = False  # write the manifest over what all parts have written
    engine: str = "pool"  # a module in t2icli/data/engines
    gpu_share: float = 1.0  # of a GPU, for each process that runs BERT


def check(options: Options) -> None:
    """Refuse options that cannot go together, and shares that are none, ``nan`` among them."""
    merge, part = options.merge, options.part
    if merge and part is not None:
        raise UserError("--merge and --shards: give --shards to each job, and --merge alone when all have ended")
    if merge and options.dry_run:
        raise UserError("--merge and --dry-run: --merge writes nothing but the manifest, so there is nothing to try")
    if options.overwrite and (merge or part is not None):
        raise UserError(
            f"--overwrite and {'--merge' if merge else '--shards'}: would remove what other jobs have written; "
            "choose another --out, or remove the folder before the first job"
        )

    max_bad, gpu_share = options.max_bad, options.gpu_share
    if not 0 <= max_bad <= 1:
        raise UserError(f"--max-bad {max_bad:g}: should be a share of all images, from 0 to 1, e.g. --max-bad 0.01")
    if not 0 < gpu_share <= 1:
        raise UserError(f"--gpu-share {gpu_share:g}: should be above 0 and at most 1, e.g. --gpu-share 0.5")
    if gpu_share != 1 and options.engine == "pool":
        raise UserError(
            f"--gpu-share {gpu_share:g} and --engine pool: only Ray hands out parts of a GPU; add --engine ray, or "
            "leave --gpu-share out"
        )


def check_places(root: Path | None, out: Path) -> None:
    """Refuse places where no shards can go, before the raw data is read for minutes."""
    if root is not None and os.path.realpath(out) == os.path.realpath(root):
        raise UserError(f"--out {out}: is the folder of the raw data; shards need a folder of their own")
    there = next(place for place in (out, *out.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise UserError(f"--out {out}: {there} is no folder; name a folder for the shards, or one that can be made")


def check_root(recipe: DataRecipe, root: Path | None) -> None:
    """Refuse raw data that is not there, in the words of its reader; one that draws its data makes the folder."""
    reader = registry.load(READERS, recipe.dataset)
    if not hasattr(reader, "DEFAULT_ROOT") and (root is None or not root.exists()):
        reader.read(recipe.reader, root, recipe.seed)
