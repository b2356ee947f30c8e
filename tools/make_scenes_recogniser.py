"""Makes ``t2icli/assets/scenes-recogniser``, the network that judges pictures of drawn scenes.

    python tools/make_scenes_recogniser.py       about 6 minutes on two cores; the same seed gives the same weights
    python tools/make_scenes_recogniser.py --scenes 500 --epochs 1 --out /tmp/recogniser      a quick try

It draws scenes of its own, from a random stream that no drawn data set uses, and shows them as a GAN's pictures
may look: brought down to 32 px and up again, a little blurred, noisy, lighter, darker, shifted, mirrored.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from t2icli.data.scenes import CATEGORIES, Scene, compose, describe, paint
from t2icli.evaluation.scenes_recogniser import (
    CATEGORY_NAMES,
    COLOUR_NAMES,
    FEATURES,
    PLACE_NAMES,
    SIZE,
    Recognised,
    Recogniser,
    recognise,
    shares_right,
)

OUT = Path(__file__).parent.parent / "t2icli" / "assets" / "scenes-recogniser"
# Random streams of scenes used here; those of drawn data sets have three numbers, these have two.
TRAINING_STREAM, HELD_OUT_STREAM = 8001, 8002
BATCH, RATE = 128, 3e-3
Labels = dict[str, Tensor]


def drawn(stream: int, count: int, size: int) -> tuple[Tensor, Labels, list[str]]:
    """Pictures (N, 3, size, size) uint8, their labels, and one caption of each."""
    pictures, scenes, captions = np.empty((count, size, size, 3), np.uint8), [], []
    for index in range(count):
        rng = np.random.default_rng((stream, index))
        scene = compose(rng, 3)
        pictures[index] = np.asarray(paint(scene, size)[0])
        scenes.append(scene)
        captions.append(describe(scene, rng)[0])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), labels_of(scenes), captions


def labels_of(scenes: list[Scene]) -> Labels:
    """place (N), category (N, 20), colour of each category (N, 20), -1 where it is absent."""
    place = torch.tensor([PLACE_NAMES.index(scene.place) for scene in scenes])
    category = torch.zeros(len(scenes), len(CATEGORIES))
    colour = torch.full((len(scenes), len(CATEGORIES)), -1)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            column = CATEGORY_NAMES.index(thing.category)
            category[row, column] = 1
            colour[row, column] = COLOUR_NAMES.index(thing.colour)
    return {"place": place, "category": category, "colour": colour}


def roughened(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A batch of uint8 pictures as a GAN might have made them; float, still in 0..255."""
    count = len(pictures)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    floats = pictures.float()
    floats = torch.where(chance(count, 1, 1, 1) < 0.5, floats.flip(3), floats)
    shift = (chance(2) * 9).int() - 4
    floats = F.pad(floats, (4, 4, 4, 4), mode="replicate")[
        :, :, 4 + shift[0] : 68 + shift[0], 4 + shift[1] : 68 + shift[1]
    ]
    if chance(1) < 0.6:
        side = 32 if chance(1) < 0.6 else int(28 + 30 * chance(1))
        small = F.interpolate(floats, (side, side), mode="bilinear", antialias=True)
        floats = F.interpolate(small, (SIZE, SIZE), mode="bilinear", antialias=True)
    blurred = F.avg_pool2d(F.pad(floats, (1, 1, 1, 1), mode="replicate"), 3, 1)
    floats = floats + (blurred - floats) * chance(count, 1, 1, 1) * (chance(count, 1, 1, 1) < 0.4)
    contrast = 0.88 + 0.24 * chance(count, 1, 1, 1)
    floats = (floats - 127.5) * contrast + 127.5 + (chance(count, 3, 1, 1) - 0.5) * 24
    noise = torch.randn(floats.shape, generator=generator) * 14 * chance(count, 1, 1, 1)
    return (floats + noise).clamp(0, 255)


def loss_of(seen: Recognised, label: Labels) -> Tensor:
    """Cross entropies of place, presence and the colour of what is present."""
    present = label["colour"] >= 0
    presence = F.binary_cross_entropy_with_logits(seen.category, label["category"]) * 8
    return (
        F.cross_entropy(seen.place, label["place"])
        + presence
        + F.cross_entropy(seen.colour[present], label["colour"][present])
    )


def train(network: Recogniser, pictures: Tensor, labels: Labels, epochs: int, seed: int) -> None:
    """Adam, warm-up and cosine, each picture roughened anew whenever it is shown."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    steps, step, start = epochs * (len(pictures) // BATCH), 0, time.monotonic()
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(pictures), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            rate = min(1.0, (step + 1) / 60) * (0.01 + 0.495 * (1 + math.cos(math.pi * step / steps)))
            optimizer.param_groups[0]["lr"] = RATE * rate
            loss = loss_of(network(roughened(pictures[rows], generator)), {k: v[rows] for k, v in labels.items()})
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % 50 == 0:
                print(f"{step:5d} of {steps}  loss {loss.item():.3f}  {time.monotonic() - start:.0f} s", flush=True)
    network.eval()


def held_out(network: Recogniser, size: int, count: int) -> dict[str, float]:
    """Shares of held-out drawings read rightly at one size."""
    pictures, label, captions = drawn(HELD_OUT_STREAM, count, size)
    seen = recognise(network, pictures)
    present = label["colour"] >= 0
    return {
        "place": (seen.place.argmax(1) == label["place"]).float().mean().item(),
        "objects exactly": ((seen.category > 0).float() == label["category"]).all(1).float().mean().item(),
        "colour of an object": (seen.colour.argmax(2) == label["colour"])[present].float().mean().item(),
        "all a caption says": shares_right(seen, captions)["all"],
    }


def card(figures: dict[int, dict[str, float]], arguments: argparse.Namespace, out: Path) -> None:
    """CARD.md: what this is, how it was made, how well it does."""
    size = (out / "model.safetensors").stat().st_size / 1e6
    rows = "\n".join(
        f"| {name} | " + " | ".join(f"{figures[side][name]:.1%}" for side in figures) + " |" for name in figures[32]
    )
    text = f"""# scenes-recogniser

Says which place, which objects and which colours a picture of a drawn scene shows. It judges generators that
were trained on the data set `scenes`; it knows nothing of photographs.

| | |
|---|---|
| network | `t2icli/evaluation/scenes_recogniser.py`: six convolutions, {FEATURES} features |
| input | uint8 RGB of any size, resized to {SIZE} px (bilinear, antialiased) |
| trained on | {arguments.scenes} scenes of one to three objects drawn by `t2icli.data.scenes`, from a random stream that no drawn data set uses |
| trained by | this project: `python tools/make_scenes_recogniser.py --scenes {arguments.scenes} --epochs {arguments.epochs} --seed {arguments.seed}`, from random weights |
| shown as | mirrored, shifted, down to 28-58 px and up again, blurred, noisy, with other contrast and tint |
| size | {size:.1f} MB, float32 |
| licence | that of t2i (Apache-2.0); no third-party data or weights went in |

## Held out: {arguments.held_out} scenes per size that were not trained on

| share right | {" | ".join(f"{side} px" for side in figures)} |
|---|{"---|" * len(figures)}
{rows}
"""
    (out / "CARD.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    start = time.monotonic()
    pictures, labels, _ = drawn(TRAINING_STREAM, arguments.scenes, SIZE)
    print(f"drawn in {time.monotonic() - start:.0f} s", flush=True)
    network = Recogniser()
    train(network, pictures, labels, arguments.epochs, arguments.seed)
    figures = {side: held_out(network, side, arguments.held_out) for side in (32, 64, 128)}
    print(figures)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, arguments.out / "model.safetensors")
    card(figures, arguments, arguments.out)


if __name__ == "__main__":
    main()
