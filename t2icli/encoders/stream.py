"""STREAM, MirrorGAN's captioner: an image to the words that describe it.

Qiao et al., "MirrorGAN: Learning Text-to-image Generation by Redescription", CVPR 2019, section 3.3, in the form of
the released code (qiaott/MirrorGAN, 2019), which had it pretrained by a tutorial on image captions (yunjey). Its
author never released trained weights, so there is nothing to import and no ``import_released`` here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
import torchvision
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from t2icli.batch import Pairs
from t2icli.encoders._backbones import Backbone, BackboneConfig, SmallNetwork
from t2icli.encoders._base import Encoder, Losses, Phase
from t2icli.encoders._bleu import bleu
from t2icli.encoders._imagenet import DEVIATION, MEAN, SIDE, fill
from t2icli.encoders._words import word_ids
from t2icli.recipe import Clock, Section, Width
from t2icli.vocabulary import Vocabulary, words_of
from t2icli.weights import Weights

RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")  # torchvision's names


class Schedule(Section):
    """Adam at one rate, as in the tutorial."""

    images: Clock = Field(description="length of the phase in real images shown")
    rate: PositiveFloat = Field(1e-3, description="learning rate")


class Config(Section):
    """The [model] table."""

    network: Literal["resnet152", "small"] = Field(
        "resnet152", description="ImageNet's ResNet-152, frozen; or a small network trained from nothing"
    )
    small_channels: Width = Field(32, description="width of the small network's first level")
    embedding_dim: Width = Field(256, description="numbers in the image's feature and in the embedding of a word")
    hidden_dim: Width = Field(512, description="numbers in the state of the LSTM")
    momentum: float = Field(0.01, gt=0, le=1, description="of the batch norm of the image's feature")
    normalise: bool = Field(
        False,
        description="give ResNet-152 images normalised as in ImageNet; off: images in [-1, 1], as MirrorGAN gives them",
    )
    end_token: bool = Field(
        True, description="learn where captions end, so that descriptions do; off: every description has all its words"
    )
    schedule: Schedule


class FrozenResNet(Backbone):
    """ResNet-152 up to its last map and the mean of it, from images resized to 224 pixels; always in evaluation mode.

    MirrorGAN pretrains on images normalised as in ImageNet and then, beside the generator, reads images in [-1, 1].
    Reading both alike is the default here, in the way of the second, because that is where the loss is used.
    """

    region_dim, whole_dim, frozen = 2048, 2048, True
    mean: Tensor
    deviation: Tensor

    def __init__(self, normalise: bool, weights: Weights | None) -> None:
        super().__init__()
        self.normalise = normalise
        model = torchvision.models.resnet152(weights=None)
        if weights is not None:
            found = weights.find("resnet152")
            fill(model, "resnet152", found)
            self.used = (found,)
        for name in RESNET:
            self.add_module(name, getattr(model, name))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenResNet":
        """Stay in evaluation mode, whatever the training loop asks of its modules."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map and mean, in float32. The resize is bilinear without antialiasing, as the code has it."""
        with torch.autocast(images.device.type, enabled=False):
            x = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear")
            if self.normalise:
                x = ((x + 1) / 2 - self.mean) / self.deviation
            for name in RESNET:
                x = self.get_submodule(name)(x)
            return x, x.mean((2, 3))


class ImageEncoder(nn.Module):
    """Images ``(B, 3, S, S)`` in [-1, 1] to features ``(B, embedding_dim)`` that stand where a word would."""

    def __init__(self, config: Config, weights: Weights | None) -> None:
        super().__init__()
        self.backbone: Backbone
        if config.network == "resnet152":
            self.backbone = FrozenResNet(config.normalise, weights)
        else:
            self.backbone = SmallNetwork(BackboneConfig(backbone="small", small_channels=config.small_channels))
        self.linear = nn.Linear(self.backbone.whole_dim, config.embedding_dim)
        self.norm = nn.BatchNorm1d(config.embedding_dim, momentum=config.momentum)

    def forward(self, images: Tensor) -> Tensor:
        """Features."""
        _, whole = self.backbone(images)
        return self.norm(self.linear(whole))


class Decoder(nn.Module):
    """Words one after the other by an LSTM that is shown the image's feature first, and then each word in turn."""

    def __init__(self, config: Config, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, config.embedding_dim)
        self.lstm = nn.LSTM(config.embedding_dim, config.hidden_dim, batch_first=True)
        self.linear = nn.Linear(config.hidden_dim, words)

    def train(self, mode: bool = True) -> "Decoder":
        """The LSTM stays in training mode: cuDNN gives gradients to its input in no other.

        It has one layer and no dropout, so the mode changes nothing else.
        """
        super().train(mode)
        self.lstm.train()
        return self

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        """States ``(B, T, hidden_dim)``; state t has seen the feature and the words before word t of ``ids`` (B, T)."""
        before = torch.cat((features[:, None], self.embedding(ids[:, :-1])), 1)
        states, _ = self.lstm(before)
        return states

    def word_losses(self, features: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """Cross-entropy ``(N,)`` of every word, of which each row of ``ids`` has ``lengths`` (B,)."""
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        logits = self.linear(self(features, ids)[real])
        return F.cross_entropy(logits.float(), ids[real], reduction="none")

    def greedy(self, features: Tensor, words: int) -> Tensor:
        """Ids ``(B, words)``, each the likeliest after those before it; what follows a 0 means nothing."""
        chosen: list[Tensor] = []
        shown, state = features, None
        for _ in range(words):
            states, state = self.lstm(shown[:, None], state)
            chosen.append(self.linear(states[:, 0]).argmax(-1))
            shown = self.embedding(chosen[-1])
        return torch.stack(chosen, 1)


class STREAM(Encoder):
    """The captioner. No token begins a caption: the image's feature does.

    The tutorial marks where captions begin and end, and MirrorGAN beside the generator marks neither. Here training
    on real images counts the end (id 0) as one more word (``end_token``), because a captioner that cannot stop gives
    no captions to look at or to measure; generated images are judged by the words alone, as in MirrorGAN.
    """

    config: Config

    def __init__(self, config: Config, vocabulary: Vocabulary, weights: Weights | None = None) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.image = ImageEncoder(config, weights)
        self.decoder = Decoder(config, len(vocabulary))
        self.used = self.image.backbone.used

    def phases(self) -> Sequence[Phase]:
        """One, for all that is not frozen; the last weights are kept, as in the tutorial."""
        schedule = self.config.schedule
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            Phase("captioning", schedule.images, learning, self.losses, self.adam, lambda images, epoch: schedule.rate)
        ]

    def adam(self, parameters: Sequence[nn.Parameter]) -> Adam:
        """The optimizer."""
        return Adam(parameters, self.config.schedule.rate)

    def losses(self, pairs: Pairs) -> Losses:
        """Cross-entropy of the captions, a mean over all words of the batch."""
        return {"caption": self.word_losses(pairs.image, pairs.captions, self.config.end_token).mean()}

    def word_losses(self, images: Tensor, captions: Sequence[str], end: bool = False) -> Tensor:
        """Cross-entropy ``(N,)`` of every known word of the captions given the images, and with ``end`` of each end."""
        ids, lengths = word_ids(captions, self.vocabulary)
        if end:
            ids, lengths = F.pad(ids, (0, 1)), lengths + (ids[:, 0] != 0)  # one without known words is an end already
        return self.decoder.word_losses(self.image(images), ids.to(images.device), lengths.to(images.device))

    @torch.no_grad()
    def describe(self, images: Tensor, words: int = 20) -> list[str]:
        """Captions of images ``(B, 3, S, S)`` by greedy choice, of so many words at most."""
        return [self.vocabulary.write(row) for row in self.decoder.greedy(self.image(images), words).tolist()]

    @torch.no_grad()
    def validate(self, held_out: Iterable[Pairs]) -> Mapping[str, float]:
        """Perplexity of a word (the end included where it is learned), and BLEU-4 of descriptions.

        BLEU compares with the one caption that each pair carries, so it is lower than figures with five references.
        """
        losses: list[Tensor] = []
        described: list[str] = []
        captions: list[str] = []
        for pairs in held_out:
            losses.append(self.word_losses(pairs.image, pairs.captions, self.config.end_token).double())
            described += self.describe(pairs.image)
            captions += pairs.captions
        perplexity = torch.cat(losses).mean().exp().item()
        return {"perplexity": perplexity, "bleu4": bleu(list(map(words_of, described)), list(map(words_of, captions)))}


build = STREAM
