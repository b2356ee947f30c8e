"""Darknet's cfg files: which layers a detector has. What is not known is refused, never skipped.

A cfg is a list of sections, ``[name]`` and lines ``key=value``; the first is ``[net]``, each other is a layer, and
layers are counted from 0. The format is that of pjreddie/darknet with the additions of AlexeyAB's fork that the
detectors in use need (groups, relu6, mish, swish, ``scale_x_y``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from t2icli.documents import HEAD, read_bytes, what_is
from t2icli.errors import DataError, EnvironmentFault


@dataclass(frozen=True)
class Convolution:
    """A convolution, with or without batch normalisation (then it has a bias), and its activation."""

    filters: int
    size: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: str


@dataclass(frozen=True)
class Shortcut:
    """The sum of the layer before and another one."""

    source: int  # number of a layer
    activation: str


@dataclass(frozen=True)
class Route:
    """Layers side by side along the channels, of each one of ``groups`` equal parts."""

    sources: tuple[int, ...]  # numbers of layers
    groups: int = 1
    group: int = 0


@dataclass(frozen=True)
class Upsample:
    """Nearest-neighbour enlargement."""

    stride: int


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows; ``padding`` is the sum of both sides, and the smaller half comes first."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Dropout:
    """Does nothing outside training; kept, because layers are counted."""


@dataclass(frozen=True)
class Yolo:
    """A head: boxes from the layer before."""

    anchors: tuple[tuple[float, float], ...]  # width and height in pixels of the network's input, those of this head
    classes: int
    scale_x_y: float


Layer = Convolution | Shortcut | Route | Upsample | MaxPool | Dropout | Yolo


@dataclass(frozen=True)
class Config:
    """A whole network."""

    source: str  # for messages
    channels: int
    width: int
    height: int
    layers: tuple[Layer, ...]


# Keys that say how to train, or how Darknet finishes: they change nothing that is computed here. Everything is refused
# that is neither among them nor read below, because it might.
IDLE = {
    "net": "batch subdivisions momentum decay angle saturation exposure hue learning_rate burn_in max_batches policy "
    "steps scales max_crop mosaic mixup cutmix optimized_memory workspace_size_limit_MB time_steps ema_alpha",
    "convolutional": "stopbackward",
    "dropout": "probability",
    "yolo": "jitter ignore_thresh truth_thresh random resize iou_thresh iou_loss iou_normalizer cls_normalizer "
    "obj_normalizer nms_kind beta_nms max_delta label_smooth_eps",
}
MOST = 65_536  # of anything that is counted; no detector comes near, and memory is asked for by these numbers
LARGEST = 8_192  # pixels a side
ACTIVATIONS = ("linear", "leaky", "relu", "relu6", "mish", "swish", "logistic")


@dataclass(frozen=True)
class Section:
    """The lines of one section; ``read`` collects the keys that were asked for, so that others can be refused."""

    source: str
    name: str
    line: int
    values: dict[str, tuple[str, int]]  # key -> value and its line
    read: set[str]

    def fault(self, key: str, right: str) -> DataError:
        """An error about one value, or about one that is absent."""
        if key not in self.values:
            return DataError(f"{self.source}, line {self.line}: [{self.name}] has no {key}; {right}")
        value, line = self.values[key]
        return DataError(f"{self.source}, line {line}: [{self.name}] {key}={value}: {right}")

    def text(self, key: str, default: str | None = None) -> str:
        """A value as it stands; without a default it has to be there."""
        self.read.add(key)
        if key not in self.values and default is None:
            raise self.fault(key, "it is needed")
        return self.values[key][0] if key in self.values else str(default)

    def numbers(self, key: str, default: str | None = None) -> tuple[float, ...]:
        """A value that is a list of numbers."""
        try:
            numbers = tuple(float(part) for part in self.text(key, default).rstrip(", ").split(","))
        except ValueError:
            raise self.fault(key, "should be numbers separated by commas") from None
        if not all(map(isfinite, numbers)):
            raise self.fault(key, "should be finite")
        return numbers

    def integers(self, key: str, default: str | None = None) -> tuple[int, ...]:
        """A value that is a list of whole numbers."""
        numbers = self.numbers(key, default)
        if not all(number.is_integer() for number in numbers):
            raise self.fault(key, "should be whole numbers")
        return tuple(int(number) for number in numbers)

    def number(self, key: str, default: float) -> float:
        """A value that is one number."""
        return self.only(key, self.numbers(key, str(default)))

    def integer(self, key: str, default: int | None = None, least: int = 0, most: int = MOST) -> int:
        """A value that is one whole number."""
        number = self.only(key, self.integers(key, None if default is None else str(default)))
        if not least <= number <= most:
            raise self.fault(key, f"should be at least {least}" if number < least else f"should be at most {most:,}")
        return int(number)

    def only(self, key: str, numbers: tuple[float, ...]) -> float:
        """The one number of a list."""
        if len(numbers) != 1:
            raise self.fault(key, "should be one number")
        return numbers[0]

    def activation(self, default: str) -> str:
        """The name of an activation that is offered."""
        name = self.text("activation", default)
        if name not in ACTIVATIONS:
            raise self.fault("activation", f"not known; known are {', '.join(ACTIVATIONS)}")
        return name

    def finish(self) -> None:
        """Refuse the first key that nobody read."""
        for key in self.values:
            if key not in self.read and key not in IDLE.get(self.name, "").split():
                raise self.fault(key, "this key is not known here, and might change what is detected")


def read(path: Path) -> Config:
    """The network of a cfg file; ``EnvironmentFault`` where there is none, ``DataError`` for what is not understood."""
    if not path.is_file():
        raise EnvironmentFault(
            f"{path}: there is no such file; Darknet weights say nothing of their layers: put the cfg that belongs to "
            "them beside them under the same name, with the ending .cfg"
        )
    content = read_bytes(path)
    found = what_is(content[:HEAD])
    if found is not None:
        raise DataError(f"{path}: should be a Darknet cfg: {found}")
    return parse(content.decode("utf-8", errors="replace"), str(path))


def parse(text: str, source: str) -> Config:
    """The network that the text of a cfg describes; ``source`` is what messages call it."""
    sections = list(split(text, source))
    if not sections or sections[0].name != "net":
        found = f"begins with [{sections[0].name}]" if sections else "has no sections"
        raise DataError(f"{source}: {found}; a Darknet cfg should begin with [net]")
    net = sections[0]
    channels = net.integer("channels", least=1)
    width, height = (net.integer(key, least=1, most=LARGEST) for key in ("width", "height"))
    layers = tuple(READERS[section.name](section, number) for number, section in enumerate(sections[1:]))
    for section in sections:
        section.finish()
    return Config(source, channels, width, height, layers)


def split(text: str, source: str) -> Iterator[Section]:
    """The sections of a text in order; comments begin with # or ;."""
    current = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].partition(";")[0].strip()
        if line.startswith("["):
            if current is not None:
                yield current
            name = line.strip("[] ")
            if name not in READERS and (name != "net" or current is not None):
                raise DataError(
                    f"{source}, line {number}: [{name}]: this section is not known; known are "
                    f"{', '.join(sorted(READERS))}"
                )
            current = Section(source, name, number, {}, set())
        elif line:
            key, equals, value = (part.strip() for part in line.partition("="))
            if current is None or not equals:
                raise DataError(f"{source}, line {number}: {raw.strip()[:80]!r}: should be [section] or key=value")
            if key in current.values:
                raise DataError(f"{source}, line {number}: [{current.name}] has {key} a second time")
            current.values[key] = (value, number)
    if current is not None:
        yield current


def convolution(section: Section, number: int) -> Layer:
    """``pad=1`` means half the kernel's size, and then ``padding`` says nothing."""
    size = section.integer("size", 1, least=1)
    filters, groups = section.integer("filters", 1, least=1), section.integer("groups", 1, least=1)
    padding = section.integer("padding", 0)
    if section.integer("pad", 0):
        padding = size // 2
    if filters % groups:
        raise section.fault("groups", f"should divide the {filters} filters")
    return Convolution(
        filters,
        size,
        section.integer("stride", 1, least=1),
        padding,
        groups,
        bool(section.integer("batch_normalize", 0)),
        section.activation("logistic"),
    )


def earlier(section: Section, key: str, number: int) -> tuple[int, ...]:
    """Numbers of layers before this one; negative ones count back from it."""
    sources = tuple(number + source if source < 0 else source for source in section.integers(key))
    if not all(0 <= source < number for source in sources):
        raise section.fault(key, f"this is layer {number}, and only layers before it can be named")
    return sources


def shortcut(section: Section, number: int) -> Layer:
    """One other layer; several with weights are a later addition, which no detector here has."""
    sources = earlier(section, "from", number)
    if len(sources) != 1:
        raise section.fault("from", "should be one layer")
    return Shortcut(sources[0], section.activation("linear"))


def route(section: Section, number: int) -> Layer:
    """See ``Route``."""
    groups, group = section.integer("groups", 1, least=1), section.integer("group_id", 0)
    if group >= groups:
        raise section.fault("group_id", f"should be below groups, which is {groups}")
    return Route(earlier(section, "layers", number), groups, group)


def upsample(section: Section, number: int) -> Layer:
    """See ``Upsample``."""
    return Upsample(section.integer("stride", 2, least=1, most=32))


def maxpool(section: Section, number: int) -> Layer:
    """The size is the stride where it is not given, and the padding size - 1."""
    stride = section.integer("stride", 1, least=1)
    size = section.integer("size", stride, least=1)
    return MaxPool(size, stride, section.integer("padding", size - 1))


def yolo(section: Section, number: int) -> Layer:
    """``mask`` chooses from the anchors of all heads; ``new_coords`` is another way to decode, and is refused."""
    flat = section.numbers("anchors")
    total = section.integer("num", len(flat) // 2)
    if len(flat) != 2 * total:
        raise section.fault("anchors", f"should be {total} pairs, and {len(flat)} numbers are given")
    pairs = tuple(zip(flat[::2], flat[1::2], strict=True))
    mask = section.integers("mask", ",".join(map(str, range(total))))
    if not all(0 <= index < total for index in mask):
        raise section.fault("mask", f"should name some of the anchors 0 to {total - 1}")
    if section.integer("new_coords", 0):
        raise section.fault("new_coords", "only 0 can be decoded")
    classes = section.integer("classes", least=1)
    return Yolo(tuple(pairs[index] for index in mask), classes, section.number("scale_x_y", 1.0))


READERS: dict[str, Callable[[Section, int], Layer]] = {
    "convolutional": convolution,
    "shortcut": shortcut,
    "route": route,
    "upsample": upsample,
    "maxpool": maxpool,
    "dropout": lambda section, number: Dropout(),
    "yolo": yolo,
}

YOLOV3_ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


def yolov3(size: int = 256) -> Config:
    """YOLOv3 for COCO (Redmon & Farhadi, arXiv 1804.02767): Darknet-53 and heads at three scales.

    The size is that of the images it looks at; SOA's authors used 256, the published cfg says 416 (or 608).
    """
    layers = list[Layer]()

    def convolve(filters: int, kernel: int, stride: int = 1) -> None:
        layers.append(Convolution(filters, kernel, stride, kernel // 2, 1, True, "leaky"))

    convolve(32, 3)
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        convolve(filters, 3, stride=2)
        for _ in range(blocks):
            convolve(filters // 2, 1)
            convolve(filters, 3)
            layers.append(Shortcut(len(layers) - 3, "linear"))
    for scale, (filters, finer) in enumerate(((512, 61), (256, 36), (128, None))):
        for _ in range(3):
            convolve(filters, 1)
            convolve(2 * filters, 3)
        layers.append(Convolution(255, 1, 1, 0, 1, False, "linear"))
        layers.append(Yolo(YOLOV3_ANCHORS[2 - scale], 80, 1.0))
        if finer is not None:
            layers.append(Route((len(layers) - 4,)))
            convolve(filters // 2, 1)
            layers.append(Upsample(2))
            layers.append(Route((len(layers) - 1, finer)))
    return Config("the built-in YOLOv3", 3, size, size, tuple(layers))
