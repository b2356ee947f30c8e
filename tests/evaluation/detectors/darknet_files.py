"""Small detectors in Darknet's format, written from seeds."""

import struct

import numpy as np

from t2icli.evaluation.detectors.darknet import layer_shapes
from t2icli.evaluation.detectors.darknet_config import Convolution

NET = "[net]\nwidth={0}\nheight={1}\nchannels={2}\n"


def conv(filters, size=1, stride=1, normalise=1, activation="leaky", groups=1, pad=1):
    return (
        f"\n[convolutional]\nbatch_normalize={normalise}\nfilters={filters}\nsize={size}\nstride={stride}\npad={pad}\n"
        f"groups={groups}\nactivation={activation}\n"
    )


def net(*sections, width=64, height=64, channels=3):
    return NET.format(width, height, channels) + "".join(sections)


def header(major=0, minor=2, seen=32013312):
    return struct.pack("<iii" + ("q" if major * 10 + minor >= 2 else "i"), major, minor, 0, seen)


def random_floats(config, seed=0, gain=2):
    """What a file holds: He initialised weights (less with residuals, which add up), normalisations near 1."""
    random, parts, channels = np.random.default_rng(seed), [], config.channels
    block = random.normal(size=8191).astype("<f4")  # repeated, because YOLOv3 has 62 million weights
    for layer, shape in zip(config.layers, layer_shapes(config), strict=True):
        if isinstance(layer, Convolution):
            parts.append(random.normal(0, 0.1, layer.filters))
            if layer.batch_normalize:
                parts += [random.uniform(0.8, 1.2, layer.filters), random.normal(0, 0.1, layer.filters)]
                parts.append(random.uniform(0.8, 1.2, layer.filters))
            fan_in = channels // layer.groups * layer.size**2
            parts.append(np.resize(block, layer.filters * fan_in) * np.float32((gain / fan_in) ** 0.5))
        channels = shape[0]
    return np.concatenate(parts, dtype="<f4", casting="same_kind")


def detector_cfg(classes=80, width=64, height=64):
    """Two heads, at strides 16 and 8."""
    return net(
        conv(8, 3, 2),
        conv(8, 3, 2, groups=4),
        conv(12, 3, 2, activation="mish"),
        conv(16, 3, 2),
        conv(2 * (5 + classes), normalise=0, activation="linear"),
        f"[yolo]\nmask=1,2\nanchors=6,8, 14,18, 30,22\nnum=3\nclasses={classes}\nscale_x_y=1.1\n",
        "[route]\nlayers=-3\n[upsample]\nstride=2\n[route]\nlayers=-1,2\n",
        conv(5 + classes, normalise=0, activation="linear"),
        f"[yolo]\nmask=0\nanchors=6,8, 14,18, 30,22\nnum=3\nclasses={classes}\n",
        width=width,
        height=height,
    )
