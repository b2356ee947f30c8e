"""Inception v3 of TensorFlow's 2015-12-05 graph as in torch-fidelity's ``inception-v3-compat``: `fid-tf` and `is`."""

import torch
from torch import Tensor

from t2icli import weights as pretrained
from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _inception as inception
from t2icli.evaluation.networks._resize import tf1_bilinear

WEIGHTS = "inception-tf"
LAYERS = ("2048", "logits_unbiased", "logits")
RESIZE = "tf1-bilinear-299"
GRAPH = inception.Variant(classes=1008, last_pool="maximum")


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The pooled features (n, 2048), and the 1008 outputs with and without bias."""
    return inception.network("inception-v3-compat", weights.find(WEIGHTS), device, GRAPH, prepare, RESIZE, LAYERS)


def prepare(images: Tensor) -> Tensor:
    """Resized as the graph itself does it, to [-1, 1)."""
    return normalised(tf1_bilinear(images, inception.SIDE))


def normalised(levels: Tensor) -> Tensor:
    """Levels from 0 to 255 as the graph takes them."""
    return (levels.float() - 128) / 128
