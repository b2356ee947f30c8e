"""Contrastive loss between generated and real images in a frozen ImageNet network.

Zhang et al., "Cross-Modal Contrastive Learning for Text-to-Image Generation", CVPR 2021, eq. 5 with a
pretrained encoder. The released code takes the 1000 logits of a ResNet-50 (the default here), the paper VGG.
"""

from pydantic import Field, PositiveFloat
from torch import no_grad

from t2icli.batch import Batch, Fake
from t2icli.encoders._imagenet import Features, FrozenImageNetwork, Network
from t2icli.losses.contrastive import pairwise
from t2icli.setting import Setting
from t2icli.terms._base import Losses, Term, TermConfig
from t2icli.weights import Weights


class Config(TermConfig):
    """The [terms.image_contrastive] table."""

    network: Network = Field("resnet50", description="which of torchvision's networks; weights as for t2i evaluate")
    features: Features = Field("logits", description="class scores, or the features before the classifier")
    temperature: PositiveFloat = 0.1
    symmetric: bool = Field(
        True, description="both directions, as in the code; off: real images choose among generated ones"
    )

    def pretrained(self) -> tuple[str, ...]:
        """Names of the published weights that the term needs."""
        return (self.network,)


class ImageContrastive(Term):
    """Each generated image should be most like the real image of the same caption."""

    def __init__(self, config: Config, setting: Setting, weights: Weights) -> None:
        super().__init__()
        self.config, self.negatives = config, setting.negatives
        found = weights.find(config.network)
        self.used = (found,)
        self.network = FrozenImageNetwork(config.network, config.features, found)

    def forward(self, batch: Batch, fake: Fake) -> Losses:
        """Compare the last stage's images with the real ones."""
        with no_grad():
            real = self.network(batch.image)
        generated = self.network(fake.images[-1])
        c = self.config
        loss = pairwise(real, generated, c.temperature, self.negatives, c.symmetric)
        return {"pairs": c.weight * loss}


build = ImageContrastive
