"""Protocols: everything that decides what a score means, as data with a name.

A protocol is a TOML file in ``protocols/``. A result may carry the bare name only when every fact of it agrees with
the file; otherwise the name gets a star and the result lists what differed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from t2icli import registry
from t2icli.documents import read_toml
from t2icli.errors import UserError
from t2icli.recipe import Section
from t2icli.recipe_files import checked

FOLDER = Path(__file__).parent / "protocols"
COMPARABLE = 10_000  # below so many images FID is mostly bias, see docs/protocols.md


class Captions(Section):
    """Which captions are drawn, and for how many generated pictures."""

    choice: Literal["image-passes", "caption-passes"] = Field(
        description="image-passes: passes over the images in random order, at each one of its captions at random; "
        "caption-passes: passes over all captions in random order. Both without replacement within a pass"
    )
    count: PositiveInt = Field(description="pictures to generate, one per drawn caption")
    seed: NonNegativeInt = Field(description="the draw is a function of it and of the split's captions")


class Real(Section):
    """The real side: the images whose captions were drawn, each once."""

    dataset: str = Field(description="as the shards' manifest names it")
    split: str = Field(description="split of the shards")
    fit: Literal["squash", "crop", "short"] = Field(description="how `t2i prepare` made the images square")
    images: PositiveInt | None = Field(None, description="how many real images there have to be, where that is fixed")


class Pictures(Section):
    """The pixels that networks are shown."""

    size: PositiveInt = Field(description="pixels a side, of generated and of real images")
    quantisation: Literal["round"] = Field("round", description="how generated floats became uint8")


class Negatives(Section):
    """The wrong captions that R-precision hides the right one among."""

    among: Literal["other-images", "other-classes"] = Field(description="whose captions they are")
    count: PositiveInt = Field(99, description="for each picture, without replacement")
    seed: NonNegativeInt = Field(description="the draw is a function of it and of the captions")


class Objects(Section):
    """What SOA asks a detector about."""

    images: PositiveInt = Field(3, description="pictures a caption, each with its own noise")
    people: PositiveInt = Field(30_000, description="captions drawn of those that name a person, one picture each")
    seed: NonNegativeInt = Field(description="of that draw")


class Protocol(Section):
    """A named way of scoring. Tables that are absent are not fixed by it."""

    description: str
    metrics: tuple[str, ...] = Field(description="what is computed when the command line names nothing")
    seeds: tuple[NonNegativeInt, ...] = Field((), description="noise seeds; pictures are generated anew for each")
    captions: Captions | None = None
    real: Real | None = None
    pictures: Pictures | None = None
    negatives: Negatives | None = None
    objects: Objects | None = None
    networks: dict[str, str] = Field(
        description="network -> how pictures are brought to the size it wants, for the metrics above"
    )


@dataclass(frozen=True)
class Facts:
    """What was in fact done, as far as a protocol could fix it; ``None``: not known, as in a folder of images."""

    generated: int
    real: int
    sizes: tuple[tuple[int, int], tuple[int, int]]  # (height, width) of generated and of real images
    seeds: tuple[int, ...] | None
    captions: Captions | None
    captions_given: bool  # by the user, for images that were there already
    real_set: Real | None
    precision: str
    entries: Mapping[str, Mapping[str, Any]]  # the metrics' results
    changed: Sequence[str] = ()  # in words, the keys of the run's recipe that were changed, but for places
    statistics: str = ""  # where these stand for the real images, what is not known of them


def available() -> list[str]:
    """Names of the protocols that come with t2i."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Protocol:
    """A protocol by its name."""
    if name not in available():
        raise UserError(f"protocol: there is no {name!r}; {registry.nearest(name, available())}")
    path = FOLDER / f"{name}.toml"
    return checked(Protocol, read_toml(path), str(path))


def deviations(protocol: Protocol, facts: Facts) -> list[str]:
    """In words, everything in which a result departs from its protocol; empty when it may carry the bare name."""
    return [
        *facts.changed,
        *caption_deviations(protocol, facts),
        *real_deviations(protocol, facts),
        *size_deviations(protocol, facts),
        *noise_deviations(protocol, facts),
        *network_deviations(protocol, facts),
    ]


def caption_deviations(protocol: Protocol, facts: Facts) -> list[str]:
    """How many pictures of which captions."""
    if protocol.captions is None:
        return []
    found = []
    if facts.generated != protocol.captions.count:
        found.append(f"{facts.generated:,} generated images instead of {protocol.captions.count:,}")
    if facts.captions is None:
        said = "were given" if facts.captions_given else "are not known"
        found.append(f"captions of the generated images {said} instead of drawn by the protocol")
    else:
        found += [
            f"captions.{key} is {getattr(facts.captions, key)!r} instead of {getattr(protocol.captions, key)!r}"
            for key in ("choice", "seed")
            if getattr(facts.captions, key) != getattr(protocol.captions, key)
        ]
    return found


def real_deviations(protocol: Protocol, facts: Facts) -> list[str]:
    """Which real images, and how many."""
    if facts.statistics:
        return [facts.statistics]
    if protocol.real is None:
        return []
    if not facts.real:
        return ["no real images"]
    found = []
    if facts.real_set is None:
        found.append(f"real images from a folder instead of the {protocol.real.split} split of {protocol.real.dataset}")
    else:
        found += [
            f"real images with {key} {getattr(facts.real_set, key)!r} instead of {getattr(protocol.real, key)!r}"
            for key in ("dataset", "split", "fit")
            if getattr(facts.real_set, key) != getattr(protocol.real, key)
        ]
    if protocol.real.images is not None and facts.real != protocol.real.images:
        found.append(f"{facts.real:,} real images instead of {protocol.real.images:,}")
    return found


def size_deviations(protocol: Protocol, facts: Facts) -> list[str]:
    """How large the images on both sides are."""
    if protocol.pictures is None:
        different = facts.sizes[0] != facts.sizes[1] and facts.real > 0
        sides = [
            f"{side} images are {width}x{height}" for side, (height, width) in zip(SIDES, facts.sizes, strict=True)
        ]
        return [" and ".join(sides)] if different else []
    wanted = protocol.pictures.size
    return [
        f"{side} images are {width}x{height} instead of {wanted}x{wanted}"
        for side, (height, width), count in zip(SIDES, facts.sizes, (facts.generated, facts.real), strict=True)
        if count and (height, width) != (wanted, wanted)
    ]


SIDES = ("generated", "real")


def noise_deviations(protocol: Protocol, facts: Facts) -> list[str]:
    """Over which noise seeds."""
    if facts.seeds is None or facts.seeds == protocol.seeds:
        return []
    return [f"noise seeds {in_words(facts.seeds)} instead of {in_words(protocol.seeds)}"]


def network_deviations(protocol: Protocol, facts: Facts) -> list[str]:
    """Which networks looked, with which weights, at the metrics that the protocol names."""
    found = [f"features in {facts.precision} instead of float32"] if facts.precision != "float32" else []
    for metric in (entry for entry in facts.entries.values() if entry["computed"]):
        weights = metric["weights"]
        if weights["published"] is False:
            found.append(f"{weights['name']} weights that are not the published ones")
        if metric["named_by_protocol"]:
            network, resize = metric["network"], metric["resize"]
            if network not in protocol.networks:
                found.append(f"network {network} instead of {' or '.join(protocol.networks)}")
            elif resize != protocol.networks[network]:
                found.append(f"network {network} with resize {resize} instead of {protocol.networks[network]}")
    return list(dict.fromkeys(found))


def in_words(seeds: Sequence[int]) -> str:
    """Seeds as a list for people."""
    return ", ".join(map(str, seeds)) or "none"
