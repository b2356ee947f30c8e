"""What DAMSM and VLM share on the side of images: a backbone and two projections into the space of words."""

import torch
from torch import Tensor, nn

from t2icli.encoders._backbones import BackboneConfig, make_backbone
from t2icli.weights import Weights


class ImageEncoder(nn.Module):
    """Images to vectors of their regions and of the whole, comparable with words and sentences."""

    def __init__(self, config: BackboneConfig, dim: int, weights: Weights | None) -> None:
        super().__init__()
        self.backbone = make_backbone(config, weights)
        self.to_regions = nn.Conv2d(self.backbone.region_dim, dim, 1, bias=False)
        self.to_whole = nn.Linear(self.backbone.whole_dim, dim)
        nn.init.uniform_(self.to_regions.weight, -0.1, 0.1)
        nn.init.uniform_(self.to_whole.weight, -0.1, 0.1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, S, S)`` in [-1, 1] to regions ``(B, R, D)``, row by row, and whole ``(B, D)``."""
        if self.backbone.frozen:
            with torch.autocast(images.device.type, enabled=False):
                features, whole = self.backbone(images)
        else:
            features, whole = self.backbone(images)
        return self.to_regions(features).flatten(2).transpose(1, 2), self.to_whole(whole)

    def learning(self) -> list[nn.Parameter]:
        """The parameters that are trained: all but those of a frozen backbone."""
        return [p for p in self.parameters() if p.requires_grad]
