"""The scores and losses of VLMGAN's matcher against plain loops in float64, and what they must not depend on."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2icli.losses import vision_language
from t2icli.losses.matching import both_ways
from t2icli.losses.vision_language import (
    direct,
    draw_negatives,
    global_scores,
    local_scores,
    matched,
    matched_and_not,
    own_local_scores,
    same_answer,
    visual_scores,
)

GAMMA1, GAMMA2 = 4.0, 5.0
LENGTHS = (5, 1, 3, 4)


def made_up(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Regions of four images, words of four captions, and which of them count."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    words = torch.randn(4, 5, 6, generator=generator)
    return torch.randn(4, 9, 6, generator=generator), words, mask


def scores(regions: Tensor, words: Tensor, mask: Tensor) -> Tensor:
    return local_scores(regions, words, mask, GAMMA1, GAMMA2)


# ---------------------------------------------------------------------------- loops


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def naive_score(regions: Tensor, words: Tensor) -> float:
    """One image and the words of one caption, as the paper's formula reads."""
    places, total = regions.double().tolist(), 0.0
    for word in words.double().tolist():
        looks = [math.exp(GAMMA1 * cosine(word, place)) for place in places]
        seen = [sum(a * place[d] for a, place in zip(looks, places, strict=True)) / sum(looks) for d in range(6)]
        total += math.exp(GAMMA2 * cosine(seen, word))
    return math.log(total) / GAMMA2


def naive_contrast(table: list[list[float]], classes: list[int]) -> float:
    """Both directions of the contrastive loss, summed; images of one class are no negatives of each other."""
    count, loss = len(table), 0.0
    for direction in (table, [list(column) for column in zip(*table, strict=True)]):
        for i, row in enumerate(direction):
            rivals = [j for j in range(count) if j == i or classes[i] < 0 or classes[i] != classes[j]]
            loss -= row[i] - math.log(sum(math.exp(row[j]) for j in rivals))
    return loss / count


def test_local_scores_are_the_loops() -> None:
    regions, words, mask = made_up()
    expected = [
        [naive_score(image, caption[own]) for caption, own in zip(words, mask, strict=True)] for image in regions
    ]
    torch.testing.assert_close(scores(regions, words, mask), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_visual_scores_are_the_loops() -> None:
    real, generated = made_up()[0], made_up(1)[0]
    expected = [[naive_score(x, y) - math.log(9) / GAMMA2 for y in generated] for x in real]
    found = visual_scores(real, generated, GAMMA1, GAMMA2)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_global_scores_are_the_loops() -> None:
    a, b = made_up()[0][:, 0], made_up(1)[0][:, 0]
    expected = [[cosine(x, y) for y in b.double().tolist()] for x in a.double().tolist()]
    torch.testing.assert_close(global_scores(a, b), torch.tensor(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("classes", [[-1, -1, -1, -1], [3, 1, 3, 3]])
def test_contrast_is_the_loops(classes: list[int]) -> None:
    table = global_scores(made_up()[0][:, 0], made_up(1)[0][:, 0])
    found = sum(both_ways(10 * table, torch.tensor(classes)))
    assert float(found) == pytest.approx(naive_contrast((10 * table).double().tolist(), classes), rel=1e-5)


def test_losses_of_logits_by_hand() -> None:
    a, b, c = (torch.tensor(x, dtype=torch.float64) for x in ([1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]))

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    expected = -sum(
        math.log(sigmoid(x)) + 0.5 * math.log(1 - sigmoid(y)) + 0.5 * math.log(1 - sigmoid(z))
        for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    )
    assert float(matched_and_not(a, b, c)) == pytest.approx(expected / 2, rel=1e-6)
    assert float(matched(a)) == pytest.approx(-math.log(sigmoid(1) * sigmoid(-2)) / 2, rel=1e-6)
    assert float(same_answer(a, b)) == pytest.approx((0.5 * 0.5**2 + (5 - 0.5)) / 2)  # square near zero, then straight
    assert float(direct(torch.tensor([[0.25, 9.0], [9.0, 0.75]]))) == 0.5


# ---------------------------------------------------------------------------- what does not matter


def test_own_scores_are_the_diagonal() -> None:
    regions, words, mask = made_up()
    found = own_local_scores(regions, words, mask, GAMMA1, GAMMA2)
    torch.testing.assert_close(found, scores(regions, words, mask).diagonal())


def test_padding_does_not_matter() -> None:
    regions, words, mask = made_up()
    longer = torch.cat([words, torch.randn(4, 3, 6)], 1)
    more = torch.cat([mask, torch.zeros(4, 3, dtype=torch.bool)], 1)
    torch.testing.assert_close(scores(regions, longer, more), scores(regions, words, mask))


def test_order_of_regions_does_not_matter() -> None:
    regions, words, mask = made_up()
    torch.testing.assert_close(scores(regions[:, torch.randperm(9)], words, mask), scores(regions, words, mask))


def test_scale_does_not_matter() -> None:
    regions, words, mask = made_up()
    torch.testing.assert_close(scores(7 * regions, 0.2 * words, mask), scores(regions, words, mask))
    torch.testing.assert_close(visual_scores(regions, 3 * regions, 4, 5), visual_scores(regions, regions, 4, 5))
    a, b = regions[:, 0], words[:, 0]
    torch.testing.assert_close(global_scores(9 * a, 0.1 * b), global_scores(a, b))


def test_a_few_captions_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> tuple[Tensor, ...]:
        regions, words, mask = made_up()
        regions.requires_grad_(), words.requires_grad_()
        table = scores(regions, words, mask)
        return table, *torch.autograd.grad(sum(both_ways(50 * table)), (regions, words))

    whole = found()
    monkeypatch.setattr(vision_language, "ELEMENTS_AT_ONCE", 300)  # of 720
    for piecewise, at_once in zip(found(), whole, strict=True):
        torch.testing.assert_close(piecewise, at_once)


@pytest.mark.parametrize(
    "score", [scores, lambda r, w, m: visual_scores(r, w, 4, 5), lambda r, w, m: global_scores(r[:, 0], w[:, 0])]
)
def test_float32_under_autocast(score: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    regions, words, mask = made_up()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(score(regions, words, mask), score(regions.double().float(), words, mask))
        lower = score(regions.bfloat16(), words.bfloat16(), mask)
    assert torch.equal(lower, score(regions.bfloat16().float(), words.bfloat16().float(), mask))
    assert lower.dtype == torch.float32


# ---------------------------------------------------------------------------- what they tell


def test_local_scores_stay_in_their_bounds() -> None:
    regions, words, mask = made_up()
    bonus = torch.tensor(LENGTHS).log() / GAMMA2
    found = scores(regions, words, mask)
    assert (found >= bonus - 1).all() and (found <= bonus + 1).all()
    perfect = scores(words[:1, :1].expand(1, 9, 6), words[:1, :1].expand(1, 5, 6), torch.ones(1, 5, dtype=torch.bool))
    assert float(perfect) == pytest.approx(1 + math.log(5) / GAMMA2)


def test_an_image_is_most_like_itself() -> None:
    torch.manual_seed(0)
    regions = torch.randn(8, 16, 12)
    table = visual_scores(regions, regions, GAMMA1, GAMMA2)
    assert table.max() <= 1
    assert float(table.diagonal().mean()) > float(table[~torch.eye(8, dtype=torch.bool)].mean()) + 0.05


def test_zero_vectors_have_finite_gradients() -> None:
    regions, words, mask = torch.zeros(2, 9, 6, requires_grad=True), made_up()[1][:2], made_up()[2][:2]
    scores(regions, words, mask).sum().backward()
    assert regions.grad is not None and regions.grad.isfinite().all()


def test_real_answer_carries_no_gradient() -> None:
    real, generated = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    same_answer(real, generated).backward()
    assert real.grad is None and generated.grad is not None


# ---------------------------------------------------------------------------- negatives


def test_negatives_are_drawn_as_their_scores_say() -> None:
    torch.manual_seed(0)
    table = torch.tensor([[9.0, 0.1, 0.3, -0.2], [0.0] * 4, [0.0] * 4, [0.0] * 4])
    drawn = torch.stack([draw_negatives(table, torch.full((4,), -1), 3.0) for _ in range(4000)])
    assert not (drawn == torch.arange(4)).any()  # never an image's own
    frequency = F.one_hot(drawn[:, 0], 4).double().mean(0)
    expected = (3 * table[0, 1:]).softmax(0).double()
    torch.testing.assert_close(frequency[1:], expected, atol=0.03, rtol=0)


def test_negatives_are_of_another_class() -> None:
    torch.manual_seed(0)
    classes = torch.tensor([5, 5, 7, 5])
    table = torch.full((4, 4), -50.0)
    table[0, 1] = table[1, 3] = 50.0  # tempting, but of the same class
    for _ in range(50):
        drawn = draw_negatives(table, classes, 10.0)
        assert drawn[:2].tolist() == [2, 2] and drawn[3] == 2 and drawn[2] != 2
    only = draw_negatives(table, torch.full((4,), 5), 10.0)  # there is no other class
    assert not (only == torch.arange(4)).any()
