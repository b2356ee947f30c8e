"""Results as files: what one holds, and whether it is what ``t2i evaluate`` wrote.

A result carries a checksum of itself, so that a figure that was edited later is told. Results of older versions have
none; they are read, shown and compared as far as their facts go.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from t2icli.documents import checked, read_json
from t2icli.errors import DataError

FORMAT = 2  # 1: without format, checksum, hashes of sets, overrides; raised when a fact changes its meaning
CHECKSUM = "checksum"
NEEDED = ("metrics", "protocol", "target", "generated")

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Shape(BaseModel):
    """A table of a result; what a newer or older version adds is kept."""

    model_config = ConfigDict(extra="allow", strict=True, serialize_by_alias=True)


class Weights(Shape):
    """Which weights looked."""

    name: str
    sha256: str
    published: bool | None = None


class Label(Shape):
    """How often one object of SOA was found."""

    label: int
    name: str
    images: int
    found: int
    accuracy: Finite | None


class Details(Shape):
    """What else a metric says of one set of pictures."""

    labels: list[Label] = []
    real_labels: list[Label] = Field([], alias="labels (real)")


class Figure(Shape):
    """A metric that was computed."""

    computed: Literal[True]
    metric: str
    value: Finite
    std_over_seeds: Finite | None
    better: Literal["lower", "higher"]
    network: str
    resize: str
    weights: Weights
    mean: dict[str, Finite] = {}
    std: dict[str, Finite | None] = {}
    per_seed: list[dict[str, Any]] = Field([{}], min_length=1)
    details: list[Details] = Field([Details()], min_length=1)
    in_loop: bool = False


class NoFigure(Shape):
    """A metric that could not be computed."""

    computed: Literal[False]
    reason: str
    exit_code: int = 2


class Override(Shape):
    """A key of the run's recipe that ``--set`` changed."""

    own: Any = Field(None, alias="from")
    given: Any = Field(None, alias="to")
    harmless: bool = False  # whether it moves no figure, e.g. says where something lies


class Target(Shape):
    """What was scored."""

    path: str
    kind: str = ""
    images_trained: int | None = None
    overrides: dict[str, Override] = {}


class Hash(Shape):
    """Facts of which the hash counts."""

    sha256: str


class CaptionFacts(Hash):
    """Which captions; ``sha256`` is of an older form, which depends on whether a run or a folder was scored."""

    texts_sha256: str | None = None  # of the texts in whatever order


class Generated(Shape):
    """The pictures that were scored."""

    count: int
    height: int
    width: int
    quantisation: str = ""
    captions: CaptionFacts | None = None
    negatives: Hash | None = None
    objects: Hash | None = None
    pixel_sets_sha256: dict[str, str] = {}  # label of a side -> hash of its pictures in whatever order
    lossy: int | None = None  # how many files were compressed with loss; None: not recorded


class RealFacts(Shape):
    """What they were compared with."""

    path: str = ""
    kind: str = ""
    count: int | None = None
    sha256: str | None = None  # of statistics
    pixels_sha256: str | None = None
    pixel_set_sha256: str | None = None


class Result(Shape):
    """A whole result."""

    format: int = 1
    protocol: str
    deviations: list[str] = []
    notes: list[str] = []
    target: Target
    generated: Generated
    real: RealFacts | None = None
    metrics: dict[str, Annotated[Figure | NoFigure, Field(discriminator="computed")]]
    protocol_file: dict[str, Any] | None = None
    precision: str = "float32"
    versions: dict[str, str] = {}
    device: str = ""
    utc: str = ""


def sealed(result: dict[str, Any]) -> dict[str, Any]:
    """A result with its checksum."""
    return result | {CHECKSUM: checksum(result)}


def checksum(result: dict[str, Any]) -> str:
    """SHA-256 of a result's canonical JSON: keys in order, no spaces, ASCII only, without the checksum itself."""
    rest = {key: value for key, value in result.items() if key != CHECKSUM}
    return hashlib.sha256(
        json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    ).hexdigest()


def read_result(path: Path) -> Result:
    """A result from its file; ``DataError`` where it is none, damaged, edited, or of a newer version."""
    raw = read_json(path)
    missing = [key for key in NEEDED if not isinstance(raw, dict) or key not in raw]
    if missing:
        raise DataError(f"{path}: is JSON, but no result of t2i evaluate (it has no {', '.join(missing)})")
    version = raw.get("format", 1)
    if isinstance(version, int) and version > FORMAT:
        raise DataError(f"{path}: is a result of a newer t2i (format {version}; this one reads up to {FORMAT})")
    result = checked(raw, Result, f"{path}: read as a result of t2i evaluate")
    if CHECKSUM not in raw and result.format == 1:
        return result
    try:
        expected = checksum(raw)
    except (ValueError, RecursionError) as fault:  # an endless exponent, or lists in lists in lists
        raise DataError(f"{path}: damaged, no result of t2i evaluate: {fault}") from None
    if raw.get(CHECKSUM) != expected:
        raise DataError(
            f"{path}: has been changed since t2i evaluate wrote it: its checksum is not that of what it holds, so its "
            "figures are not known to have been measured; evaluate again"
        )
    return result
