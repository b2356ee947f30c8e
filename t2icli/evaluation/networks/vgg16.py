"""VGG-16 as torch-fidelity reads it for precision and recall: the second 4096-wide layer after its ReLU."""

import io

import torch
from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

from t2icli import weights as pretrained
from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import Layers, Network, View

LAYERS = ["fc2_relu"]
RESIZE = "tf1-bilinear-224"  # inside the network


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The extractor with ``fc2_relu`` (n, 4096)."""
    found = weights.find("vgg16")
    network = extractor(found).to(device)

    def layers(view: View) -> Layers:
        # Convolutions in TF32, which cuDNN takes by default, would move published figures.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return dict(zip(LAYERS, network(view.images), strict=True))

    return Network({"network": "vgg16", "weights": found.record(), "resize": RESIZE}, layers)


def extractor(found: pretrained.Found) -> torch.nn.Module:
    """torch-fidelity's network with these weights, which it unpickles freely: so it is handed tensors, not the file."""
    content = io.BytesIO()
    torch.save(pretrained.load(found), content)
    content.seek(0)
    try:
        network: torch.nn.Module = FeatureExtractorVGG16("vgg16", LAYERS, feature_extractor_weights_path=content)
    except RuntimeError as fault:
        lines = str(fault).splitlines()
        raise EnvironmentFault(
            f"{found.path}: not a state dict of {found.name}: {lines[min(1, len(lines) - 1)].strip()[:200]}"
        ) from None
    return network
