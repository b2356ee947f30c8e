"""DF-GAN: one stage, text by affine maps in every block, one score of image and sentence together.

Tao, Tang, Wu, Jing, Bao, Xu, "DF-GAN: A Simple and Effective Baseline for Text-to-Image Synthesis", CVPR 2022, in the
form of the code released in 2022 (tobran/DF-GAN), which differs from the paper and from the code of 2020: the noise
enters the affine maps beside the sentence, and the penalty takes the norm of both gradients together.

Deviations: where a nearest upsampling or an average pooling meets a pointwise map, the smaller side is computed, which
gives the same numbers for a fraction of the arithmetic; shortcuts that the code registers and never uses (in blocks
that keep their width) are not there.
"""

from collections.abc import Sequence
from itertools import pairwise as pairs

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.batch import Batch, Fake, Text
from t2icli.errors import DataError
from t2icli.losses.adversarial import hinge_generator, hinge_mismatched
from t2icli.losses.penalties import Norm, matching_aware
from t2icli.recipe import Section, Width, weight
from t2icli.released import Imported, Part, Released, State, check_fit, parts_of, renamed, said_of, the_one
from t2icli.setting import Setting
from t2icli.systems._base import Losses, System

SLOPE = 0.2  # of every leaky rectifier
WIDEST = 8  # levels never grow wider than so many times the finest


class Config(Section):
    """The [model] table."""

    channels: Width = Field(32, description="width of the finest level of both networks (nf)")
    noise_dim: Width = 100
    penalty: float = weight("of the matching-aware gradient penalty (k)", 2.0)
    penalty_power: PositiveFloat = Field(6.0, description="of the gradient's norm (p)")
    penalty_norm: Norm = Field("joint", description="norm of both gradients together (code), or sum of two (paper)")
    truncation: float = Field(
        0.88, ge=0, description="pictures are drawn from noise cut at two deviations, times this; 0: plain noise"
    )


class DFGAN(System):
    """The system: both networks and their losses. Only sentences are read, no words."""

    generator: "Generator"
    discriminator: "Discriminator"

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        self.config = config
        self.noise_dim = config.noise_dim
        self.generator = Generator(config, setting)
        self.discriminator = Discriminator(config, setting)

    def generate(self, text: Text, noise: Tensor) -> Fake:
        """One image a caption."""
        return Fake((self.generator(noise, text.sentence).float(),))

    def drawing_noise(self, noise: Tensor) -> Tensor:
        """Normal numbers cut at two deviations, through the distribution functions, times the rate."""
        if not self.config.truncation:
            return noise
        share = torch.special.ndtr(noise.double())
        low, high = torch.special.ndtr(torch.tensor([-2.0, 2.0], dtype=torch.float64)).tolist()
        cut = torch.special.ndtri(low + share * (high - low)).to(noise.dtype)
        return cut * self.config.truncation

    def d_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Hinge on real, generated and mismatched pairs, and the penalty at real pairs."""
        with torch.autocast(batch.image.device.type, enabled=False):  # the penalty's power needs float32
            image = batch.image.detach().requires_grad_()
            sentence = batch.text.sentence.detach().requires_grad_()
            features = self.discriminator.image(image)
            real = self.discriminator.head(features, sentence)
            mismatched = self.discriminator.head(features.roll(-1, 0), sentence)
            c = self.config
            penalty = matching_aware(real, (image, sentence), c.penalty_power, c.penalty_norm) if c.penalty else None
        generated = self.discriminator(fake.images[-1].detach(), batch.text.sentence)
        losses = hinge_mismatched(real, generated, mismatched)
        return losses if penalty is None else losses | {"penalty": c.penalty * penalty}

    def g_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Raise the score of generated images with their captions."""
        return {"adversarial": hinge_generator(self.discriminator(fake.images[-1], batch.text.sentence))}


build = DFGAN


def widths(config: Config, setting: Setting) -> list[int]:
    """Channels from the image inwards, down to 4x4: ``(S.bit_length() - 2)`` numbers."""
    halvings = setting.image_size.bit_length() - 3
    return [config.channels * min(2**level, WIDEST) for level in range(halvings + 1)]


# ---------------------------------------------------------------------------- generator


class Affine(nn.Module):
    """Scale and shift by a vector: ``(B, C, H, W)`` and ``(B, D)`` to ``(B, C, H, W)``; at first the identity."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.gamma = two_layers(condition_dim, channels, bias=1.0)
        self.beta = two_layers(condition_dim, channels, bias=0.0)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The same scale and shift at every place."""
        gamma, beta = self.gamma(condition)[:, :, None, None], self.beta(condition)[:, :, None, None]
        return torch.addcmul(beta, x, gamma)


def two_layers(inputs: int, outputs: int, bias: float) -> nn.Sequential:
    """A perceptron that gives ``bias`` until it has learned."""
    last = nn.Linear(outputs, outputs)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), last)


class Fusion(nn.Module):
    """Two affine maps, each before a leaky rectifier: the paper's deep fusion of text and image."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.first = Affine(channels, condition_dim)
        self.second = Affine(channels, condition_dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        x = F.leaky_relu(self.first(x, condition), SLOPE)
        return F.leaky_relu(self.second(x, condition), SLOPE)


class UpBlock(nn.Module):
    """Residual block that doubles the size. Fusion and shortcut are pointwise, so they run before the upsampling."""

    def __init__(self, in_channels: int, out_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.fusion0 = Fusion(in_channels, condition_dim)
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.fusion1 = Fusion(out_channels, condition_dim)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, 2H, 2W)``."""
        main = self.conv0(double(self.fusion0(x, condition)))
        return self.conv1(self.fusion1(main, condition)) + double(self.shortcut(x))


def double(x: Tensor) -> Tensor:
    """Nearest upsampling by two."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Generator(nn.Module):
    """Noise and a sentence to an image ``(B, 3, S, S)`` in [-1, 1]."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        inwards = widths(config, setting)
        condition_dim = config.noise_dim + setting.word_dim
        self.first = nn.Linear(config.noise_dim, 4 * 4 * inwards[-1])
        outwards = [inwards[-1], *inwards[-2::-1]]
        self.blocks = nn.ModuleList(UpBlock(i, o, condition_dim) for i, o in pairs(outwards))
        self.to_image = nn.Conv2d(inwards[0], 3, 3, padding=1)

    def forward(self, noise: Tensor, sentence: Tensor) -> Tensor:
        """Noise alone makes the 4x4 input; noise and sentence together steer every block."""
        condition = torch.cat([noise, sentence], 1)
        x = self.first(noise).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            x = block(x, condition)
        return torch.tanh(self.to_image(F.leaky_relu(x, SLOPE)))


# ---------------------------------------------------------------------------- discriminator


class DownBlock(nn.Module):
    """Residual block that halves the size; its residual side opens from zero."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.conv0 = nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=False)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, H, W)`` to ``(B, out, H/2, W/2)``. Pooling before the 1x1 shortcut gives the same numbers."""
        main = F.leaky_relu(self.conv1(F.leaky_relu(self.conv0(x), SLOPE)), SLOPE)
        return self.shortcut(F.avg_pool2d(x, 2)) + self.gamma * main


class ImageNetwork(nn.Module):
    """Image to features at 4x4; nothing is activated after the first convolution."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        inwards = widths(config, setting)
        self.first = nn.Conv2d(3, inwards[0], 3, padding=1)
        self.blocks = nn.ModuleList(DownBlock(i, o) for i, o in pairs(inwards))

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, C, 4, 4)``."""
        x = self.first(image)
        for block in self.blocks:
            x = block(x)
        return x


class Head(nn.Module):
    """Features and a sentence to one score, the only output."""

    def __init__(self, features: int, sentence_dim: int, channels: int) -> None:
        super().__init__()
        self.joint = nn.Conv2d(features + sentence_dim, channels, 3, padding=1, bias=False)
        self.score = nn.Conv2d(channels, 1, 4, bias=False)

    def forward(self, features: Tensor, sentence: Tensor) -> Tensor:
        """``(B, C, 4, 4)`` and ``(B, D)`` to ``(B,)``."""
        everywhere = sentence[:, :, None, None].expand(-1, -1, 4, 4)
        joined = F.leaky_relu(self.joint(torch.cat([features, everywhere], 1)), SLOPE)
        return self.score(joined).flatten()


class Discriminator(nn.Module):
    """How real an image is and how well it fits its sentence, in one number."""

    def __init__(self, config: Config, setting: Setting) -> None:
        super().__init__()
        self.image = ImageNetwork(config, setting)
        self.head = Head(widths(config, setting)[-1], setting.word_dim, 2 * config.channels)

    def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
        """``(B, 3, S, S)`` and ``(B, D)`` to ``(B,)``."""
        return self.head(self.image(image), sentence)


# ---------------------------------------------------------------------------- released checkpoints

GENERATOR_NAMES = (
    (r"^fc\.", "first."),
    (r"^GBlocks\.(\d+)\.", r"blocks.\1."),
    (r"\.c1\.", ".conv0."),
    (r"\.c2\.", ".conv1."),
    (r"\.c_sc\.", ".shortcut."),
    (r"\.fuse1\.", ".fusion0."),
    (r"\.fuse2\.", ".fusion1."),
    (r"\.affine0\.fc_", ".first."),
    (r"\.affine1\.fc_", ".second."),
    (r"\.linear1\.", ".0."),
    (r"\.linear2\.", ".2."),
    (r"^to_rgb\.1\.", "to_image."),
)
DISCRIMINATOR_NAMES = (
    (r"^conv_img\.", "image.first."),
    (r"^DBlocks\.(\d+)\.", r"image.blocks.\1."),
    (r"\.conv_r\.0\.", ".conv0."),
    (r"\.conv_r\.2\.", ".conv1."),
    (r"\.conv_s\.", ".shortcut."),
    (r"^joint_conv\.0\.", "head.joint."),
    (r"^joint_conv\.2\.", "head.score."),
)


DISCRIMINATOR_MARKS = {
    "netD": ("DBlocks.0.conv_r.0.weight", "conv_img.weight"),
    "netC": ("joint_conv.0.weight", "joint_conv.2.weight"),
}


def import_released(files: Sequence[Released]) -> Imported:
    """``state_epoch_*.pth`` of the 2022 code, or a state dict of its generator alone."""
    found = [part for file in files for part in parts_of(file, "GBlocks.0.c1.weight")]
    if not found:
        listed = "; ".join(f"{file.path}: {said_of(file)}" for file in files)
        raise DataError(
            f"dfgan: no generator of DF-GAN's code of 2022 (netG in state_epoch_*.pth) in {listed or 'no file'}"
        )
    part, notes = the_one(found, "dfgan: generator")
    config, setting = measured(part.state, part)
    networks: dict[str, State] = {"generator": renamed(part.state, GENERATOR_NAMES)}
    halves = {
        name: [half for file in files for half in parts_of(file, *marks)] for name, marks in DISCRIMINATOR_MARKS.items()
    }
    if all(halves.values()):
        chosen = [the_one(half, f"dfgan: {name}") for name, half in halves.items()]
        judge = renamed({name: value for half, _ in chosen for name, value in half.state.items()}, DISCRIMINATOR_NAMES)
        networks["discriminator"], dead = without_dead_shortcuts(judge)
        notes += [note for _, said in chosen for note in said] + dead
    else:
        notes += [
            f"left out: {name}, because half a discriminator judges nothing" for name, half in halves.items() if half
        ]
    with torch.device("meta"):  # names and shapes are all that is compared
        system = DFGAN(config, setting)
    for name, state in networks.items():
        check_fit(getattr(system, name).state_dict(), state, f"{part.path}: {name}")
    model = config.model_dump(mode="json", include={"channels", "noise_dim"})
    return Imported(model, networks, setting.image_size, setting.word_dim, notes)


def measured(released: State, part: Part) -> tuple[Config, Setting]:
    """Sizes that a generator's tensors tell, by their released names."""

    def inputs(name: str) -> int:
        if name not in released:
            raise DataError(f"{part}: is no generator of DF-GAN's code of 2022: it lacks {name}")
        shape = tuple(released[name].shape)
        if len(shape) < 2 or shape[1] == 0:
            raise DataError(f"{part}: {name} is {shape}, which is no weight of DF-GAN's generator")
        return shape[1]

    channels, noise_dim = inputs("to_rgb.1.weight"), inputs("fc.weight")
    condition = "GBlocks.0.fuse1.affine0.fc_gamma.linear1.weight"
    word_dim = inputs(condition) - noise_dim
    if word_dim < 1:
        raise DataError(f"{part}: {condition} has {inputs(condition)} inputs, no more than the noise ({noise_dim})")
    blocks = len({name.split(".")[1] for name in released if name.startswith("GBlocks.")})
    return Config(channels=channels, noise_dim=noise_dim), Setting(4 * 2**blocks, word_dim)


def without_dead_shortcuts(judge: State) -> tuple[State, list[str]]:
    """Without the shortcuts of blocks that keep their width, which the code registers and never uses."""
    dead = {
        name.rpartition(".")[0]
        for name, value in judge.items()
        if name.endswith("shortcut.weight") and value.shape[0] == value.shape[1]
    }
    kept = {name: value for name, value in judge.items() if name.rpartition(".")[0] not in dead}
    return kept, [f"left out, because the code never uses them: {', '.join(sorted(dead))}"] if dead else []
