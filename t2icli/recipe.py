"""Recipes: TOML files that say everything about a run, checked as a whole before anything starts.

Three kinds exist. A data recipe (key ``dataset``) tells ``t2i prepare`` what to write; an encoder recipe (key
``encoder``) tells ``t2i pretrain-encoders`` what to learn, and a training recipe (key ``system``) tells ``t2i train``.
A reader of a data set, an encoder, a system and a term each bring their own table as a pydantic ``Config`` in their
own file; ``recipe_files.py`` joins them. Nothing here imports torch.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class Section(BaseModel):
    """One table of a recipe: an unknown key is an error, and values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# Whether training mirrors pictures: half of them, none, or half of those whose caption says neither left nor right.
Flip = Literal[True, False, "unless-sided"]
# Which of a picture's captions training shows: one by chance each time, or always the same one (length in words).
CaptionChoice = Literal["random", "first", "shortest", "longest"]
# Which captions `prepare` keeps of a picture that has too many.
CaptionsKept = Literal["first", "random", "shortest"]
# Bounds of what memory or time is asked for by. They are far above any use; what is below them may still be too much
# for a machine, and is then refused by what it has.
Width = Annotated[int, Field(gt=0, le=1 << 14)]  # numbers in a vector, or channels of a layer
Words = Annotated[int, Field(gt=0, le=1 << 12)]
Clock = Annotated[int, Field(gt=0, le=1 << 53)]  # real images shown
Workers = Annotated[int, Field(ge=0, le=1 << 10)]
Decay = Annotated[float, Field(ge=0, lt=1)]  # of a running average
SEEDS = 2**63  # every seed is below it, because HDF5 and torch have whole numbers of 64 bits
FLIP = "mirror every other image at random; unless-sided: not those whose caption of the moment says left or right"

# ---------------------------------------------------------------------------- data recipes


class Images(Section):
    """How ``prepare`` stores images."""

    size: int = Field(256, ge=1, le=1 << 13, description="pixels: both sides (squash, crop) or the shorter one (short)")
    fit: Literal["squash", "crop", "short"] = Field(
        "squash", description="squash to a square, centre-crop to a square, or keep the aspect ratio"
    )
    codec: Literal["jpeg", "png"] = Field("jpeg", description="jpeg at `quality` without chroma subsampling, or png")
    quality: int = Field(95, ge=1, le=100, description="JPEG quality; png ignores it")


class TextEncoder(Section):
    """Which BERT turns captions into vectors, and how much of a caption it reads."""

    model: str = Field(
        "google-bert/bert-base-uncased",
        description="hub id or folder of any transformers BertModel; `scenes-bert`, the one that comes with t2i; "
        "or `none`, for systems that read captions by a matcher",
    )
    max_tokens: int = Field(17, ge=3, le=512, description="token positions, [CLS] and [SEP] included")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of BERT's arithmetic, on every device; vectors are stored as float16"
    )
    captions_per_image: int = Field(5, ge=1, le=1 << 16, description="of an image's captions so many are kept")
    captions: CaptionsKept = Field(
        "first",
        description="which are kept where there are more: the first, a choice by the seed and the image's id, "
        "or those of the fewest words",
    )
    embeddings: Literal["stored", "online"] = Field(
        "stored",
        description="BERT's vectors lie in the shards, or only token ids do and training runs the frozen BERT itself",
    )
    pad_sum: bool = Field(
        False,
        description="also store the sum of BERT's vectors at pad positions (for padded_sum; online needs it not)",
    )


class DataRecipe(Section):
    """What ``t2i prepare`` reads and writes."""

    description: str = ""
    dataset: str = Field(description="a module in t2icli/data/readers")
    reader: Section = Field(default_factory=Section, description="the reader's own table")
    images: Images = Images()
    text: TextEncoder = TextEncoder()
    images_per_shard: int = Field(2000, ge=1, le=1 << 24, description="images in one shard file")
    seed: int = Field(0, ge=0, lt=SEEDS, description="for readers that draw or split at random")


# ---------------------------------------------------------------------------- training recipes


class Data(Section):
    """Where training images come from."""

    shards: Path = Field(description="folder that `t2i prepare` wrote")
    split: str = Field("train", description="split to train on")
    image_size: Literal[32, 64, 128, 256] = Field(description="pixels a side that the networks see")
    flip: Flip = Field(True, description=FLIP)
    captions: CaptionChoice = Field(
        "random",
        description="caption of an image to show: one by chance, or always the first, shortest or longest in words",
    )
    workers: Workers = Field(2, description="loader processes per training process; 0 reads in the trainer")


class Text(Section):
    """How captions become the vectors that a generator is given: by the BERT of the shards, or by a matcher."""

    matcher: Path | None = Field(
        None, description="run or file of a matcher whose text encoder reads captions in place of the shards' BERT"
    )
    max_words: Words = Field(
        18, description="words that matchers and captioners read in training; of longer captions a random choice"
    )
    drawn_words: Words = Field(25, description="words that a matcher reads when pictures are drawn: the first ones")
    model: str | None = Field(
        None, description="where the BERT of the shards lies when new captions are encoded; default: where they name it"
    )
    sentence: Literal["masked_mean", "padded_sum"] = Field(
        "masked_mean",
        description="mean of the real tokens' vectors, or the released XMC-GAN code's sum over all positions / tokens",
    )


class Optim(Section):
    """Adam for both networks."""

    generator_lr: PositiveFloat = Field(1e-4, description="learning rate of the generator")
    discriminator_lr: PositiveFloat = Field(4e-4, description="learning rate of the discriminator")
    betas: tuple[Decay, Decay] = Field((0.5, 0.999), description="Adam's decay rates")
    eps: PositiveFloat = 1e-8


class Train(Section):
    """Length, batch and clock of a run. Every interval is counted in real images shown."""

    batch_size: int = Field(ge=2, le=1 << 16, description="images per update of a network, all processes together")
    images: Clock = Field(description="length of the run; one generator update shows d_steps x batch_size images")
    d_steps: int = Field(1, ge=1, le=1 << 10, description="discriminator updates per generator update")
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="of activations; weights stay float32")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the generator's averaged weights, per update")
    seed: int = Field(
        0, ge=0, lt=SEEDS, description="order, noise and augmentation are functions of it and of the position"
    )
    negatives: Literal["local", "global"] = Field(
        "local", description="contrastive losses see the process's own batch, or the batches of all processes"
    )
    sync_batch_norm: bool = Field(False, description="batch statistics over all processes instead of each one's own")
    log_every: Clock = Field(50_000, description="images between two lines of log.jsonl")
    sample_every: Clock = Field(500_000, description="images between two sample grids")
    save_every: Clock = Field(500_000, description="images between two checkpoints")


class Evaluate(Section):
    """What ``t2i evaluate`` measures when it is told nothing else."""

    protocol: str = Field(description="a named protocol; see docs/protocols.md")


class EncoderData(Section):
    """Where the real images and captions come from that an encoder learns from."""

    shards: Path = Field(description="folder that `t2i prepare` wrote")
    split: str = Field("train", description="split to train on")
    held_out: str = Field("val", description="split to validate on")
    image_size: int = Field(ge=16, le=1024, description="pixels a side that the encoder is given")
    flip: Flip = Field(True, description=FLIP)
    workers: Workers = Field(2, description="loader processes; 0 reads in the trainer")


class EncoderText(Section):
    """How much of a caption an encoder reads."""

    max_words: Words = Field(18, description="words of a caption; of longer ones a random choice in their order")


class EncoderTrain(Section):
    """Batch and clock. Lengths are in the phases of the [model] table; every interval is in real images shown."""

    batch_size: int = Field(ge=2, le=1 << 16, description="images per update")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of activations; weights stay float32")
    seed: int = Field(0, ge=0, lt=SEEDS, description="order, choices and weights are functions of it")
    log_every: Clock = Field(50_000, description="images between two lines of log.jsonl")
    validate_every: Clock = Field(200_000, description="images between two validations")
    save_every: Clock = Field(200_000, description="images between two checkpoints")


class EncoderRecipe(Section):
    """A recipe for ``t2i pretrain-encoders``. ``model`` takes the Config of the encoder that is named."""

    description: str = ""
    encoder: str = Field(description="a module in t2icli/encoders")
    data: EncoderData
    text: EncoderText = EncoderText()
    model: Section
    train: EncoderTrain


class Recipe(Section):
    """A training recipe. ``model`` and ``terms`` take the Config of the system and terms that are named."""

    description: str = ""
    system: str = Field(description="a module in t2icli/systems")
    data: Data
    text: Text = Text()
    model: Section
    terms: Section
    optim: Optim = Optim()
    train: Train
    evaluate: Evaluate


def weight(description: str, default: float = 1.0) -> Any:
    """A loss weight as a recipe key; zero leaves the loss out."""
    return Field(default, ge=0, description=description)
