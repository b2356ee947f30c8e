"""StackGAN's Inception v3 of 50 kinds of birds: the Inception Score on CUB, `is-birds`.

The weights are a checkpoint of TensorFlow 1 (slim, the moving averages of its variables), which has to be converted
once into a state dict with torchvision's names: kernels (out, in, height, width); ``bn.weight`` of ones, for its batch
norms have no scale; ``bn.bias`` its beta; ``fc.weight`` (51, 2048), whose row 0 is the output that is no kind of bird.
"""

import torch
from torch import Tensor

from t2icli import weights as pretrained
from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _inception as inception
from t2icli.evaluation.networks._resize import pil_bilinear

LAYERS = ("logits",)
RESIZE = "pil-bilinear-299"
BIRDS = inception.Variant(classes=51)


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """All 51 outputs."""
    found = weights.find("inception-birds")
    return inception.network("inception-v3-birds", found, device, BIRDS, prepare, RESIZE, LAYERS)


def prepare(images: Tensor) -> Tensor:
    """Resized to whole levels, to [-1, 1]."""
    return pil_bilinear(images, inception.SIDE).float() / 127.5 - 1
