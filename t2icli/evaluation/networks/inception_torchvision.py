"""torchvision's Inception v3 as DM-GAN, DF-GAN and TISE measure FID with it: `fid-torchvision`, for comparison only."""

import torch
from torch import Tensor

from t2icli import weights as pretrained
from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _inception as inception
from t2icli.evaluation.networks._resize import pil_bilinear

LAYERS = ("2048",)
RESIZE = "pil-bilinear-299"
TORCHVISION = inception.Variant(classes=1000, average_counts_padding=True)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The pooled features (n, 2048)."""
    found = weights.find("inception-torchvision")
    return inception.network("inception-v3-torchvision", found, device, TORCHVISION, prepare, RESIZE, LAYERS)


def prepare(images: Tensor) -> Tensor:
    """Resized to whole levels, to [0, 1], then as that code has it.

    Its map is meant for images normalised by ImageNet's statistics but gets [0, 1], so that red, for one, reaches
    the network as -0.03 to 0.43. Published figures have it so.
    """
    x = pil_bilinear(images, inception.SIDE).float() / 255
    mean = torch.tensor(MEAN, device=x.device)[:, None, None]
    deviation = torch.tensor(DEVIATION, device=x.device)[:, None, None]
    return x * (deviation / 0.5) + (mean - 0.5) / 0.5
