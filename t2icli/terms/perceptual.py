"""Distance between generated and real images in a frozen ImageNet network.

The paper of XMC-GAN reports an ablation with such a loss in place of the contrastive one (CVPR 2021, section
5.2) without writing it out; the mean squared distance of pooled features is our reading of it.
"""

from pydantic import Field
from torch import no_grad
from torch.nn import functional as F

from t2icli.batch import Batch, Fake
from t2icli.encoders._imagenet import Features, FrozenImageNetwork, Network
from t2icli.setting import Setting
from t2icli.terms._base import Losses, Term, TermConfig
from t2icli.weights import Weights


class Config(TermConfig):
    """The [terms.perceptual] table."""

    network: Network = Field("vgg19", description="which of torchvision's networks; weights as for t2i evaluate")
    features: Features = Field("pooled", description="class scores, or the features before the classifier")

    def pretrained(self) -> tuple[str, ...]:
        """Names of the published weights that the term needs."""
        return (self.network,)


class Perceptual(Term):
    """Each generated image should have the features of the real image of the same caption."""

    def __init__(self, config: Config, setting: Setting, weights: Weights) -> None:
        super().__init__()
        self.config = config
        found = weights.find(config.network)
        self.used = (found,)
        self.network = FrozenImageNetwork(config.network, config.features, found)

    def forward(self, batch: Batch, fake: Fake) -> Losses:
        """Compare the last stage's images with the real ones."""
        with no_grad():
            real = self.network(batch.image)
        return {"distance": self.config.weight * F.mse_loss(self.network(fake.images[-1]), real)}


build = Perceptual
