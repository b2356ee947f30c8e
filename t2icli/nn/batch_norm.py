"""Batch normalisation as the TPU codes have it: no affine part, and the biased variance in the running average."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce  # differentiable
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """Normalise ``(B, C, H, W)`` by the statistics of the batch, or by their running average in evaluation.

    torch's own layer feeds the running average with the unbiased variance; Flax and TensorFlow feed it with
    the biased one, which is also what the batch is normalised by. ``synchronised`` takes the statistics over
    all processes; by default each process has its own.
    """

    running_mean: Tensor
    running_var: Tensor

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
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        normalised = F.batch_norm(x, mean, variance, training=True, momentum=1.0, eps=self.eps)
        count = x.numel() // x.shape[1]
        self.average_in(mean, variance * ((count - 1) / count))  # torch left the unbiased variance there
        return normalised

    def over_all_processes(self, x: Tensor) -> Tensor:
        """The same with statistics of the whole batch; all processes hold equally many images."""
        values = x.float()
        mean = all_reduce(values.mean((0, 2, 3))) / dist.get_world_size()
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / dist.get_world_size()
        self.average_in(mean.detach(), variance.detach())
        return (centred * torch.rsqrt(variance + self.eps)[:, None, None]).to(x.dtype)

    def average_in(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
