"""A training step of DF-GAN against a straightforward eager one with the same updates, in one run.

The plain version is written as the paper reads: upsample first, one affine network after the other, a forward for each
branch, the norm's square root and then its power, Adam as it comes. Both start from the same weights and see the same
batch; the script first checks that they give the same losses.

    python bench/dfgan_step.py [--size 256] [--batch 4] [--steps 5]
"""

import argparse
import copy
import time
from contextlib import nullcontext
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from t2icli.batch import Batch, Text
from t2icli.setting import Setting
from t2icli.systems.dfgan import DFGAN, Config
from t2icli.training.step import train_step

WORD_DIM = 256


def plain_affine(affine: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    return affine.gamma(condition)[:, :, None, None] * x + affine.beta(condition)[:, :, None, None]


def plain_fusion(fusion: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    x = F.leaky_relu(plain_affine(fusion.first, x, condition), 0.2)
    return F.leaky_relu(plain_affine(fusion.second, x, condition), 0.2)


def plain_generator(net: nn.Module, noise: Tensor, sentence: Tensor) -> Tensor:
    condition = torch.cat([noise, sentence], 1)
    x = net.first(noise).view(len(noise), -1, 4, 4)
    for block in net.blocks:
        x = F.interpolate(x, scale_factor=2)
        main = block.conv0(plain_fusion(block.fusion0, x, condition))
        main = block.conv1(plain_fusion(block.fusion1, main, condition))
        x = block.shortcut(x) + main
    return torch.tanh(net.to_image(F.leaky_relu(x, 0.2)))


def plain_features(net: nn.Module, image: Tensor) -> Tensor:
    x = net.first(image)
    for block in net.blocks:
        main = F.leaky_relu(block.conv1(F.leaky_relu(block.conv0(x), 0.2)), 0.2)
        x = F.avg_pool2d(block.shortcut(x), 2) + block.gamma * main
    return x


def plain_head(net: nn.Module, features: Tensor, sentence: Tensor) -> Tensor:
    tiled = sentence.view(len(sentence), -1, 1, 1).repeat(1, 1, 4, 4)
    return net.score(F.leaky_relu(net.joint(torch.cat([features, tiled], 1)), 0.2))


def plain_step(system: DFGAN, batch: Batch, generator: Adam, discriminator: Adam) -> dict[str, Tensor]:
    net, judge = system.generator, system.discriminator
    image = batch.image.clone().requires_grad_()
    sentence = batch.text.sentence.clone().requires_grad_()
    features = plain_features(judge.image, image)
    real = plain_head(judge.head, features, sentence)
    mismatched = plain_head(judge.head, torch.cat([features[1:], features[:1]]), sentence)
    fake = plain_generator(net, batch.noise, batch.text.sentence)
    generated = plain_head(judge.head, plain_features(judge.image, fake.detach()), sentence)
    gradients = torch.autograd.grad(real, (image, sentence), torch.ones_like(real), create_graph=True)
    norm = torch.cat([g.reshape(len(image), -1) for g in gradients], 1).square().sum(1).sqrt()
    penalty = 2 * (norm**6).mean()
    d_loss = F.relu(1 - real).mean() + (F.relu(1 + generated).mean() + F.relu(1 + mismatched).mean()) / 2 + penalty
    discriminator.zero_grad()
    d_loss.backward()
    discriminator.step()
    g_loss = -plain_head(judge.head, plain_features(judge.image, fake), batch.text.sentence).mean()
    generator.zero_grad()
    discriminator.zero_grad()
    g_loss.backward()
    generator.step()
    return {"d": d_loss.detach(), "g": g_loss.detach()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each")
    options = parser.parse_args()
    torch.manual_seed(0)
    ours = DFGAN(Config(), Setting(options.size, WORD_DIM))
    for name, parameter in ours.discriminator.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.1)  # as after some training; at zero half the discriminator would rest
    plain = copy.deepcopy(ours)
    ours.to(memory_format=torch.channels_last)
    optimizers = {
        "ours": [Adam(net.parameters(), rate, (0.0, 0.9), fused=True) for net, rate in sides(ours)],
        "plain": [Adam(net.parameters(), rate, (0.0, 0.9)) for net, rate in sides(plain)],
    }
    image = torch.rand(options.batch, 3, options.size, options.size) * 2 - 1
    sentence, noise = torch.randn(options.batch, WORD_DIM) * 0.1, torch.randn(options.batch, 100)
    mask = torch.ones(options.batch, 1, dtype=torch.bool)
    text = Text(sentence[:, None], sentence, mask, mask.long())
    batch = Batch(
        image.contiguous(memory_format=torch.channels_last), text, noise, ("",) * options.batch, mask[:, 0].long()
    )

    def our_step() -> dict[str, Tensor]:
        losses = train_step(ours, {}, [batch], *optimizers["ours"], nullcontext)
        return {side: sum(v for k, v in losses.items() if k.startswith(side)) for side in ("d", "g")}

    def their_step() -> dict[str, Tensor]:
        return plain_step(plain, batch, *optimizers["plain"])

    one, other = our_step(), their_step()
    for side in ("d", "g"):
        torch.testing.assert_close(one[side], other[side], rtol=1e-4, atol=1e-5)
    print(f"the same losses: discriminator {one['d']:.6f}, generator {one['g']:.6f}")
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(options.steps):
        for name, step in (("ours", our_step), ("plain", their_step)):
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{name:6} {median(seconds):.3f} s a step ({options.batch / median(seconds):.2f} images/s)")
    print(f"plain / ours: {median(times['plain']) / median(times['ours']):.2f}")


def sides(system: DFGAN) -> list[tuple[nn.Module, float]]:
    return [(system.generator, 1e-4), (system.discriminator, 4e-4)]


if __name__ == "__main__":
    main()
