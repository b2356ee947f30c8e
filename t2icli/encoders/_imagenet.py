"""Frozen ImageNet networks from torchvision that losses look at images with."""

from typing import Literal

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.errors import EnvironmentFault
from t2icli.weights import Found, load

Network = Literal["resnet50", "vgg19"]
Features = Literal["logits", "pooled"]

SIDE = 224  # pixels a side that both networks were trained on
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which torchvision's weights expect

BUILDERS = {"resnet50": torchvision.models.resnet50, "vgg19": torchvision.models.vgg19}


class FrozenImageNetwork(nn.Module):
    """Images ``(B, 3, S, S)`` in [-1, 1] to features ``(B, F)``; weights never change, gradients pass through.

    ``logits`` are the 1000 class scores, which the XMC-GAN code compares; ``pooled`` is what comes before the
    classifier (2048 numbers of ResNet-50; 512 of VGG-19, averaged over places). The code's own ResNet-50 took
    [0, 1] images without normalisation; torchvision's weights need theirs.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Network, features: Features, weights: Found) -> None:
        super().__init__()
        model = BUILDERS[network](weights=None)
        fill(model, network, weights)
        if features == "pooled":
            if network == "resnet50":
                model.fc = nn.Identity()
            else:
                model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
        self.model = model.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "FrozenImageNetwork":
        """Stay in evaluation mode, whatever the training loop asks of its modules."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features in float32."""
        with torch.autocast(images.device.type, enabled=False):
            resized = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
            return self.model(((resized + 1) / 2 - self.mean) / self.deviation)


def fill(model: nn.Module, network: str, weights: Found) -> None:
    """Load a network's weights; those of another one are refused by the first key that does not fit."""
    try:
        model.load_state_dict(load(weights))
    except RuntimeError as fault:
        first = str(fault).splitlines()[1].strip() if "\n" in str(fault) else str(fault)
        raise EnvironmentFault(f"{weights.path}: is no state dict of torchvision's {network}: {first}") from None
