"""Adversarial losses on logits; tensors in, scalar out, in float32."""

import torch
from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Lim and Ye 2017: push real logits above one and fake ones below minus one."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Raise the logits of generated images."""
    return -fake.float().mean()


def hinge_mismatched(real: Tensor, fake: Tensor, mismatched: Tensor) -> dict[str, Tensor]:
    """Tao et al. 2022 (DF-GAN): real pairs against generated images and against real images of other captions."""
    return {
        "real": F.relu(1 - real.float()).mean(),
        "fake": F.relu(1 + fake.float()).mean() / 2,
        "mismatched": F.relu(1 + mismatched.float()).mean() / 2,
    }


def answered(logits: Tensor, right: bool) -> Tensor:
    """Goodfellow et al. 2014: cross-entropy of logits with the answer that they should give, no smoothing."""
    logits = logits.float()
    target = torch.ones_like(logits) if right else torch.zeros_like(logits)
    return F.binary_cross_entropy_with_logits(logits, target)
