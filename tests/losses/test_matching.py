"""The matching losses against AttnGAN's released code and against plain loops in float64."""

import math

import numpy as np
import pytest
import torch
from attngan_family import REFERENCE, facts, tensor
from torch import Tensor

from t2icli.losses import matching
from t2icli.losses.matching import same_class, sentence_losses, sentence_scores, word_losses, word_scores

GAMMAS = (5.0, 5.0, 10.0)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in np.load(REFERENCE / "damsm_losses.npz").items()}


def as_text(words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """``(B, D, T)`` as the code has it, to ``(B, T, D)`` and a mask."""
    return words.transpose(1, 2), torch.arange(words.shape[2]) < lengths[:, None]


def test_released_losses_and_gradients(golden: dict[str, Tensor]) -> None:
    regions = golden["regions"].flatten(2).transpose(1, 2)
    words, mask = as_text(golden["words"], golden["lens"])
    for kind, classes in (("noclass", None), ("class", golden["class_ids"])):
        leaves = [x.clone().requires_grad_() for x in (regions, golden["global_"], words, golden["sent"])]
        r, whole, w, sentence = leaves
        found = [*word_losses(r, w, mask, GAMMAS, classes), *sentence_losses(whole, sentence, GAMMAS[2], classes)]
        for name, loss in zip(("w0", "w1", "s0", "s1"), found, strict=True):
            assert loss.item() == pytest.approx(float(golden[f"{kind}.{name}"]), rel=1e-5)
        sum(found).backward()
        for name, leaf in zip(("feats", "code", "words", "sent"), leaves, strict=True):
            assert float(leaf.grad.norm()) == pytest.approx(float(golden[f"{kind}.grad_{name}"]), rel=1e-4)


def test_reference_values_of_fixed_tensors() -> None:
    regions = tensor((3, 256, 17, 17), 21).flatten(2).transpose(1, 2)
    words, mask = as_text(tensor((3, 256, 12), 23), torch.tensor([12, 9, 5]))
    whole, sentence = tensor((3, 256), 22), tensor((3, 256), 24)
    for key, classes in (("damsm.none", None), ("damsm.all_diff", [1, 2, 3]), ("damsm.0and2_same", [1, 2, 1])):
        ids = torch.tensor(classes) if classes else None
        found = [
            *word_losses(regions, words, mask, (4.0, 5.0, 10.0), ids),
            *sentence_losses(whole, sentence, 10.0, ids),
        ]
        expected = facts()["golden"]["attngan"][key]
        assert [x.item() for x in found] == pytest.approx([expected[n] for n in ("w0", "w1", "s0", "s1")], rel=1e-5)


def made_up() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 4])[:, None]
    words = torch.randn(4, 5, 6, generator=generator)
    return torch.randn(4, 7, 6, generator=generator), words, mask


def naive_score(regions: Tensor, words: Tensor, gamma1: float, gamma2: float) -> float:
    """One image and the real words of one caption, in loops."""
    regions, words = regions.double(), words.double()
    shared = torch.stack([(words @ region).softmax(0) for region in regions], 1)  # (T, R)
    pooled = 0.0
    for word, row in zip(words, shared, strict=True):
        seen = (gamma1 * row).softmax(0) @ regions
        pooled += math.exp(gamma2 * float(seen @ word / (seen.norm() * word.norm())))
    return math.log(pooled)


def test_word_scores_are_the_loops() -> None:
    regions, words, mask = made_up()
    expected = [
        [naive_score(image, caption[own], 4.0, 5.0) for caption, own in zip(words, mask, strict=True)]
        for image in regions
    ]
    torch.testing.assert_close(
        word_scores(regions, words, mask, 4.0, 5.0), torch.tensor(expected), atol=1e-5, rtol=1e-5
    )


def test_a_few_captions_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = word_scores(*made_up(), 4.0, 5.0)
    monkeypatch.setattr(matching, "ELEMENTS_AT_ONCE", 1)
    torch.testing.assert_close(word_scores(*made_up(), 4.0, 5.0), whole)


def test_padding_does_not_matter() -> None:
    regions, words, mask = made_up()
    longer = torch.cat([words, torch.randn(4, 3, 6)], 1)
    more = torch.cat([mask, torch.zeros(4, 3, dtype=torch.bool)], 1)
    torch.testing.assert_close(word_scores(regions, longer, more, 4, 5), word_scores(regions, words, mask, 4, 5))


def test_classes() -> None:
    assert same_class(torch.tensor([-1, -1, 3])).sum() == 0
    assert same_class(torch.tensor([3, 1, 3])).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    one, _ = sentence_losses(a, b, 10.0, torch.tensor([3, 3, 3]))
    assert float(one) == 0  # nothing is left to be confused with
    torch.testing.assert_close(sentence_losses(a, b, 10.0, torch.tensor([-1, -1, -1])), sentence_losses(a, b, 10.0))


def test_zero_vectors_and_half_precision_give_numbers() -> None:
    assert sentence_scores(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [[0, 0], [0, 0]]
    regions, words, mask = made_up()
    with torch.autocast("cpu", torch.bfloat16):
        found = word_losses(regions.bfloat16(), words.bfloat16(), mask, (4.0, 5.0, 10.0))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in found)


def test_lower_precision_around_them_changes_nothing() -> None:
    regions, words, mask = made_up()
    expected = [
        word_scores(regions, words, mask, 4.0, 5.0), sentence_scores(regions[:, 0], words[:, 0]),
        *word_losses(regions, words, mask, GAMMAS), *sentence_losses(regions[:, 0], words[:, 0], 10.0),
    ]  # fmt: skip
    with torch.autocast("cpu", torch.bfloat16):
        found = [
            word_scores(regions, words, mask, 4.0, 5.0), sentence_scores(regions[:, 0], words[:, 0]),
            *word_losses(regions, words, mask, GAMMAS), *sentence_losses(regions[:, 0], words[:, 0], 10.0),
        ]  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_padded_words_leave_gradients_finite() -> None:
    regions, words, mask = made_up()
    regions.requires_grad_()
    words = (words * mask[:, :, None]).requires_grad_()  # zero at the padding, as the text encoder gives them
    sum(word_losses(regions, words, mask, GAMMAS)).backward()
    assert regions.grad.isfinite().all() and words.grad.isfinite().all()
    assert words.grad[~mask].abs().sum() == 0
