"""CLIP ViT-B/32 of OpenAI: captions and pictures in one space, for R-precision and the Fréchet distance on CLIP."""

import torch

from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _clip as clip
from t2icli.weights import Weights


def load(weights: Weights, device: torch.device) -> Network:
    """The network with ``embedding`` for images, ``embedding`` and ``cut`` for captions."""
    return clip.network("clip-vit-b-32", weights, device)
