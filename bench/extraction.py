"""Images/s of the Inception features of FID and IS on a CPU: torch-fidelity as it is against ours, and the difference.

    OMP_NUM_THREADS=2 python bench/extraction.py [--batch 32] [--rounds 5] [--size 256]

Both have the same random weights and see the same uint8 images, in turns in one process, since a machine is seldom
quiet. CPU seconds suffer less from neighbours than images/s do. No figure here depends on what the weights are.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from t2icli.evaluation.features import Network, View
from t2icli.evaluation.measures import frechet
from t2icli.evaluation.networks import _inception, inception_tf
from t2icli.weights import Weights

LAYERS = ["2048", "logits_unbiased"]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pth"
        torch.save(random_state(), path)
        theirs = FeatureExtractorInceptionV3("inception-v3-compat", LAYERS, feature_extractor_weights_path=path)
        network = inception_tf.load(Weights([f"inception-tf={path}"]), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    size = (options.size, options.size)
    images = torch.randint(0, 256, (options.batch, 3, *size), dtype=torch.uint8, generator=generator)
    extractors: dict[str, Callable[[], Sequence[Tensor]]] = {
        "torch-fidelity": lambda: theirs(images),
        "t2i": lambda: ours(network, images),
    }
    with torch.inference_mode():
        report(extractors, options.batch, options.rounds)


def ours(network: Network, images: Tensor) -> list[Tensor]:
    """The layers that torch-fidelity is asked for too."""
    layers = network.layers(View(images))
    return [layers[name] for name in LAYERS]


def report(extractors: dict[str, Callable[[], Sequence[Tensor]]], batch: int, rounds: int) -> None:
    """Run all in turns, and print medians; the first run of each is its warm-up."""
    wall: dict[str, list[float]] = {name: [] for name in extractors}
    used: dict[str, list[float]] = {name: [] for name in extractors}
    found: dict[str, Sequence[Tensor]] = {}
    for _ in range(rounds + 1):
        for name, extract in extractors.items():
            start, cpu = time.perf_counter(), time.process_time()
            found[name] = extract()
            wall[name].append(time.perf_counter() - start)
            used[name].append(time.process_time() - cpu)
    print(f"{torch.get_num_threads()} threads, batch {batch}, medians of {rounds} interleaved runs")
    for name in extractors:
        median, cpu = statistics.median(wall[name][1:]), statistics.median(used[name][1:])
        warm_up = wall[name][0] - median
        print(f"{name:>14}: {batch / median:6.2f} img/s, {cpu / batch:.4f} CPU-s/img, warm-up {warm_up:.1f} s")
    first, second = extractors
    in_turn = [t / o for t, o in zip(wall[first][1:], wall[second][1:], strict=True)]
    on_cpu = [t / o for t, o in zip(used[first][1:], used[second][1:], strict=True)]
    print(f"ratio of img/s: {statistics.median(in_turn):.2f}, of CPU-s: {statistics.median(on_cpu):.2f}")
    for layer, want, got in zip(LAYERS, found[first], found[second], strict=True):
        difference = (want - got).abs().max() / want.abs().max()
        print(f"largest difference of {layer}, relative to its largest value: {difference:.1e}")
    print("FID of the first half to the second: " + ", ".join(f"{halves(side[0]):.6f}" for side in found.values()))


def halves(features: Tensor) -> float:
    """The Fréchet distance between the two halves of a batch."""
    return frechet.distance(*(frechet.gaussian(half) for half in features.chunk(2)))


def random_state() -> dict[str, Tensor]:
    """A state dict of the 2015 graph's shapes, He initialised so that features keep their spread."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in _inception.skeleton(1008).state_dict().items():
        state[name] = torch.zeros(value.shape, dtype=value.dtype)
        if name.endswith("conv.weight"):
            nn.init.kaiming_normal_(state[name], nonlinearity="relu", generator=generator)
        elif name.endswith(("bn.weight", "running_var")):
            state[name].uniform_(0.5, 1.5, generator=generator)
        elif not name.endswith("num_batches_tracked"):
            state[name].normal_(0, 0.05, generator=generator)
    return state


if __name__ == "__main__":
    main()
