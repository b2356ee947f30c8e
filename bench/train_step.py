"""Images per second of one training step, and what the exact identities of XMC-GAN's generator save.

    python bench/train_step.py [--recipe xmcgan-scenes] [--steps 20] [--batch 16] [--size 32] [--threads 2]

One "image" is a real image shown: a step with two discriminator updates shows twice the batch. The second figure
is the forward pass of the generator against the same networks with modulation and shortcut computed after
upsampling, as they are written down in the paper, in turns within one run.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli import registry
from t2icli.batch import Batch, Text
from t2icli.recipe_files import load_recipe
from t2icli.setting import Setting
from t2icli.systems._base import System
from t2icli.systems.xmcgan import AttentionalModulation, UpBlock, double
from t2icli.training.step import train_step
from t2icli.training.trainer import adam

WORD_DIM, TOKENS = 128, 16


def batch(images: int, size: int, noise_dim: int) -> Batch:
    """Random images and captions: arithmetic does not depend on what they show."""
    words = torch.randn(images, TOKENS, WORD_DIM)
    mask = torch.ones(images, TOKENS, dtype=torch.bool)
    text = Text(words, words.mean(1), mask, torch.zeros(images, TOKENS, dtype=torch.long))
    image = torch.rand(images, 3, size, size).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
    return Batch(image, text, torch.randn(images, noise_dim), ("",) * images, torch.full((images,), -1))


def seconds(action: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def modulate_late(self: AttentionalModulation, x: Tensor, condition: Tensor) -> Tensor:
    """The modulation as the paper has it: the condition is upsampled first."""
    condition = F.interpolate(condition, x.shape[2:], mode="nearest")
    return torch.addcmul(self.beta(condition), self.norm(x), 1 + self.gamma(condition))


def block_late(self: UpBlock, x: Tensor, condition: Tensor) -> Tensor:
    """The block as the paper has it: the shortcut is convolved after upsampling."""
    main = self.conv0(double(F.relu(self.modulation0(x, condition))))
    main = self.conv1(F.relu(self.modulation1(main, condition)))
    return main + self.shortcut(double(x))


def with_forward(forwards: dict[type[nn.Module], Callable[..., Tensor]], action: Callable[[], object]) -> float:
    """Time an action with other forwards of some classes."""
    own = {kind: kind.forward for kind in forwards}
    for kind, forward in forwards.items():
        kind.forward = forward  # type: ignore[method-assign]
    try:
        return seconds(action)
    finally:
        for kind, forward in own.items():
            kind.forward = forward  # type: ignore[method-assign]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="xmcgan-scenes")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = load_recipe(options.recipe)
    size, images = options.size or recipe.data.image_size, options.batch or recipe.train.batch_size
    system: System = registry.load("t2icli.systems", recipe.system).build(recipe.model, Setting(size, WORD_DIM))
    system.to(memory_format=torch.channels_last)
    optimizers = [
        adam(system.generator, recipe.optim.generator_lr, recipe.optim),
        adam(system.discriminator, recipe.optim.discriminator_lr, recipe.optim),
    ]
    batches = [batch(images, size, system.noise_dim) for _ in range(recipe.train.d_steps)]
    step = partial(train_step, system, {}, batches, *optimizers, nullcontext)
    times = [seconds(step) for _ in range(options.steps + 3)]
    median = statistics.median(times[3:])
    shown = images * len(batches)
    print(f"{options.recipe}, {size} px, batch {images}, {options.threads} threads, torch {torch.__version__}")
    print(f"training step: {median * 1000:.0f} ms, {shown / median:.1f} images/s (median of {options.steps})")
    system.eval()
    late = {AttentionalModulation: modulate_late, UpBlock: block_late}

    @torch.no_grad()
    def draw() -> Tensor:
        return system.generate(batches[0].text, batches[0].noise).images[-1]

    draw()
    pairs = [(seconds(draw), with_forward(late, draw)) for _ in range(options.steps)]
    early, naive = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"sampling: {images / early:.1f} images/s; as the paper writes it {images / naive:.1f}; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
