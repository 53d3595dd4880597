"""The size that a picture is worked at, and what the networks see of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from model.picture import fitted, fitted_size, llava_pixels, pixels


@pytest.mark.parametrize(
    "size, short_side, expected",
    [
        ((1000, 1000), 704, (704, 704)),
        ((300, 300), 704, (704, 704)),
        ((704, 1000), 704, (704, 1024)),
        ((704, 736), 704, (704, 768)),  # 11.5 multiples
        ((704, 800), 704, (704, 768)),  # 12.5 multiples
        ((1920, 1080), 704, (1216, 704)),  # too large at first
        ((1080, 1920), 704, (704, 1216)),
        ((1920, 1080), 512, (832, 448)),
        ((1920, 1080), 320, (512, 320)),  # a side that is not in the table
        ((1000, 1000), 384, (384, 384)),
    ],
)
def test_size_follows_the_short_side_and_the_largest_area(size, short_side, expected):
    assert fitted_size(*size, short_side) == expected


@pytest.mark.parametrize("short_side", [256, 384, 512, 704])
@pytest.mark.parametrize("aspect", [1.0, 1.3, 16 / 9, 2.4, 3.7, 5.0, 8.0])
def test_pictures_of_any_shape_keep_it_within_a_multiple(aspect, short_side):
    width, height = fitted_size(round(1000 * aspect), 1000, short_side)
    assert width % 64 == height % 64 == 0
    assert (width - 32) / (height + 32) <= aspect <= (width + 32) / (height - 32)
    assert (width - 32) * (height - 32) <= 2 * short_side**2
    assert fitted_size(1000, round(1000 * aspect), short_side) == (height, width)


@pytest.mark.parametrize("size", [(40, 500), (500, 63), (0, 0)])
def test_a_picture_that_is_too_small_is_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}; both sides need at least 64"):
        fitted_size(*size)


@pytest.mark.parametrize("size", [(1000, 100), (100, 1000)])
def test_a_picture_that_is_too_long_is_refused(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}; one side may be 8 times the other"):
        fitted_size(*size)


def test_a_short_side_below_one_multiple_is_refused():
    with pytest.raises(ValueError, match="at least 64 pixels, got 32"):
        fitted_size(100, 100, 32)


def test_a_picture_is_resized_with_lanczos():
    picture = drawing(150, 100)
    assert np.array_equal(fitted(picture, 64), picture.resize((128, 64), Image.Resampling.LANCZOS))


def test_a_picture_is_turned_upright_and_loses_transparency():
    lying = Image.new("RGBA", (200, 100), (10, 20, 30, 0))
    lying.getexif()[0x0112] = 6  # the camera was turned by a quarter
    made = fitted(lying, 128)
    assert made.mode == "RGB" and made.size == (128, 192)
    assert made.getpixel((5, 5)) == (10, 20, 30)


def test_pixels_run_from_minus_one_to_one():
    picture = Image.fromarray(np.array([[[0, 255, 51], [255, 0, 204]]], np.uint8))
    made = pixels(picture)
    assert made.shape == (3, 1, 2)
    assert torch.allclose(made[:, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_the_vision_tower_gets_a_square_of_the_whole_picture_in_clips_scale():
    picture = Image.new("RGB", (192, 64), (255, 0, 128))
    picture.paste((0, 255, 128), (96, 0, 192, 64))
    made = llava_pixels(picture)
    assert made.shape == (3, 336, 336)
    assert torch.allclose(made[:, 0, 0], torch.tensor([1.930336, -1.752097, 0.339949]), atol=1e-5)
    assert torch.allclose(made[:, -1, -1], torch.tensor([-1.792263, 2.074884, 0.339949]), atol=1e-5)


def drawing(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))
