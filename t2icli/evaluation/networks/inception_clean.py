"""The 2015-12-05 graph behind an antialiased resize, as clean-fid's ``mode="clean"`` has it: `fid-clean`."""

import torch
from torch import Tensor

from t2icli import weights as pretrained
from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _inception as inception
from t2icli.evaluation.networks import inception_tf
from t2icli.evaluation.networks._resize import pil_bicubic

LAYERS = ("2048",)
RESIZE = "pil-bicubic-299"


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The pooled features (n, 2048)."""
    found, graph = weights.find(inception_tf.WEIGHTS), inception_tf.GRAPH
    return inception.network("inception-v3-compat", found, device, graph, prepare, RESIZE, LAYERS)


def prepare(images: Tensor) -> Tensor:
    """Resized in floats, never rounded to levels."""
    return inception_tf.normalised(pil_bicubic(images, inception.SIDE))
