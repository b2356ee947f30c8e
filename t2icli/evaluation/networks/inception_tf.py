"""Inception v3 of TensorFlow's 2015-12-05 graph: torch-fidelity's ``inception-v3-compat``, loaded with care."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

from t2icli import weights as pretrained
from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import Network, View

LAYERS = ["2048", "logits_unbiased", "logits"]
# As TensorFlow 1 resizes, inside the network: source = destination x (in / out), no half-pixel shift, no antialiasing.
RESIZE = "tf1-bilinear-299"


def load(weights: pretrained.Weights, device: torch.device) -> Network:
    """The extractor with the features of FID (``2048``) and of the Inception Score (``logits_unbiased``)."""
    found = weights.find("inception-tf")
    network = extractor(found).to(device)

    def layers(view: View) -> dict[str, Tensor]:
        # Convolutions in TF32, which cuDNN takes by default, would move published figures.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return dict(zip(LAYERS, network(view.images), strict=True))

    facts = {"network": "inception-v3-compat", "weights": found.record(), "resize": RESIZE}
    return Network(facts, layers)


def extractor(found: pretrained.Found) -> nn.Module:
    """torch-fidelity's network with these weights, its batch norms folded into the convolutions.

    torch-fidelity unpickles the file without restriction, so the file is first read as tensors only. Folding and
    the channels-last layout change no feature by more than 1e-6 of its size and halve the time on a CPU.
    """
    pretrained.load(found)
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", LAYERS, feature_extractor_weights_path=found.path)
    except RuntimeError as fault:
        lines = str(fault).splitlines()
        raise EnvironmentFault(
            f"{found.path}: not a state dict of {found.name}: {lines[min(1, len(lines) - 1)].strip()[:200]}"
        ) from None
    for module in network.modules():
        if isinstance(module, BasicConv2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = cast("nn.BatchNorm2d", nn.Identity())
    return network.to(memory_format=torch.channels_last).requires_grad_(False)
