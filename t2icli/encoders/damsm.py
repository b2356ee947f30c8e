"""DAMSM: the matcher of AttnGAN, whose text encoder also reads for MirrorGAN and DF-GAN.

Xu et al., "AttnGAN: Fine-Grained Text to Image Generation with Attentional Generative Adversarial Networks", CVPR
2018, section 3.2, in the form of the released code (taoxugit/AttnGAN, 2018). Deviation: the frozen Inception stays in
evaluation mode unless ``moving_statistics`` says otherwise; in the code its batch norm followed the data.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.optim import Adam

from t2icli.batch import Pairs, Text
from t2icli.encoders import words as words_encoder
from t2icli.encoders._backbones import BackboneConfig
from t2icli.encoders._base import EpochDecay, Losses, Matcher, Phase
from t2icli.encoders._images import ImageEncoder
from t2icli.encoders._retrieval import retrieval
from t2icli.encoders._words import WordEncoder, WordsConfig
from t2icli.losses.matching import sentence_losses, word_losses
from t2icli.released import COUNTERS, ImportedEncoder, Released, check_fit, parts_of, renamed, the_one
from t2icli.vocabulary import Vocabulary
from t2icli.weights import Weights


class Config(BackboneConfig, WordsConfig):
    """The [model] table."""

    gamma1: PositiveFloat = Field(4.0, description="sharpness of a word's look at regions; the paper has 5")
    gamma2: PositiveFloat = Field(5.0, description="sharpness with which words are pooled into a caption")
    gamma3: PositiveFloat = Field(10.0, description="scale of scores before the softmax over the batch")
    schedule: EpochDecay = EpochDecay()


class DAMSM(Matcher):
    """Text and images in one space: words beside regions, sentences beside whole images."""

    def __init__(self, config: Config, vocabulary: Vocabulary, weights: Weights | None) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.gammas = config.gamma1, config.gamma2, config.gamma3
        self.schedule = config.schedule
        self.text = WordEncoder(config, vocabulary)
        self.image = ImageEncoder(config, config.dim, weights)
        self.used = self.image.backbone.used

    def phases(self) -> Sequence[Phase]:
        """One: both sides learn together."""
        words, schedule = list(self.text.parameters()), self.schedule
        learning = [*words, *self.image.learning()]
        return [
            Phase("matching", schedule.images, learning, self.losses, self.adam, schedule.rate_at,
                  clipped=words, clip=schedule.clip, restart=schedule.restart)
        ]  # fmt: skip

    def adam(self, parameters: Sequence[nn.Parameter]) -> Adam:
        """The optimizer; the loop sets its rate."""
        return Adam(parameters, self.schedule.rate, betas=self.schedule.betas)

    def losses(self, pairs: Pairs) -> Losses:
        """All four: words and sentences, along captions and along images."""
        return self.compared(*self.read_images(pairs.image), self.text.read(pairs.captions), pairs.classes)

    def compared(self, regions: Tensor, whole: Tensor, text: Text, classes: Tensor) -> Losses:
        """The same of images and captions that have been read; each row's belong together."""
        w0, w1 = word_losses(regions, text.words, text.mask, self.gammas, classes)
        s0, s1 = sentence_losses(whole, text.sentence, self.gammas[2], classes)
        return {"word_to_text": w0, "word_to_image": w1, "sentence_to_text": s0, "sentence_to_image": s1}

    def validate(self, held_out: Iterable[Pairs]) -> Mapping[str, float]:
        """Mean loss, and retrieval by whole images and sentences."""
        images, sentences, losses = [], [], []
        for pairs in held_out:
            text, (regions, whole) = self.text.read(pairs.captions), self.read_images(pairs.image)
            losses.append(torch.stack(list(self.compared(regions, whole, text, pairs.classes).values())).sum())
            images.append(whole)
            sentences.append(text.sentence)
        return {"loss": float(torch.stack(losses).mean()), **retrieval(torch.cat(images), torch.cat(sentences))}

    def read_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See ``Matcher``."""
        regions, whole = self.image(images)
        return regions, whole


build = DAMSM

RENAMED = (
    (r"^emb_features\.", "image.to_regions."),
    (r"^emb_cnn_code\.", "image.to_whole."),
    (r"^(Conv2d|Mixed)_", r"image.backbone.\1_"),
)


def import_released(files: Sequence[Released]) -> ImportedEncoder:
    """``text_encoder*.pth``, ``image_encoder*.pth`` and ``captions.pickle``; without the image's, the text's alone.

    The statistics of batch norm come from the file: they moved while the released matchers were trained.
    """
    images = {file.path: parts_of(file, "emb_features.weight") for file in files}
    words = words_encoder.import_released(files)
    if not any(images.values()):
        return words
    part, notes = the_one([part for parts in images.values() for part in parts], "damsm: image encoder")
    state = words.state | renamed(part.state, RENAMED)
    config = Config.model_validate(words.model)
    expected = DAMSM(config, words.vocabulary, None).state_dict()
    state |= {name: torch.zeros_like(value) for name, value in expected.items() if name.endswith(COUNTERS)}
    check_fit(expected, state, f"{part} with {len(words.vocabulary.words):,} words")
    return ImportedEncoder("damsm", words.model, words.vocabulary, state, [*words.notes, *notes])
