"""A DAMSM as a judge. Models that were trained with it are tuned to it, so its figures are no independent measure."""

import torch

from t2icli.evaluation.features import Network
from t2icli.evaluation.networks import _matchers as matchers
from t2icli.weights import Weights


def load(weights: Weights, device: torch.device) -> Network:
    """Whole images (``whole``) and sentences (``sentence``) in one space."""
    return matchers.load("damsm", weights, device, matchers.whole)
