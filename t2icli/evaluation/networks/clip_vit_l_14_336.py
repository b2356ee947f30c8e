"""CLIP ViT-L/14 at 336 pixels of OpenAI, on which CMMD is defined."""

import torch

from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _clip as clip
from t2icli.weights import Weights


def load(weights: Weights, device: torch.device) -> Network:
    """The network with ``embedding`` for images, ``embedding`` and ``cut`` for captions."""
    return clip.network("clip-vit-l-14-336", weights, device)
