"""Drawing: each picture from its own noise, rounded, by the averaged generator in evaluation mode."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_up import made_up_text
from torch import Tensor

from t2icli.batch import Fake, Text
from t2icli.recipe_files import load_recipe
from t2icli.sampling import BATCH, TrainedRun, noise_for, open_run, to_uint8
from t2icli.training.checkpoint import WEIGHTS
from t2icli.training.diary import Diary
from t2icli.training.grid import SampleGrid
from t2icli.training.trainer import Trainer, build
from t2icli.weights import Weights

DIM = 48  # numbers of noise of the stand-in, which are its pictures of 4 x 4


class NoiseShown:
    """A system whose pictures are their own noise."""

    noise_dim = DIM

    def drawing_noise(self, noise: Tensor) -> Tensor:
        return noise

    def generate(self, text: Text, noise: Tensor) -> Fake:
        return Fake((noise.view(-1, 3, 4, 4) / 4,))


@pytest.fixture
def stand_in() -> TrainedRun:
    unused: Any = SimpleNamespace()
    system: Any = NoiseShown()
    return TrainedRun(Path("run"), unused, system, unused, 0, "", torch.device("cpu"))


def drawn(run: TrainedRun, indices: list[int], seed: int = 0) -> Tensor:
    return run.draw(made_up_text(len(indices)), indices, seed)


# ---------------------------------------------------------------------------- noise


def test_each_picture_has_noise_of_its_own(stand_in: TrainedRun) -> None:
    pictures = drawn(stand_in, list(range(3 * BATCH + 1)))
    different = {picture.numpy().tobytes() for picture in pictures}
    assert len(different) == len(pictures) == 3 * BATCH + 1
    other = drawn(stand_in, list(range(3 * BATCH + 1)), seed=1)
    assert different.isdisjoint(picture.numpy().tobytes() for picture in other)


def test_picture_i_is_a_function_of_seed_and_i_alone(stand_in: TrainedRun) -> None:
    """Neither the batch, nor the order, nor torch's own generator has a say."""
    together = drawn(stand_in, list(range(2 * BATCH + 9)), seed=5)
    torch.manual_seed(123)
    for index in (0, 1, BATCH - 1, BATCH, 2 * BATCH + 8):
        assert torch.equal(drawn(stand_in, [index], seed=5)[0], together[index])
    order = [7, 2 * BATCH + 3, 0, BATCH]
    assert torch.equal(drawn(stand_in, order, seed=5), together[order])


def test_noise_is_standard_normal_and_independent() -> None:
    noise = noise_for(range(4000), 32, seed=2).double()
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert noise.pow(4).mean() == pytest.approx(3, abs=0.1)
    assert (noise[1:] * noise[:-1]).mean().abs() < 0.02  # neighbours
    others = noise_for(range(4000), 32, seed=3).double()
    assert (noise * others).mean().abs() < 0.02  # seeds beside each other


def test_the_largest_seed_has_noise_of_its_own() -> None:
    rows = [noise_for([0], 8, seed) for seed in (0, 1, 2**32, 2**63 - 2, 2**63 - 1)]
    assert len({row.numpy().tobytes() for row in rows}) == len(rows)


# ---------------------------------------------------------------------------- levels


def test_pictures_are_rounded_to_the_nearest_level() -> None:
    """Every level is met from a hair above the middle between it and the one before to a hair below the next one."""
    for level in range(256):
        for offset in (-0.49, -0.25, 0.0, 0.25, 0.49):
            value = (level + offset) / 127.5 - 1
            assert int(to_uint8(torch.tensor([value]))) == level, (level, offset)
    assert to_uint8(torch.tensor([-9.0, -1.0, 1.0, 9.0])).tolist() == [0, 0, 255, 255]
    assert to_uint8(torch.tensor([0.3], dtype=torch.bfloat16)).dtype == torch.uint8


def test_drawing_rounds(stand_in: TrainedRun) -> None:
    noise = noise_for(range(40), DIM, seed=0).double().view(-1, 3, 4, 4).numpy()
    right = np.floor((np.clip(noise / 4, -1, 1) + 1) * 127.5 + 0.5)
    found = drawn(stand_in, list(range(40))).numpy().astype(float)
    assert np.abs(found - right).max() <= 1 and (found == right).mean() > 0.999  # float32 against float64


# ---------------------------------------------------------------------------- which generator, in which mode


@pytest.fixture(scope="module")
def trainer(tiny_shards: Path) -> Trainer:
    """A tiny run's networks, the average far away from the trained generator, batch statistics moved."""
    recipe = load_recipe("tiny/xmcgan", [f"data.shards={tiny_shards}"])
    trainer = build(recipe, Weights(), torch.device("cpu"))
    with torch.no_grad():
        for number, parameter in enumerate(trainer.ema.network.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in trainer.ema.network.named_buffers():
            if buffer.is_floating_point() and "mean" in name:
                buffer.add_(0.5)
    return trainer


@pytest.fixture(scope="module")
def run(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """What is left of that run for others to use."""
    folder = tmp_path_factory.mktemp("run")
    diary = object.__new__(Diary)  # the part of it that keeps weights
    diary.run, diary.trainer = folder, trainer
    diary.card = SimpleNamespace(write=lambda facts: None)  # type: ignore[assignment]
    diary.keep_weights(8, "stopped")
    return open_run(folder / WEIGHTS)


def test_the_averaged_generator_draws(trainer: Trainer, run: TrainedRun) -> None:
    kept = run.system.generator.state_dict()
    averaged, trained = trainer.ema.network.state_dict(), trainer.system.generator.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in averaged.items())
    assert not all(torch.equal(kept[name], tensor) for name, tensor in trained.items())
    captions = ["a red bus", "the sea"]
    noise = noise_for(range(2), run.system.noise_dim, seed=0)
    text = run.reader.captions(captions)
    trainer.system.eval()
    for generator, same in ((trainer.ema.network, True), (trainer.system.generator, False)):
        before, trainer.system.generator = trainer.system.generator, generator
        with torch.no_grad():
            right = trainer.system.generate(text, trainer.system.drawing_noise(noise)).images[-1]
        trainer.system.generator = before
        levels = (to_uint8(right).int() - run.generate(captions, range(2), 0).int()).abs()
        assert (levels.max() <= 1) == same


def test_drawing_is_done_in_evaluation_mode(run: TrainedRun) -> None:
    assert not any(module.training for module in run.system.modules())
    before = {name: tensor.clone() for name, tensor in run.system.state_dict().items()}
    captions = ["a red bus", "the sea", "a blue dog on the grass"]
    together = run.generate(captions, range(3), 0).int()
    # In training mode a picture would take the mean and the variance of those beside it.
    alone = torch.cat([run.generate([caption], [i], 0).int() for i, caption in enumerate(captions)])
    assert (together - alone).abs().max() <= 1
    assert all(torch.equal(before[name], tensor) for name, tensor in run.system.state_dict().items())
    run.system.train()
    try:
        assert (run.generate(captions, range(3), 0).int() - together).abs().max() > 1  # so the test can fail
    finally:
        run.system.eval()


def test_the_grid_of_a_run_shows_both_generators_in_evaluation_mode(trainer: Trainer) -> None:
    grid = SampleGrid(trainer, torch.device("cpu"))
    trainer.system.train()
    own = trainer.system.generator
    statistics = {name: tensor.clone() for name, tensor in trainer.system.state_dict().items()}
    averaged, trained = grid.draw(trainer.system, trainer.ema.network), grid.draw(trainer.system, own)
    assert trainer.system.training and trainer.system.generator is own
    assert not torch.allclose(averaged, trained, atol=0.01)
    assert all(torch.equal(statistics[name], tensor) for name, tensor in trainer.system.state_dict().items())
