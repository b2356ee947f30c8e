"""What encoders look at images with: torchvision's Inception-v3, frozen, or a small network trained from nothing."""

from typing import Literal

import torchvision
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.encoders._imagenet import fill
from t2icli.recipe import Section, Width
from t2icli.weights import Found, Weights

SIDE = 299  # pixels a side that Inception-v3 was trained on

# Up to the maps that AttnGAN calls regions, and from there to the vector of the whole image; torchvision's names.
TO_REGIONS = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2",
    "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e",
)  # fmt: skip
TO_WHOLE = ("Mixed_7a", "Mixed_7b", "Mixed_7c")


class BackboneConfig(Section):
    """Which network looks at images."""

    backbone: Literal["inception", "small"] = Field(
        "inception", description="ImageNet's Inception-v3, frozen; or a small network trained from nothing"
    )
    small_channels: Width = Field(32, description="width of the small network's first level")
    align_corners: bool = Field(
        True,
        description="how images are enlarged to 299 px for Inception: as torch 0.3 did it (released weights) or not",
    )
    moving_statistics: bool = Field(
        False, description="let batch norm of the frozen Inception follow the data, as AttnGAN's code does"
    )


class Backbone(nn.Module):
    """Images ``(B, 3, S, S)`` in [-1, 1] to a map ``(B, region_dim, h, w)`` and a vector ``(B, whole_dim)``."""

    region_dim: int
    whole_dim: int
    frozen: bool  # its weights never change; gradients still pass through to the images
    used: tuple[Found, ...] = ()


class FrozenInception(Backbone):
    """Regions are the output of Mixed_6e, 17x17; the whole is the mean of Mixed_7c."""

    region_dim, whole_dim, frozen = 768, 2048, True

    def __init__(self, config: BackboneConfig, weights: Weights | None) -> None:
        super().__init__()
        self.align_corners, self.moving = config.align_corners, config.moving_statistics
        model = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=False)
        if weights is not None:
            found = weights.find("inception-torchvision")
            fill(model, "inception_v3", found)
            self.used = (found,)
        for name in (*TO_REGIONS, *TO_WHOLE):
            self.add_module(name, getattr(model, name))
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "FrozenInception":
        """Stay in evaluation mode, unless batch norm is to follow the data."""
        return super().train(mode and self.moving)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Regions and whole, in float32."""
        x = images.float()
        if x.shape[-1] != SIDE:
            corners = True if self.align_corners else None
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=corners)
        for name in TO_REGIONS:
            x = self.get_submodule(name)(x)
        regions = x
        for name in TO_WHOLE:
            x = self.get_submodule(name)(x)
        return regions, x.mean((2, 3))


class SmallNetwork(Backbone):
    """Three levels of two convolutions each; regions are the second level at a quarter of the size."""

    frozen = False

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.small_channels
        self.region_dim, self.whole_dim = 4 * width, 8 * width
        self.to_regions = nn.Sequential(
            convolution(3, width), convolution(width, 2 * width, stride=2),
            convolution(2 * width, 2 * width), convolution(2 * width, 4 * width, stride=2),
            convolution(4 * width, 4 * width),
        )  # fmt: skip
        self.to_whole = nn.Sequential(convolution(4 * width, 8 * width, stride=2), convolution(8 * width, 8 * width))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Regions and whole."""
        regions = self.to_regions(images)
        return regions, self.to_whole(regions).mean((2, 3))


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, rectifier."""
    layers = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    return nn.Sequential(*layers)


def make_backbone(config: BackboneConfig, weights: Weights | None) -> Backbone:
    """The network that a recipe names; ``weights`` None leaves Inception empty, to be filled from a file."""
    return FrozenInception(config, weights) if config.backbone == "inception" else SmallNetwork(config)
