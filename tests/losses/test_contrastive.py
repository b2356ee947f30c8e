"""Contrastive losses against closed forms, the official code's numbers and a naive loop in float64.

The losses cast to float32, which sets the tolerance: 1e-5, relative where a value is above one.
"""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from t2icli.losses.contrastive import match_scores, pairwise, unit_length, word_region

GOLDEN = json.loads((Path(__file__).parents[1] / "reference" / "xmcgan.json").read_text())


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def mask_of(lengths: list[int], positions: int) -> Tensor:
    return torch.arange(positions) < torch.tensor(lengths)[:, None]


@pytest.fixture
def words_case() -> tuple[Tensor, Tensor, Tensor]:
    """Regions, words and mask of xmcgan.md 8.2."""
    return normal(3, 4, 9, 8), normal(4, 4, 6, 8), mask_of([3, 6, 4, 5], 6)


# ---------------------------------------------------------------------------- naive oracles


def cosine(a: Tensor, b: Tensor) -> float:
    return (a @ b / (a.norm() * b.norm())).item()


def choose_own(scores: list[list[float]]) -> float:
    """Mean cross-entropy of choosing the diagonal, row by row."""
    losses = []
    for i, row in enumerate(scores):
        top = max(row)
        losses.append(top + math.log(sum(math.exp(s - top) for s in row)) - row[i])
    return sum(losses) / len(losses)


def both_halves(scores: list[list[float]]) -> tuple[float, float]:
    return choose_own(scores), choose_own([list(column) for column in zip(*scores, strict=True)])


def naive_pairwise(a: Tensor, b: Tensor, temperature: float) -> tuple[float, float]:
    a, b = a.double(), b.double()
    return both_halves([[cosine(x, y) / temperature for y in b] for x in a])


def naive_word_scores(
    regions: Tensor, words: Tensor, mask: Tensor, sharp_r: float, sharp_w: float
) -> list[list[float]]:
    regions, words = regions.double(), words.double()
    scores = []
    for image in regions:
        places = [place / place.norm() for place in image]
        row = []
        for caption, present in zip(words, mask, strict=True):
            total = 0.0
            for word in caption[present]:
                heat = [math.exp(sharp_r * cosine(place, word)) for place in places]
                seen = sum((h / sum(heat) * place for h, place in zip(heat, places, strict=True)), start=0 * word)
                total += math.exp(sharp_w * cosine(word, seen))
            row.append(math.log(total) / sharp_w)
        scores.append(row)
    return scores


# ---------------------------------------------------------------------------- pairwise


@pytest.mark.parametrize("n", [2, 8, 56, 256])
def test_pairwise_of_matched_unit_vectors(n: int) -> None:
    found = pairwise(torch.eye(n), torch.eye(n)).item()
    assert found == pytest.approx(2 * math.log1p((n - 1) * math.exp(-10)), abs=1e-5)
    assert found == pytest.approx(GOLDEN[f"contrastive_eye_{n}"]["loss"], abs=1e-5)


@pytest.mark.parametrize("n", [2, 8, 56, 256])
def test_pairwise_of_equal_vectors(n: int) -> None:
    found = pairwise(torch.ones(n, 5), torch.ones(n, 5)).item()
    assert found == pytest.approx(2 * math.log(n), abs=1e-5)
    assert found == pytest.approx(GOLDEN[f"contrastive_const_{n}"]["loss"], abs=1e-5)


def test_pairwise_of_the_official_code() -> None:
    found = pairwise(normal(1, 4, 8), normal(2, 4, 8)).item()
    assert found == pytest.approx(GOLDEN["contrastive_randn"]["loss"], abs=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_pairwise_and_its_halves_against_a_loop(temperature: float) -> None:
    a, b = normal(20, 5, 7), normal(21, 5, 7)
    forward, backward = naive_pairwise(a, b, temperature)
    assert pairwise(a, b, temperature).item() == pytest.approx(forward + backward, rel=1e-5)
    assert pairwise(a, b, temperature, symmetric=False).item() == pytest.approx(forward, rel=1e-5)
    assert pairwise(b, a, temperature, symmetric=False).item() == pytest.approx(backward, rel=1e-5)


def test_pairwise_knows_no_lengths_and_no_sides() -> None:
    a, b = normal(1, 4, 8), normal(2, 4, 8)
    value = pairwise(a, b)
    torch.testing.assert_close(pairwise(a * torch.tensor([[0.01], [1], [7], [300]]), b), value, atol=1e-5, rtol=0)
    torch.testing.assert_close(pairwise(a, b * torch.tensor([[50.0], [1], [0.3], [2]])), value, atol=1e-5, rtol=0)
    torch.testing.assert_close(pairwise(b, a), value, atol=1e-6, rtol=0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_pairwise_gradient_against_a_loop(symmetric: bool) -> None:
    a, b = normal(1, 4, 8).requires_grad_(), normal(2, 4, 8).requires_grad_()
    pairwise(a, b, symmetric=symmetric).backward()
    for tensor, place in product((a, b), [(0, 0), (2, 5), (3, 7)]):
        moved = []
        for shift in (1e-5, -1e-5):
            values = {id(t): t.detach().double().clone() for t in (a, b)}
            values[id(tensor)][place] += shift
            halves = naive_pairwise(values[id(a)], values[id(b)], 0.1)
            moved.append(sum(halves) if symmetric else halves[0])
        assert tensor.grad[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-4)


def test_pairwise_of_zero_vectors_has_finite_gradients() -> None:
    a, b = torch.zeros(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss = pairwise(a, b)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(3), abs=1e-5)
    assert a.grad.isfinite().all() and b.grad.isfinite().all()


# ---------------------------------------------------------------------------- words and regions


def test_word_loss_of_the_official_code(words_case: tuple[Tensor, Tensor, Tensor]) -> None:
    golden = GOLDEN["word_loss_randn"]
    regions, words, mask = words_case
    assert word_region(*words_case).item() == pytest.approx(golden["loss"], rel=1e-5)
    by_image = word_region(*words_case, symmetric=False).item()
    assert by_image == pytest.approx(golden["img_to_sent"], rel=1e-5)
    assert word_region(*words_case).item() - by_image == pytest.approx(golden["sent_to_img"], rel=1e-5)
    scores = match_scores(unit_length(regions), unit_length(words), mask, 5.0, 5.0)
    expected = torch.tensor(golden["score_rows_images_cols_sentences"])
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)  # as the file rounds


@pytest.mark.parametrize(("sharp_r", "sharp_w", "scale"), [(5.0, 5.0, 50.0), (4.0, 2.0, 10.0), (1.0, 8.0, 1.0)])
def test_word_loss_and_its_halves_against_a_loop(sharp_r: float, sharp_w: float, scale: float) -> None:
    regions, words, mask = normal(30, 3, 6, 5), normal(31, 3, 4, 5), mask_of([2, 4, 3], 4)
    scores = naive_word_scores(regions, words, mask, sharp_r, sharp_w)
    forward, backward = both_halves([[scale * s for s in row] for row in scores])
    found = word_region(regions, words, mask, sharp_r, sharp_w, scale)
    assert found.item() == pytest.approx(forward + backward, rel=1e-5, abs=1e-5)
    one_way = word_region(regions, words, mask, sharp_r, sharp_w, scale, symmetric=False)
    assert one_way.item() == pytest.approx(forward, rel=1e-5, abs=1e-5)


def test_word_loss_of_constants_counts_lengths() -> None:  # xmcgan.md 8.1, item 6
    regions, words = torch.ones(2, 9, 8), torch.ones(2, 6, 8)
    mask = mask_of([2, 4], 6)
    by_image = 0.5 * (math.log1p(2**10) + math.log1p(2**-10))
    assert word_region(regions, words, mask, symmetric=False).item() == pytest.approx(by_image, abs=2e-5)
    assert word_region(regions, words, mask).item() == pytest.approx(by_image + math.log(2), abs=2e-5)
    assert by_image + math.log(2) == pytest.approx(4.1598592, abs=1e-6)
    equal = mask_of([4, 4], 6)
    assert word_region(regions, words, equal).item() == pytest.approx(2 * math.log(2), abs=1e-5)


def test_word_loss_of_matched_orthogonal_images_and_captions() -> None:
    own = torch.eye(5)[:, None]
    assert word_region(own.expand(5, 9, 5), own.expand(5, 4, 5), mask_of([4] * 5, 4)).item() < 1e-9


def test_masked_positions_do_not_count(words_case: tuple[Tensor, Tensor, Tensor]) -> None:
    regions, words, mask = words_case
    other = torch.where(mask[:, :, None], words, 1e3 * normal(40, 4, 6, 8))
    assert torch.equal(word_region(regions, words, mask), word_region(regions, other, mask))
    other.requires_grad_()
    word_region(regions, other, mask).backward()
    assert not other.grad[~mask].any() and other.grad[mask].any()


def test_word_loss_knows_no_lengths(words_case: tuple[Tensor, Tensor, Tensor]) -> None:
    regions, words, mask = words_case
    scaled = word_region(regions * normal(41, 4, 9, 1).exp(), words * normal(42, 4, 6, 1).exp(), mask)
    torch.testing.assert_close(scaled, word_region(regions, words, mask), rtol=1e-5, atol=0)


def test_word_loss_of_zero_vectors_has_finite_gradients(words_case: tuple[Tensor, Tensor, Tensor]) -> None:
    regions, words, mask = words_case
    for r, w in [(torch.zeros_like(regions), words), (regions, torch.zeros_like(words))]:
        r, w = r.clone().requires_grad_(), w.clone().requires_grad_()
        loss = word_region(r, w, mask)
        loss.backward()
        assert loss.isfinite() and r.grad.isfinite().all() and w.grad.isfinite().all()


def test_float32_under_autocast(words_case: tuple[Tensor, Tensor, Tensor]) -> None:
    a, b = normal(1, 4, 8), normal(2, 4, 8)
    expected = pairwise(a, b), word_region(*words_case)
    with torch.autocast("cpu", torch.bfloat16):
        found = pairwise(a, b), word_region(*words_case)
    assert found == expected
    assert pairwise(a.bfloat16(), b.bfloat16()).dtype == torch.float32
