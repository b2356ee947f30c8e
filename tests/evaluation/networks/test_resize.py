"""Resizes against torch-fidelity, PIL and a naive loop (vector T5 of the specification)."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from t2icli.evaluation.networks._resize import pil_bicubic, pil_bilinear, tf1_bilinear, tf2_bilinear

ROW = [0, 10, 20, 30]


def noise(height, width, count=2):
    """Strong contrasts, so that filters overshoot and rounding shows."""
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 2, (count, 3, height, width), dtype=torch.uint8, generator=generator) * 255


def test_t5_resize_of_tensorflow_1():
    row = torch.tensor(ROW, dtype=torch.uint8).expand(1, 3, 4, 4)
    assert tf1_bilinear(row, 8)[0, 0, 0].tolist() == pytest.approx([0, 5, 10, 15, 20, 25, 30, 30], abs=1e-5)


def test_t5_resize_of_tensorflow_2():
    row = torch.tensor(ROW, dtype=torch.uint8).expand(1, 3, 4, 4)
    assert tf2_bilinear(row, 8)[0, 0, 0].tolist() == pytest.approx([0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30], abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(17, 23), (32, 32), (256, 256), (299, 299), (480, 640)])
def test_tf1_equals_torch_fidelity(height, width):
    images = noise(height, width)
    expected = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    torch.testing.assert_close(tf1_bilinear(images, 299), expected, rtol=0, atol=5e-4)  # of 255 levels


def naive_half_pixel(image, side):
    """One channel, in float64: each place looks at the two nearest centres of pixels, edges repeated."""

    def near(place, length):
        source = min(max((place + 0.5) * length / side - 0.5, 0), length - 1)
        low = int(source)
        return low, min(low + 1, length - 1), source - low

    result = np.zeros((side, side))
    for y in range(side):
        top, bottom, down = near(y, image.shape[0])
        for x in range(side):
            left, right, across = near(x, image.shape[1])
            above = image[top, left] * (1 - across) + image[top, right] * across
            below = image[bottom, left] * (1 - across) + image[bottom, right] * across
            result[y, x] = above * (1 - down) + below * down
    return result


@pytest.mark.parametrize(("height", "width"), [(9, 14), (60, 50)])  # the second shrinks, without antialias
def test_tf2_equals_a_naive_loop(height, width):
    images = noise(height, width, count=1)
    expected = naive_half_pixel(images[0, 1].double().numpy(), 31)
    np.testing.assert_allclose(tf2_bilinear(images, 31)[0, 1].numpy(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("size", [32, 256, 400])
def test_pil_bilinear_is_that_of_an_rgb_image(size):
    images = noise(size, size + 3)
    resized = pil_bilinear(images, 299)
    assert resized.dtype == torch.uint8
    for image, got in zip(images, resized, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((299, 299), Image.Resampling.BILINEAR)
        assert got.permute(1, 2, 0).numpy().tobytes() == picture.tobytes()


def test_pil_bicubic_is_float_within_the_levels():
    images = noise(64, 64)
    resized = pil_bicubic(images, 299)
    channel = Image.fromarray(images[1, 2].float().numpy()).resize((299, 299), Image.Resampling.BICUBIC)
    expected = np.asarray(channel)
    assert channel.mode == "F" and expected.max() > 255 > 0 > expected.min()  # it overshoots
    np.testing.assert_array_equal(resized[1, 2].numpy(), np.clip(expected, 0, 255))
    assert (resized != resized.round()).any()


def test_resizes_keep_the_order_of_many_images():
    images = (torch.arange(20, dtype=torch.uint8) * 10)[:, None, None, None].expand(20, 3, 5, 5)
    for resize in (tf1_bilinear, tf2_bilinear, pil_bilinear, pil_bicubic):
        assert resize(images, 7)[:, 0, 3, 3].float().tolist() == pytest.approx(list(range(0, 200, 10)), abs=1e-3)
