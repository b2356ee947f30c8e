"""Inception v3 (Szegedy et al. 2015, arXiv 1512.00567), the network behind FID and the Inception Score, made fast.

One wiring serves all published sets of weights; ``Variant`` says in what they differ. Names of tensors, kernels,
strides and paddings are torchvision's. Nothing here changes a feature by more than float32 rounding:

* batch norms are folded into the convolutions,
* tensors are channels-last, in which PyTorch's pools are ten times as fast on a CPU,
* a 1x1 convolution and the 3x3 average pool before it change places, so that fewer channels are averaged,
* on a CPU a batch goes through in parts whose maps stay in its caches, and weights are put in oneDNN's order once.

``bench/extraction.py`` measures what that is worth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from t2icli import weights as pretrained
from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import Layers, Network, View

SIDE = 299  # pixels a side
AT_ONCE = 4  # images in one part of a batch on a CPU: the largest map of that many has 22 MB

Prepare = Callable[[Tensor], Tensor]  # uint8 images of any size -> (n, 3, 299, 299) as the weights want them

# Branches of a block besides its pool: convolutions one after the other; the last step may be two, side by side.
A = ("branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3")
B = ("branch3x3", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3")
C = (
    "branch1x1",
    "branch7x7_1 branch7x7_2 branch7x7_3",
    "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
)
D = ("branch3x3_1 branch3x3_2", "branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4")
E = (
    "branch1x1",
    "branch3x3_1 branch3x3_2a|branch3x3_2b",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a|branch3x3dbl_3b",
)
BLOCKS = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), A),
    "Mixed_6a": B,
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), C),
    "Mixed_7a": D,
    **dict.fromkeys(("Mixed_7b", "Mixed_7c"), E),
}
HALVING = ("Mixed_6a", "Mixed_7a")  # blocks of stride 2, whose pool is a maximum without a convolution


@dataclass(frozen=True)
class Variant:
    """In what published networks differ besides their weights."""

    classes: int
    average_counts_padding: bool = False  # torchvision's 3x3 average pools do, TensorFlow's do not
    last_pool: Literal["average", "maximum"] = "average"  # of Mixed_7c; the graph of 2015 has a maximum there


def network(
    name: str,
    found: pretrained.Found,
    device: torch.device,
    variant: Variant,
    prepare: Prepare,
    resize: str,
    names: Sequence[str],
) -> Network:
    """A network that gives the layers of these names.

    ``2048`` is the final average pool (n, 2048), ``logits`` the classifier's outputs and ``logits_unbiased`` the same
    without its bias (n, classes). ``resize`` names what ``prepare`` does to the size.
    """
    model = Inception(fitting(found, variant.classes), variant).eval().to(device)

    def layers(view: View) -> Layers:
        # Convolutions in TF32, which cuDNN takes by default, would move published figures.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = view.images.split(AT_ONCE) if device.type == "cpu" else [view.images]
            pooled = torch.cat([model(prepare(part)) for part in parts])
            unbiased = pooled @ model.classifier.T
            every = {"2048": pooled, "logits_unbiased": unbiased, "logits": unbiased + model.classifier_bias}
            return {layer: every[layer] for layer in names}

    return Network({"network": name, "weights": found.record(), "resize": resize}, layers)


def fitting(found: pretrained.Found, classes: int) -> dict[str, Tensor]:
    """The tensors of a state dict, after a look at whether they are those of an Inception v3 with so many outputs.

    torchvision's auxiliary classifier and counters of batches may be there or not. ``EnvironmentFault`` names the
    first tensor that is missing, of another shape, or not known.
    """
    state = {
        name: value
        for name, value in pretrained.load(found).items()
        if not name.startswith("AuxLogits.") and not name.endswith(".num_batches_tracked")
    }
    expected = {
        name: tuple(value.shape)
        for name, value in skeleton(classes).state_dict().items()
        if not name.endswith(".num_batches_tracked")
    }
    wrong = f"{found.path}: not a state dict of {found.name}:"
    for name, shape in expected.items():
        if name not in state:
            raise EnvironmentFault(f"{wrong} there is no tensor {name}, which should be {shape}")
        if tuple(state[name].shape) != shape:
            raise EnvironmentFault(f"{wrong} {name} is {tuple(state[name].shape)} and should be {shape}")
    if unknown := [name for name in state if name not in expected]:
        raise EnvironmentFault(f"{wrong} this network has no tensor {unknown[0]}")
    return {name: value.float() for name, value in state.items()}


def skeleton(classes: int) -> torchvision.models.Inception3:
    """torchvision's module without numbers."""
    with torch.device("meta"):
        model = torchvision.models.inception_v3(
            weights=None, num_classes=classes, aux_logits=False, init_weights=False, transform_input=False
        )
    return model.eval()


class Convolution(nn.Module):
    """A convolution with its batch norm folded in, and a rectifier; neither bias nor rectifier if a pool follows."""

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, pool_follows: bool) -> None:
        super().__init__()
        folded = fuse_conv_bn_eval(convolution, norm)
        self.stride, self.padding = list(folded.stride), [int(pixels) for pixels in folded.padding]
        self.pool_follows = pool_follows
        self.register_buffer("weight", folded.weight.detach().contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", cast(Tensor, folded.bias).detach())
        self.packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same of another C, H and W."""
        bias = None if self.pool_follows else self.bias
        if x.device.type == "cpu" and packing():
            if self.packed is None:
                self.packed = torch.ops.mkldnn._reorder_convolution_weight(
                    self.weight, self.padding, self.stride, [1, 1], 1, list(x.shape)
                )
            after = "none" if self.pool_follows else "relu"
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.packed, bias, self.padding, self.stride, [1, 1], 1, after, [], ""
            )
        x = F.conv2d(x, self.weight, bias, self.stride, self.padding)
        return x if self.pool_follows else x.relu_()


@cache
def packing() -> bool:
    """Whether this PyTorch has oneDNN and the two operators, private to it, that torch.compile also emits on a CPU.

    They keep weights in oneDNN's order, which ``conv2d`` makes anew at each call, and apply the rectifier at once.
    """
    names = ("_reorder_convolution_weight", "_convolution_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


class Inception(nn.Module):
    """Images (n, 3, 299, 299), normalised as the weights want, to the final average pool (n, 2048)."""

    classifier: Tensor
    classifier_bias: Tensor

    def __init__(self, state: Mapping[str, Tensor], variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        model = skeleton(variant.classes)
        model.load_state_dict(dict(state), strict=False, assign=True)
        self.steps = nn.ModuleDict()
        for name, module in model.named_modules():
            if hasattr(module, "conv"):
                convolution, norm = cast(nn.Conv2d, module.conv), cast(nn.BatchNorm2d, module.bn)
                self.steps[name.replace(".", "/")] = Convolution(convolution, norm, self.pool_follows(name))
        self.register_buffer("classifier", state["fc.weight"])
        self.register_buffer("classifier_bias", state["fc.bias"])

    def pool_follows(self, name: str) -> bool:
        """Whether an average pool comes after a convolution here, which comes before it in the published networks."""
        maximum = name.startswith("Mixed_7c") and self.variant.last_pool == "maximum"
        return name.endswith(".branch_pool") and not maximum

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x.contiguous(memory_format=torch.channels_last)
        for step in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
            x = self.steps[step](x)
        x = F.max_pool2d(x, 3, stride=2)
        for step in ("Conv2d_3b_1x1", "Conv2d_4a_3x3"):
            x = self.steps[step](x)
        x = F.max_pool2d(x, 3, stride=2)
        for block, branches in BLOCKS.items():
            parts = [part for steps in branches for part in self.branch(x, block, steps)]
            x = torch.cat([*parts, self.pool(x, block)], dim=1)
        return x.mean((2, 3))

    def branch(self, x: Tensor, block: str, steps: str) -> list[Tensor]:
        """One branch of a block; its last step may be two convolutions side by side."""
        *first, last = steps.split()
        for step in first:
            x = self.steps[f"{block}/{step}"](x)
        return [self.steps[f"{block}/{step}"](x) for step in last.split("|")]

    def pool(self, x: Tensor, block: str) -> Tensor:
        """The branch of a block that pools.

        A mean of 3x3 places and a 1x1 convolution are both linear, so either may come first. The bias is added after
        the pool, because padding that is counted has none.
        """
        if block in HALVING:
            return F.max_pool2d(x, 3, stride=2)
        convolution = cast(Convolution, self.steps[f"{block}/branch_pool"])
        if not convolution.pool_follows:
            return convolution(F.max_pool2d(x, 3, stride=1, padding=1))
        counts = self.variant.average_counts_padding
        pooled = F.avg_pool2d(convolution(x), 3, stride=1, padding=1, count_include_pad=counts)
        return pooled.add_(convolution.bias[:, None, None]).relu_()
