"""Batches for training, each a pure function of (seed, number of the batch).

Nothing is remembered from one batch to the next, so a run that resumes at any step sees what an unbroken
one would have seen, and W processes together see what one process with the whole batch would.
"""

import io
import itertools
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from t2icli.batch import Loaded, Text
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard
from t2icli.data.text import Sentence, collate_text, collate_tokens
from t2icli.errors import DataError, UserError
from t2icli.recipe import CaptionChoice, Flip
from t2icli.vocabulary import words_of

# Random crops of pictures that kept their proportions: the margin that the field has used since AttnGAN
# (resize to 76, crop 64).
CROP_MARGIN = 76 / 64

# Words after which a picture cannot be mirrored. Whole words count, so that "bright" and "leftover" do not;
# hyphens part words, so that "left-hand" and "right-most" do. A train that "has left" costs no more than its mirroring.
SIDED = frozenset(
    f"{side}{end}"
    for side in ("left", "right")
    for end in ("", "most", "hand", "handed", "side", "ward", "wards")  # as people write them in one word
)

# The random streams of a run; each use has its own, so that adding one changes no other.
ORDER, CHOICES, NOISE, STEPS = range(4)


def stream(seed: int, use: int, *position: int) -> np.random.Generator:
    """Random numbers that depend on nothing but these."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, use, *position))))


@dataclass(frozen=True)
class Sampling:
    """Everything that decides what batches hold."""

    image_size: int
    batch_size: int  # all processes together
    d_steps: int
    sentence: Sentence | None  # None: captions are not given as stored vectors
    max_words: int | None
    flip: Flip
    captions: CaptionChoice
    noise_dim: int
    seed: int
    rank: int
    world: int


@dataclass(frozen=True)
class Choices:
    """What chance decides for each picture of a global batch."""

    caption: NDArray[np.float64]  # in [0, 1): which of the captions
    crop: NDArray[np.float64]  # (B, 2) in [0, 1): how far down and to the right
    flip: NDArray[np.bool_]
    words: NDArray[np.int64]  # seeds: which words of a caption that is too long


@lru_cache(maxsize=2)  # two, because a step can lie on the border of two epochs
def epoch_order(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the pictures in an epoch."""
    return stream(seed, ORDER, epoch).permutation(images)


class Batches(Dataset[list[list[Any]]]):
    """Item i is what training step i needs: for each discriminator step the parts of a local batch."""

    def __init__(self, folder: ShardFolder, sampling: Sampling) -> None:
        self.folder, self.sampling = folder, sampling
        self.batches_per_epoch = len(folder) // sampling.batch_size

    def __getitem__(self, step: int) -> list[list[Any]]:
        d_steps = self.sampling.d_steps
        return [self.batch(number) for number in range(step * d_steps, (step + 1) * d_steps)]

    def batch(self, number: int) -> list[Any]:
        """This process's rows of a global batch: image, captions, classes, noise, and stored text field by field."""
        s = self.sampling
        epoch, position = divmod(number, self.batches_per_epoch)
        order = epoch_order(len(self.folder), s.seed, epoch)[position * s.batch_size : (position + 1) * s.batch_size]
        choices = self.choices(number)
        noise = stream(s.seed, NOISE, number).standard_normal((s.batch_size, s.noise_dim), np.float32)
        local = s.batch_size // s.world
        rows = range(s.rank * local, (s.rank + 1) * local)
        places = [self.folder.locate(int(order[row])) for row in rows]
        chosen = [
            (shard, choose(shard, row, s.captions, choices.caption[i]))
            for (shard, row), i in zip(places, rows, strict=True)
        ]
        texts = [shard.text(caption) for shard, caption in chosen]
        captions = [some_words(text, s.max_words, int(choices.words[i])) for text, i in zip(texts, rows, strict=True)]
        mirrored = [bool(choices.flip[i]) and may_mirror(text, s.flip) for text, i in zip(texts, rows, strict=True)]
        classes = torch.tensor([int(shard.classes[row]) for shard, row in places])
        images = self.images(places, choices.crop[rows.start : rows.stop], mirrored)
        parts = [images, captions, classes, torch.from_numpy(noise[rows.start : rows.stop])]
        if s.sentence is None:
            return parts
        text = self.text(chosen, s.sentence)
        return [*parts, text.words, text.sentence, text.mask, text.tokens]

    def text(self, chosen: Sequence[tuple[Shard, int]], sentence: Sentence) -> Text:
        """Captions as the shards hold them: BERT's vectors, or only the token ids of which the trainer makes them."""
        if self.folder.online:
            return collate_tokens([shard.tokens(caption) for shard, caption in chosen], self.folder.max_tokens)
        views = [StoredCaptionView(shard, caption) for shard, caption in chosen]
        return collate_text(views, self.folder.max_tokens, sentence)

    def choices(self, number: int) -> Choices:
        """What chance decides for a global batch."""
        chance, count = stream(self.sampling.seed, CHOICES, number), self.sampling.batch_size
        return Choices(
            caption=chance.random(count),
            crop=chance.random((count, 2)),
            flip=chance.random(count) < 0.5,
            words=chance.integers(2**62, size=count),
        )

    def images(
        self, places: Sequence[tuple[Shard, int]], where: NDArray[np.float64], mirrored: Sequence[bool]
    ) -> Tensor:
        """Pictures (B, 3, S, S) uint8 at the size of the networks, channels last in memory.

        By Pillow, which stays in its thread: torch's would compete with the trainer's for the cores.
        """
        size, crop = self.sampling.image_size, self.folder.fit == "short"
        pictures = np.empty((len(places), size, size, 3), np.uint8)
        for picture, (shard, row), corner, turned in zip(pictures, places, where, mirrored, strict=True):
            image: Image.Image = Image.open(io.BytesIO(shard.image_bytes(row)))
            image = random_crop(image, size, corner) if crop else shrink(image, size, size)
            picture[...] = np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turned else image)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class StoredCaptionView:
    """One caption of a shard as ``collate_text`` wants it; its vectors are read when asked for."""

    shard: Shard
    number: int

    @property
    def tokens(self) -> NDArray[np.int32]:
        """Token ids (t,)."""
        return self.shard.tokens(self.number)

    @property
    def words(self) -> NDArray[np.float16]:
        """Vectors (t, D)."""
        return self.shard.embedding(self.number)

    @property
    def pad_sum(self) -> NDArray[np.float32] | None:
        """Sum of the vectors at pad positions (D,)."""
        return self.shard.pad_sum(self.number)


def choose(shard: Shard, row: int, rule: CaptionChoice, chance: float) -> int:
    """One of a picture's captions; of equally long ones the first."""
    captions = shard.captions(row)
    if rule == "random":
        return captions[int(chance * len(captions))]
    if rule == "first":
        return captions[0]
    pick = min if rule == "shortest" else max
    return pick(captions, key=lambda caption: len(words_of(shard.text(caption))))


def may_mirror(caption: str, rule: Flip) -> bool:
    """Whether a picture may be mirrored that is shown with a caption, all of its words counting."""
    return rule is True or (rule == "unless-sided" and SIDED.isdisjoint(words_of(caption)))


def some_words(caption: str, limit: int | None, seed: int) -> str:
    """A caption of no more than ``limit`` words: of a longer one a random choice in their order, as AttnGAN has it."""
    words = words_of(caption) if limit is not None else []
    if limit is None or len(words) <= limit:
        return caption
    kept = np.sort(np.random.default_rng(seed).permutation(len(words))[:limit])
    return " ".join(words[i] for i in kept)


def shrink(image: Image.Image, height: int, width: int) -> Image.Image:
    """Antialiased, by the filter that ``prepare`` uses."""
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def random_crop(image: Image.Image, size: int, where: NDArray[np.float64]) -> Image.Image:
    """A square of a picture that kept its proportions, after bringing its shorter side to a little more."""
    width, height = image.size
    scale = round(size * CROP_MARGIN) / min(height, width)
    if scale < 1:
        height, width = round(height * scale), round(width * scale)
        image = shrink(image, height, width)
    top = int(where[0] * (height - size + 1))
    left = int(where[1] * (width - size + 1))
    return image.crop((left, top, left + size, top + size))


class Loader:
    """Endless batches of a split; ``batch_size`` counts all processes, of which this one is ``rank``."""

    def __init__(
        self,
        folder: ShardFolder,
        image_size: int,
        batch_size: int,
        d_steps: int = 1,
        sentence: Sentence | None = "masked_mean",
        max_words: int | None = None,
        flip: Flip = True,
        captions: CaptionChoice = "random",
        noise_dim: int = 128,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        self.folder, self.workers = folder, workers
        self.sampling = Sampling(
            image_size, batch_size, d_steps, sentence, max_words, flip, captions, noise_dim, seed, rank, world
        )
        check(folder, self.sampling)

    def batches(self, start_step: int = 0) -> Iterator[list[Loaded]]:
        """From a step on: for each step ``d_steps`` batches of this process, in pinned memory where there is CUDA."""
        for step in self._loader(itertools.count(start_step)):
            yield [
                Loaded(image, tuple(captions), classes, noise, Text(*text) if text else None)
                for image, captions, classes, noise, *text in step
            ]

    def _loader(self, steps: Iterable[int]) -> DataLoader[Any]:
        return DataLoader(
            Batches(self.folder, self.sampling),
            batch_size=None,
            sampler=steps,
            num_workers=self.workers,
            worker_init_fn=ignore_signals,
            pin_memory=torch.cuda.is_available(),
        )


def ignore_signals(worker: int) -> None:
    """A signal to stop reaches the whole process group; the trainer acts on it and needs its batches until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def check(folder: ShardFolder, sampling: Sampling) -> None:
    """Say in words what would fail later in numbers."""
    s, where = sampling, f"{folder.folder} ({folder.split})"
    if folder.image_size < s.image_size:
        raise DataError(
            f"{where}: pictures are stored at {folder.image_size} pixels, and data.image_size is {s.image_size}; "
            f"prepare them with --set images.size={s.image_size} or train smaller"
        )
    if len(folder) < s.batch_size:
        raise DataError(
            f"{where}: holds {len(folder):,} images, fewer than one batch of train.batch_size = {s.batch_size:,}; "
            "lower train.batch_size or prepare more images"
        )
    if s.batch_size % s.world:
        raise UserError(
            f"train.batch_size = {s.batch_size} cannot be shared equally by {s.world} processes; "
            f"use a multiple of {s.world}"
        )
    if s.sentence == "padded_sum" and not folder.has_pad_sum and not folder.online:
        raise DataError(
            f"{where}: text.sentence = 'padded_sum' needs the sums at pad positions, which were not stored; "
            "prepare the data with --set text.pad_sum=true, or use text.sentence = 'masked_mean'"
        )
