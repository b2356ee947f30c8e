"""Any YOLO detector in Darknet's format that was trained on COCO's 80 classes, by its weights and the cfg beside it."""

import torch

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.detectors import darknet, darknet_config
from t2icli.evaluation.features import Network
from t2icli.weights import Weights, file_hash


def load(weights: Weights, device: torch.device) -> Network:
    """See ``networks/yolov3.py``; images go in at the cfg's width and height. The name is that of the file."""
    found = weights.find("darknet")
    if not found.path.is_file():
        raise EnvironmentFault(f"{found.path}: is no file; it should be a file of Darknet weights, its .cfg beside it")
    path = found.path.with_suffix(".cfg")
    config = darknet_config.read(path)
    return darknet.detector(
        found, config, found.path.stem, device, {"cfg": {"file": path.name, "sha256": file_hash(path)}}
    )
