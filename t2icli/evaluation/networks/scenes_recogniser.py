"""The bundled recogniser of scenes as a network that metrics read: its features, and what it recognises."""

import torch

from t2icli import weights as pretrained
from t2icli.evaluation import scenes_recogniser
from t2icli.evaluation.features import Layers, Network, View

RESIZE = "bilinear-antialiased-64"


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The network that comes with t2i; no weights have to be found."""
    network = scenes_recogniser.load(device)
    path = scenes_recogniser.WEIGHTS
    found = pretrained.Found("scenes-recogniser", path, pretrained.file_hash(path), published=True)

    def layers(view: View) -> Layers:
        seen: Layers = network(view.images)._asdict()
        return seen

    return Network({"network": "scenes-recogniser", "weights": found.record(), "resize": RESIZE}, layers)
