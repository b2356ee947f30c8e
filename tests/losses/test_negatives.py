"""Two processes with half a batch each must do what one does with the whole batch."""

import pytest
import torch
from torch import Tensor
from two_processes import in_two_processes

from t2icli.losses.contrastive import pairwise, word_region
from t2icli.losses.negatives import candidates, own_places

CASES = [f"{loss}-{way}" for loss in ("pairwise", "word") for way in ("both ways", "one way")]


def inputs() -> dict[str, Tensor]:
    """Six images with captions, and the weights of a layer before each side of the comparison."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    lengths = torch.tensor([2, 5, 3, 4, 5, 1])
    return {
        "images": normal(6, 9, 8),
        "words": normal(6, 5, 8),
        "mask": torch.arange(5) < lengths[:, None],
        "image weight": normal(8, 8),
        "word weight": normal(8, 8),
    }


def loss_and_gradients(case: str, given: dict[str, Tensor], negatives: str) -> dict[str, Tensor]:
    weights = [given["image weight"].clone().requires_grad_(), given["word weight"].clone().requires_grad_()]
    images, words = given["images"] @ weights[0], given["words"] @ weights[1]
    symmetric = case.endswith("both ways")
    if case.startswith("pairwise"):
        loss = pairwise(images.mean(1), words.mean(1), 0.1, negatives, symmetric)
    else:
        loss = word_region(images, words, given["mask"], negatives=negatives, symmetric=symmetric)
    loss.backward()
    return {"loss": loss.detach(), "by image": weights[0].grad, "by word": weights[1].grad}


def share(rank: int) -> dict[str, Tensor]:
    given = inputs()
    return given | {name: given[name].chunk(2)[rank] for name in ("images", "words", "mask")}


def everything(rank: int) -> dict[str, dict[str, Tensor]]:
    found = {f"{case} {n}": loss_and_gradients(case, share(rank), n) for case in CASES for n in ("global", "local")}
    rows = torch.full((2, 3), float(rank))
    places = {
        "rows": candidates(rows, "global"),
        "own": own_places(2, "global", rows.device),
        "own, local": own_places(2, "local", rows.device),
    }
    return found | {"places": places}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    return in_two_processes(everything, tmp_path_factory.mktemp("negatives"))


@pytest.mark.parametrize("case", CASES)
def test_global_negatives_are_one_big_batch(case: str, processes: list[dict[str, dict[str, Tensor]]]) -> None:
    whole = loss_and_gradients(case, inputs(), "local")
    for name, expected in whole.items():
        mean = (processes[0][f"{case} global"][name] + processes[1][f"{case} global"][name]) / 2
        torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("case", CASES)
def test_local_negatives_ignore_other_processes(case: str, processes: list[dict[str, dict[str, Tensor]]]) -> None:
    for rank in range(2):
        alone = loss_and_gradients(case, share(rank), "local")
        for name, expected in alone.items():
            assert torch.equal(processes[rank][f"{case} local"][name], expected)


def test_candidates_are_in_order_of_rank(processes: list[dict[str, dict[str, Tensor]]]) -> None:
    for rank, found in enumerate(processes):
        assert found["places"]["rows"][:, 0].tolist() == [0, 0, 1, 1]
        assert found["places"]["own"].tolist() == [2 * rank, 2 * rank + 1]
        assert found["places"]["own, local"].tolist() == [0, 1]


def test_alone_global_is_local() -> None:
    for case in CASES:
        a, b = (loss_and_gradients(case, inputs(), n) for n in ("global", "local"))
        assert all(torch.equal(a[name], b[name]) for name in a)
