"""Inception v3 (Szegedy et al. 2015, arXiv 1512.00567), the network behind FID and the Inception Score, made fast.

One wiring serves all published sets of weights; ``Variant`` says in what they differ. Names of tensors, kernels,
strides and paddings are torchvision's. Nothing here changes a feature by more than float32 rounding:

* batch norms are folded into the convolutions,
* tensors are channels-last, in which PyTorch's pools and convolutions are fastest,
* a 1x1 convolution and the 3x3 average pool before it change places, so that fewer channels are averaged,
* on a CPU a batch goes through in parts whose maps stay in its caches, with convolutions in oneDNN's own order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

SIDE = 299  # pixels a side
AT_ONCE = 4  # images in one part of a batch on a CPU: their largest maps are 22 MB together

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
    """In what the published networks differ besides their weights."""

    classes: int
    average_counts_padding: bool = False  # torchvision's 3x3 average pools do, TensorFlow's do not
    last_pool: Literal["average", "maximum"] = "average"  # of Mixed_7c; the 2015 graph has a maximum there


class Convolution(nn.Module):
    """A convolution with its batch norm folded in, and a rectifier unless a pool comes between."""

    def __init__(self, block: nn.Module, rectified: bool = True) -> None:
        super().__init__()
        assert isinstance(block.conv, nn.Conv2d) and isinstance(block.bn, nn.BatchNorm2d)
        folded = fuse_conv_bn_eval(block.conv, block.bn)
        assert folded.bias is not None
        self.stride, self.padding = list(folded.stride), [int(pixels) for pixels in folded.padding]
        self.rectified = rectified
        self.weight = nn.Parameter(folded.weight.detach().contiguous(memory_format=torch.channels_last), False)
        self.bias = nn.Parameter(folded.bias.detach(), False)
        self.packs = False
        self.packed: Tensor | None = None

    def pack(self, shape: list[int]) -> None:
        """Put the weights once into the order that oneDNN would otherwise make of them at each call."""
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(
            self.weight, self.padding, self.stride, [1, 1], 1, shape
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W), channels-last, to the same of another C, H and W; without rectifier also without bias."""
        bias = self.bias if self.rectified else None
        if self.packs:
            if self.packed is None:
                self.pack(list(x.shape))
            after = "relu" if self.rectified else "none"
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.packed, bias, self.padding, self.stride, [1, 1], 1, after, [], ""
            )
        x = F.conv2d(x, self.weight, bias, self.stride, self.padding)
        return x.relu_() if self.rectified else x


class Inception(nn.Module):
    """The network on images (n, 3, 299, 299), normalised as its weights want, to pooled features (n, 2048)."""

    def __init__(self, state: Mapping[str, Tensor], variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        model = skeleton(variant.classes)
        model.load_state_dict(dict(state), strict=False, assign=True)
        self.steps = nn.ModuleDict()
        for name, module in model.named_modules():
            if isinstance(getattr(module, "conv", None), nn.Conv2d):
                self.steps[name.replace(".", "/")] = Convolution(module, rectified=not self.averages(name))
        self.weight, self.bias = model.fc.weight.requires_grad_(False), model.fc.bias.requires_grad_(False)

    def averages(self, name: str) -> bool:
        """Whether a convolution comes with an average pool, so that its rectifier has to wait for the pool."""
        return name.endswith(".branch_pool") and not (
            name.startswith("Mixed_7c") and self.variant.last_pool == "maximum"
        )

    def forward(self, x: Tensor) -> Tensor:
        """The final average pool."""
        for step in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"):
            x = self.steps[step](x)
        x = F.max_pool2d(x, 3, stride=2)
        for step in ("Conv2d_3b_1x1", "Conv2d_4a_3x3"):
            x = self.steps[step](x)
        x = F.max_pool2d(x, 3, stride=2)
        for block, branches in BLOCKS.items():
            x = torch.cat(
                [*(part for steps in branches for part in self.branch(x, block, steps)), self.pool(x, block)], 1
            )
        return x.mean((2, 3))

    def branch(self, x: Tensor, block: str, steps: str) -> list[Tensor]:
        """One branch of a block; its last step may be two convolutions side by side."""
        *first, last = steps.split()
        for step in first:
            x = self.steps[f"{block}/{step}"](x)
        return [self.steps[f"{block}/{step}"](x) for step in last.split("|")]

    def pool(self, x: Tensor, block: str) -> Tensor:
        """The branch of a block that pools.

        A mean of 3x3 places and a 1x1 convolution are both linear, so either may come first; the bias is added
        after the pool, because padding that is counted has none.
        """
        if block in HALVING:
            return F.max_pool2d(x, 3, stride=2)
        convolution = self.steps[f"{block}/branch_pool"]
        assert isinstance(convolution, Convolution)
        if convolution.rectified:
            return convolution(F.max_pool2d(x, 3, stride=1, padding=1))
        pads = self.variant.average_counts_padding
        pooled = F.avg_pool2d(convolution(x), 3, stride=1, padding=1, count_include_pad=pads)
        return pooled.add_(convolution.bias[:, None, None]).relu_()


def skeleton(classes: int) -> torchvision.models.Inception3:
    """torchvision's module without numbers."""
    with torch.device("meta"):
        return torchvision.models.inception_v3(
            weights=None, num_classes=classes, aux_logits=False, init_weights=False
        ).eval()
