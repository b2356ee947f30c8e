"""VLM: the matcher of VLMGAN*, which compares images with captions locally, globally and in general.

Cheng, Wen, Gu, "Vision-Language Matching for Text-to-Image Synthesis via Generative Adversarial Networks", IEEE Trans.
Multimedia 2022 (arXiv 2208.09596). An independent reconstruction from the abstract and a public summary; no code was
released. [S] marks what the summary states, [O] what is our own choice and must not be presented as the paper's.

[S] the three scores; words and a sentence by an LSTM; Inception-v3's Mixed_6e as 17x17 regions and a vector of the
whole image, each projected; a Transformer over all of them, a linear map, pooling and a sigmoid as the general score.
[O] all sizes and gammas, the inside of the matching block, how everything is trained, which negatives are drawn; and
the vector of the whole comes from Mixed_7c, as DAMSM's does, where the summary says Mixed_7b.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import Field, PositiveFloat, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.optim import Adam, AdamW

from t2icli.batch import Pairs, Text
from t2icli.encoders._backbones import BackboneConfig
from t2icli.encoders._base import EpochDecay, Losses, Matcher, Phase
from t2icli.encoders._files import find_encoder, found_encoder, load_encoder
from t2icli.encoders._images import ImageEncoder
from t2icli.encoders._retrieval import area_under_curve, retrieval
from t2icli.encoders._words import WordEncoder, WordsConfig
from t2icli.errors import RecipeError
from t2icli.losses.matching import both_ways
from t2icli.losses.vision_language import (
    draw_negatives,
    global_scores,
    local_scores,
    matched_and_not,
    own_local_scores,
)
from t2icli.recipe import Clock, Section, Width
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights

WORD, SENTENCE, REGION, WHOLE = range(4)  # kinds of tokens in the matching block
POSITIONS = 20  # words with a position of their own; later ones share the last
KNOWN_SHARE = 0.9  # of the data set's words that encoders of another run must know
LEVELS = ("local", "global", "general")


class MatchingSchedule(Section):
    """AdamW for the matching block: a short rise, then half a cosine. [O] all of it."""

    images: Clock = Field(442_750, description="length of the phase in real images shown; 50 epochs of CUB")
    rate: PositiveFloat = 1e-4
    weight_decay: float = Field(0.01, ge=0)
    warm_up: int = Field(64_000, ge=0, le=1 << 53, description="images over which the rate rises; 1,000 steps of 64")

    def rate_at(self, images: int, epoch: int) -> float:
        """The rate after so many images of the phase."""
        if images < self.warm_up:
            return self.rate * (images + 1) / self.warm_up
        past = (images - self.warm_up) / max(1, self.images - self.warm_up)
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, past)))


class Config(BackboneConfig, WordsConfig):
    """The [model] table. Values are [O]."""

    gamma1: PositiveFloat = Field(4.0, description="sharpness of a word's look at regions")
    gamma2: PositiveFloat = Field(5.0, description="sharpness with which words are pooled into a caption")
    gamma3_local: PositiveFloat = Field(
        50.0,
        description="scale of local scores before the softmax over the batch; the score is divided by gamma2, "
        "so that 50 is DAMSM's 10",
    )
    gamma3_global: PositiveFloat = Field(10.0, description="scale of global scores before it")
    depth: int = Field(4, ge=1, le=1 << 8, description="layers of the matching block's Transformer")
    heads: Width = Field(4, validate_default=True, description="attention heads in each")
    feedforward: Width = Field(1024, description="width inside each")
    block_dropout: float = Field(0.1, ge=0, lt=1, description="of the matching block in training")
    positions: Literal["learned", "none"] = Field(
        "learned", description="tell words and regions where they stand, or take the bare formula"
    )
    start: Path | None = Field(None, description="a DAMSM or VLM whose encoders are taken; only the block then learns")
    schedule: EpochDecay = EpochDecay()
    matching: MatchingSchedule = MatchingSchedule()

    @field_validator("heads")
    @classmethod
    def heads_share_dim(cls, heads: int, others: ValidationInfo) -> int:
        """Each head takes the same part of a token."""
        dim = others.data.get("dim", heads)
        if dim % heads:
            raise ValueError(f"must divide dim = {dim}")
        return heads


class VLM(Matcher):
    """Text and image encoders as DAMSM has them, and a block that reads both together."""

    config: Config
    image: ImageEncoder

    def __init__(self, config: Config, vocabulary: Vocabulary, weights: Weights | None) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.gammas = config.gamma1, config.gamma2, config.gamma3_global
        if config.start is not None and weights is not None:  # training begins
            self.take_encoders(config.start)
        else:
            self.text = WordEncoder(config, vocabulary)
            self.image = ImageEncoder(config, config.dim, weights)
            self.used = self.image.backbone.used
        self.matching = MatchingBlock(config)

    def take_encoders(self, start: Path) -> None:
        """Text and image encoders of another matcher, and with them its vocabulary, e.g. that of a released file."""
        other, header = load_encoder(start, "damsm", "vlm")
        known = sum(word in other.vocabulary.ids for word in self.vocabulary.words)
        if known < KNOWN_SHARE * len(self.vocabulary.words):
            raise RecipeError(
                f"model.start: {start}: knows {known:,} of the {len(self.vocabulary.words):,} words of this data set; "
                "it was trained on another one"
            )
        for key in ("dim", "embedding_dim", *BackboneConfig.model_fields):
            ours, theirs = getattr(self.config, key), getattr(other.config, key)
            if ours != theirs:
                raise RecipeError(f"model.start: {start}: was trained with {key} = {theirs!r}; here it is {ours!r}")
        self.text, self.image = cast(WordEncoder, other.text), cast(ImageEncoder, other.image)
        self.vocabulary = other.vocabulary
        self.used = (found_encoder(find_encoder(start), header),)

    def phases(self) -> Sequence[Phase]:
        """The encoders first, then the block on top of them, frozen."""
        words, schedule, matching = list(self.text.parameters()), self.config.schedule, self.config.matching
        encoders = Phase("encoders", schedule.images, [*words, *self.image.learning()], self.encoder_losses, self.adam,
                         schedule.rate_at, clipped=words, clip=schedule.clip, restart=schedule.restart)  # fmt: skip
        block = Phase("matching", matching.images, list(self.matching.parameters()), self.block_losses, self.adam_w,
                      matching.rate_at, chosen_by="auc_general")  # fmt: skip
        return [block] if self.config.start else [encoders, block]

    def adam(self, parameters: Sequence[nn.Parameter]) -> Adam:
        """For the encoders; the loop sets its rate."""
        return Adam(parameters, self.config.schedule.rate, betas=self.config.schedule.betas)

    def adam_w(self, parameters: Sequence[nn.Parameter]) -> AdamW:
        """For the block; likewise."""
        return AdamW(parameters, self.config.matching.rate, weight_decay=self.config.matching.weight_decay)

    def read_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Matcher``."""
        regions, whole = self.image(images)
        return regions, whole

    def general_logits(self, text: Text, regions: Tensor, whole: Tensor) -> Tensor:
        """Logits ``(B,)`` of the general score of each row's image and caption; their sigmoid is the score."""
        logits: Tensor = self.matching(text, regions, whole)
        return logits

    def own_scores(self, text: Text, regions: Tensor, whole: Tensor) -> dict[str, Tensor]:
        """The scores ``(B,)`` of each row's image and caption at all three levels."""
        c = self.config
        return {
            "local": own_local_scores(regions, text.words, text.mask, c.gamma1, c.gamma2),
            "global": global_scores(whole, text.sentence).diagonal(),
            "general": self.general_logits(text, regions, whole).sigmoid(),
        }

    def local_contrast(self, text: Text, regions: Tensor, classes: Tensor) -> Tensor:
        """Each caption should find its image and each image its caption among the batch's, word by word."""
        c = self.config
        scores = local_scores(regions, text.words, text.mask, c.gamma1, c.gamma2)
        return sum_of(both_ways(c.gamma3_local * scores, classes))

    def global_contrast(self, text: Text, whole: Tensor, classes: Tensor) -> Tensor:
        """The same for sentences and whole images."""
        scores = global_scores(whole, text.sentence)
        return sum_of(both_ways(self.config.gamma3_global * scores, classes))

    def encoder_losses(self, pairs: Pairs) -> Losses:
        """Of the first phase: both of these."""
        text, (regions, whole) = self.text.read(pairs.captions), self.image(pairs.image)
        return {
            "local": self.local_contrast(text, regions, pairs.classes),
            "global": self.global_contrast(text, whole, pairs.classes),
        }

    def block_losses(self, pairs: Pairs) -> Losses:
        """Of the second: true pairs against likely wrong ones of the batch; the encoders stay as they are."""
        self.text.eval()
        self.image.eval()
        with torch.no_grad():
            text, (regions, whole) = self.text.read(pairs.captions), self.image(pairs.image)
            scores = global_scores(whole, text.sentence)
            other_text = draw_negatives(scores, pairs.classes, self.config.gamma3_global)
            other_image = draw_negatives(scores.T, pairs.classes, self.config.gamma3_global)
        own = self.matching(text, regions, whole)
        wrong_text = self.matching(rows_of(text, other_text), regions, whole)
        wrong_image = self.matching(text, regions[other_image], whole[other_image])
        return {"general": matched_and_not(own, wrong_text, wrong_image)}

    def validate(self, held_out: Iterable[Pairs]) -> Mapping[str, float]:
        """Retrieval by global score, and for each level how well true pairs are told from shuffled ones."""
        images, sentences = [], []
        true: dict[str, list[Tensor]] = {level: [] for level in LEVELS}
        shuffled: dict[str, list[Tensor]] = {level: [] for level in LEVELS}
        for pairs in held_out:
            text, (regions, whole) = self.text.read(pairs.captions), self.image(pairs.image)
            images.append(whole)
            sentences.append(text.sentence)
            others = torch.arange(len(whole), device=whole.device).roll(1)  # pairs come in no order
            for level, scores in self.own_scores(text, regions, whole).items():
                true[level].append(scores)
            for level, scores in self.own_scores(rows_of(text, others), regions, whole).items():
                shuffled[level].append(scores)
        measures = retrieval(torch.cat(images), torch.cat(sentences))
        for level in LEVELS:
            right, wrong = torch.cat(true[level]), torch.cat(shuffled[level])
            measures |= {
                f"auc_{level}": area_under_curve(right, wrong),
                f"{level}_true": float(right.mean()),
                f"{level}_shuffled": float(wrong.mean()),
            }
        return measures


build = VLM


class MatchingBlock(nn.Module):
    """Words, sentence, regions and whole image as tokens of one Transformer, whose mean is one logit.

    [S] the order of tokens, a Transformer, a linear map and pooling. [O] each kind of token is normalised by itself
    and told apart by a learned vector, words and regions know where they stand, layers are pre-norm, and the map to
    one number comes before the mean, which commutes with it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.placed = config.positions == "learned"
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in range(4))
        self.kinds = nn.Embedding(4, config.dim)
        self.places = nn.Embedding(POSITIONS, config.dim)
        layer = nn.TransformerEncoderLayer(config.dim, config.heads, config.feedforward, config.block_dropout, "gelu",
                                           batch_first=True, norm_first=True)  # fmt: skip
        self.transformer = nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(config.dim),
                                                 enable_nested_tensor=False)  # fmt: skip
        self.logit = nn.Linear(config.dim, 1)

    def forward(self, text: Text, regions: Tensor, whole: Tensor) -> Tensor:
        """Logits ``(B,)`` that image and caption of each row belong together."""
        words, places = self.token(text.words, WORD), self.token(regions, REGION)
        if self.placed:
            order = torch.arange(words.shape[1], device=words.device).clamp_max(POSITIONS - 1)
            words = words + self.places(order)
            places = places + grid(regions.shape[1], regions.shape[2], regions.device)
        sentence, image = self.token(text.sentence[:, None], SENTENCE), self.token(whole[:, None], WHOLE)
        tokens = torch.cat([words, sentence, places, image], 1)
        counts = torch.ones(len(tokens), tokens.shape[1], dtype=torch.bool, device=tokens.device)
        counts[:, : words.shape[1]] = text.mask
        scored = self.logit(self.transformer(tokens, src_key_padding_mask=~counts)).squeeze(2)
        return (scored * counts).sum(1) / counts.sum(1)

    def token(self, vectors: Tensor, kind: int) -> Tensor:
        """Vectors of one kind on a common scale."""
        normalised: Tensor = self.norms[kind](vectors) + self.kinds.weight[kind]
        return normalised


def grid(regions: int, dim: int, device: torch.device) -> Tensor:
    """Fixed sine and cosine waves ``(R, D)`` that tell where in a square each region lies, row by row.

    A quarter of the numbers each for sine and cosine of the row and of the column; images are always square.
    """
    side = math.isqrt(regions)
    places = torch.arange(regions, device=device)
    waves = torch.exp(-math.log(10_000.0) * torch.arange(0, dim // 4, device=device) / (dim // 4))
    angles = [place[:, None] * waves for place in (places // side, places % side)]
    parts = [function(angle) for angle in angles for function in (torch.sin, torch.cos)]
    return nn.functional.pad(torch.cat(parts, 1), (0, dim - 4 * (dim // 4)))


def rows_of(text: Text, rows: Tensor) -> Text:
    """Captions in another order."""
    return Text(text.words[rows], text.sentence[rows], text.mask[rows], text.tokens[rows])


def sum_of(both: tuple[Tensor, Tensor]) -> Tensor:
    """The losses of both directions together."""
    return both[0] + both[1]
