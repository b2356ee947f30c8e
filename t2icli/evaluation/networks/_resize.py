"""How images are brought to a network's size; which resize it was is part of what a figure means.

All take images (n, 3, H, W) uint8 on any device and give (n, 3, side, side) there, in levels from 0 to 255.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

RESIZERS = 4  # threads; PIL resizes without holding the interpreter's lock


def tf1_bilinear(images: Tensor, side: int) -> Tensor:
    """As TensorFlow 1 resizes: source = destination x (in / out), no half-pixel shift, no antialias; float32.

    With one more row and column, copies of the last, this is what PyTorch calls aligned corners: out + 1 places from
    in + 1, of which the last is left out.
    """
    wide = F.pad(images.float(), (0, 1, 0, 1), mode="replicate").contiguous(memory_format=torch.channels_last)
    resized = F.interpolate(wide, (side + 1, side + 1), mode="bilinear", align_corners=True)
    return resized[:, :, :side, :side]


def tf2_bilinear(images: Tensor, side: int) -> Tensor:
    """As ``tf.image.resize`` does: bilinear with pixels' centres at halves, no antialias; float32."""
    channels_last = images.float().contiguous(memory_format=torch.channels_last)
    return F.interpolate(channels_last, (side, side), mode="bilinear", align_corners=False, antialias=False)


def pil_bilinear(images: Tensor, side: int) -> Tensor:
    """PIL's bilinear filter on 8-bit RGB, which antialiases when it shrinks and rounds to whole levels; uint8."""

    def resize(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))

    return through_pil(images, resize)


def pil_bicubic(images: Tensor, side: int) -> Tensor:
    """PIL's bicubic filter on each channel in floats, without rounding, then cut to [0, 255]; float32.

    clean-fid's ``mode="clean"`` resizes so (Parmar et al. 2022, arXiv 2104.11222).
    """

    def resize(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        channels = (Image.fromarray(image[:, :, which].astype(np.float32)) for which in range(3))
        resized = [np.asarray(channel.resize((side, side), Image.Resampling.BICUBIC)) for channel in channels]
        return np.stack(resized, axis=2).clip(0, 255)

    return through_pil(images, resize)


def through_pil(images: Tensor, resize: Callable[[NDArray[np.uint8]], NDArray[np.generic]]) -> Tensor:
    """Each image (H, W, 3) through a function, in several threads."""
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor(RESIZERS) as pool:
        resized = np.stack(list(pool.map(resize, arrays)))
    return torch.from_numpy(resized).to(images.device).permute(0, 3, 1, 2)
