"""Keras' Inception v3 as the open XMC-GAN code measures with it: `fid-keras` and `is-keras`.

The weights are those of keras-applications with the top, converted by ``tools/convert_keras_inception.py`` into a
state dict with torchvision's names; its batch norms have no scale, so their ``weight`` is 1 throughout.
"""

import torch
from torch import Tensor

from t2icli import weights as pretrained
from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _inception as inception
from t2icli.evaluation.networks._resize import tf2_bilinear

LAYERS = ("2048", "logits")
RESIZE = "tf2-bilinear-299"
KERAS = inception.Variant(classes=1000)


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The pooled features (n, 2048) and ImageNet's 1000 outputs."""
    found = weights.find("inception-keras")
    return inception.network("inception-v3-keras", found, device, KERAS, prepare, RESIZE, LAYERS)


def prepare(images: Tensor) -> Tensor:
    """Resized in floats in [0, 1], then to [-1, 1]."""
    return (tf2_bilinear(images, inception.SIDE) / 255 * 2 - 1).clamp(-1, 1)
