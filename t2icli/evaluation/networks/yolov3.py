"""YOLOv3 with Darknet's published COCO weights at 256 pixels: the detector of SOA's authors."""

import torch

from t2icli.evaluation.detectors import darknet
from t2icli.evaluation.detectors.darknet_config import yolov3
from t2icli.evaluation.features import Network
from t2icli.weights import Weights

SIZE = 256  # SOA's authors override the cfg's size


def load(weights: Weights, device: torch.device) -> Network:
    """Layer ``present`` (n, 80), and where a layout is scored ``boxes``.

    Those are (n, 100, 6): label or -1, x1, y1, x2, y2 in shares of the sides, score.
    """
    return darknet.detector(weights.find("yolov3"), yolov3(SIZE), "yolov3", device, {})
