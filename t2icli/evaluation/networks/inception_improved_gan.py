"""The 2015-12-05 graph as the code of the Inception Score's authors feeds it, which AttnGAN and DM-GAN used on COCO."""

import torch
from torch import Tensor

from t2icli import weights as pretrained
from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _inception as inception
from t2icli.evaluation.networks import inception_tf
from t2icli.evaluation.networks._resize import pil_bilinear

LAYERS = ("logits_unbiased",)
RESIZE = "pil-bilinear-299"


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The 1008 outputs, which that code computes without the bias."""
    found, graph = weights.find(inception_tf.WEIGHTS), inception_tf.GRAPH
    return inception.network("inception-v3-compat", found, device, graph, prepare, RESIZE, LAYERS)


def prepare(images: Tensor) -> Tensor:
    """Resized to whole levels before the graph, whose own resize then has nothing to do."""
    return inception_tf.normalised(pil_bilinear(images, inception.SIDE))
