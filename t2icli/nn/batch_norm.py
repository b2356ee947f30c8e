"""Batch normalisation as two families of code have it, over one process's images or over those of all."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce  # differentiable
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """Normalise ``(B, C, ...)`` by the statistics of the batch, or by their running average in evaluation.

    As the TPU codes have it: no affine part, and the biased variance in the running average, where torch's own
    layer has the unbiased one. ``synchronised`` takes the statistics over all processes; by default each process
    has its own.
    """

    running_mean: Tensor
    running_var: Tensor
    unbiased_average = False  # which variance the running average is fed with

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.synchronised = False
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised features, in the type of ``x``."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        if self.synchronised and dist.is_initialized():
            return self.over_all_processes(x)
        mean, unbiased = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        normalised = F.batch_norm(x, mean, unbiased, training=True, momentum=1.0, eps=self.eps)
        count = x.numel() // x.shape[1]
        self.average_in(mean, unbiased * ((count - 1) / count), count)  # torch left the unbiased variance there
        return normalised

    def over_all_processes(self, x: Tensor) -> Tensor:
        """The same with statistics of the whole batch; all processes hold equally many images."""
        values, size = x.float(), dist.get_world_size()
        places = [dim for dim in range(x.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        mean = all_reduce(values.mean(places)) / size
        centred = values - mean.view(shape)
        variance = all_reduce(centred.square().mean(places)) / size
        self.average_in(mean.detach(), variance.detach(), size * x.numel() // x.shape[1])
        return (centred * torch.rsqrt(variance + self.eps).view(shape)).to(x.dtype)

    def average_in(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch of ``count`` places."""
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            factor = count / (count - 1) if self.unbiased_average else 1.0
            self.running_var.lerp_(variance * factor, self.momentum)


class AffineBatchNorm(BatchNorm):
    """``nn.BatchNorm1d`` and ``2d`` without their counter of batches: learned scale and shift, unbiased average."""

    unbiased_average = True

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps, momentum)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised, scaled and shifted features."""
        if self.synchronised and self.training and dist.is_initialized():
            shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
            return self.over_all_processes(x) * self.weight.view(shape) + self.bias.view(shape)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
