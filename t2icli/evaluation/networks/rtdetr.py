"""RT-DETRv2 with a ResNet-50, trained on COCO: the detector that SOA takes where nothing else is asked for."""

import torch

from t2icli.evaluation.detectors import hugging_face
from t2icli.evaluation.features import Network
from t2icli.weights import Weights


def load(weights: Weights, device: torch.device) -> Network:
    """Layer ``present`` (n, 80), and where a layout is scored ``boxes``.

    Those are (n, 100, 6): label or -1, x1, y1, x2, y2 in shares of the sides, score.
    """
    return hugging_face.detector(weights.find("rtdetr-v2-r50"), ("rt_detr_v2", "rt_detr"), "sigmoid", device)
