import math

import pytest
import torch

from t2icli.losses.adversarial import answered, hinge_discriminator, hinge_generator, hinge_mismatched

REAL, FAKE = torch.tensor([0.5, 2.0, -1.0]), torch.tensor([-0.5, -2.0, 1.0])


def test_hinge_of_the_specification() -> None:  # xmcgan.md 8.1, item 3
    assert hinge_discriminator(REAL, FAKE).item() == pytest.approx(5 / 3, abs=1e-6)
    assert hinge_generator(-FAKE).item() == pytest.approx(-0.5, abs=1e-6)
    assert hinge_generator(FAKE).item() == pytest.approx(0.5, abs=1e-6)


def test_discriminator_is_content_beyond_the_margin() -> None:
    real = torch.tensor([1.5, 3.0, 0.0], requires_grad=True)
    fake = torch.tensor([-1.5, -3.0, 0.0], requires_grad=True)
    hinge_discriminator(real, fake).backward()
    assert real.grad.tolist() == pytest.approx([0, 0, -1 / 3])
    assert fake.grad.tolist() == pytest.approx([0, 0, 1 / 3])


def test_generator_gradient_never_fades() -> None:
    fake = torch.tensor([-100.0, 0.0, 100.0], requires_grad=True)
    hinge_generator(fake).backward()
    assert fake.grad.tolist() == pytest.approx([-1 / 3] * 3)


def test_computed_in_float32() -> None:
    real, fake = REAL.bfloat16(), FAKE.bfloat16()
    assert hinge_discriminator(real, fake).dtype == hinge_generator(fake).dtype == torch.float32


def test_answers_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3.0)])  # probabilities of 1/2 and 3/4
    assert answered(logits, True).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert answered(logits, False).item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert answered(torch.tensor([200.0]), False).item() == pytest.approx(200.0)  # where a sigmoid would be one
    assert answered(logits.bfloat16(), True).dtype == torch.float32


def test_mismatched_pairs_and_generated_images_count_half() -> None:
    found = {name: value.item() for name, value in hinge_mismatched(REAL, FAKE, torch.tensor([-3.0, 0.0])).items()}
    assert found == pytest.approx({"real": 2.5 / 3, "fake": 2.5 / 3 / 2, "mismatched": 0.25})


def test_low_precision_is_left_before_anything_is_computed() -> None:
    """In bfloat16 1 + 1/512 is 1, and a mean of many small numbers loses them."""
    logits = torch.full((4,), 2.0**-9, dtype=torch.bfloat16)
    expected = logits.float()
    assert hinge_discriminator(-logits, logits).item() == 2 + 2 * 2.0**-9
    assert hinge_generator(logits).dtype == torch.float32
    found = hinge_mismatched(-logits, logits, logits)
    assert [value.item() for value in found.values()] == [1 + 2.0**-9, (1 + 2.0**-9) / 2, (1 + 2.0**-9) / 2]
    assert torch.equal(answered(logits, True), answered(expected, True))
    assert torch.equal(answered(logits, False), answered(expected, False))
