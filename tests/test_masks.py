"""From a detector's boxes to masks: enlarged, cut at the picture's edge, and made coarse."""

import pytest
import torch

from model.adapter import mask_per_token
from model.masks import latent_masks, pixel_masks

HEIGHT, WIDTH = 128, 192


@pytest.mark.parametrize(
    "box, enlargement, top, bottom, left, right",
    [
        ((61, 33, 37, 29), 1.25, 29, 65, 56, 102),
        ((61, 33, 37, 29), 3.0, 4, 90, 24, 134),
        ((5, 2, 40, 51), 1.25, 0, 58, 0, 50),
        ((5, 2, 40, 51), 3.0, 0, 103, 0, 85),
        ((150, 90, 60, 60), 1.25, 83, 128, 143, 192),
        ((150, 90, 60, 60), 3.0, 30, 128, 90, 192),
    ],
)
def test_a_box_covers_the_pixels_that_the_original_says(box, enlargement, top, bottom, left, right):
    expected = torch.zeros(1, HEIGHT, WIDTH)
    expected[:, top:bottom, left:right] = 1
    assert torch.equal(pixel_masks([box], HEIGHT, WIDTH, enlargement), expected)


def test_a_face_is_enlarged_three_times_unless_told_otherwise():
    box = (90, 60, 12, 10)
    assert torch.equal(pixel_masks([box], HEIGHT, WIDTH), pixel_masks([box], HEIGHT, WIDTH, 3.0))


def test_without_a_face_the_whole_picture_is_meant():
    assert pixel_masks([], HEIGHT, WIDTH).shape == (1, HEIGHT, WIDTH)
    assert pixel_masks([], HEIGHT, WIDTH).all()


def test_each_face_has_a_mask_of_its_own():
    left, right = (20, 40, 20, 20), (140, 40, 20, 20)
    masks = pixel_masks([left, right], HEIGHT, WIDTH)
    assert masks.shape == (2, HEIGHT, WIDTH)
    assert torch.equal(masks[1:], pixel_masks([right], HEIGHT, WIDTH, 1.25))
    assert not (masks[0] * masks[1]).any()


def test_a_box_in_parts_of_pixels_is_rounded_down_like_one_in_whole_pixels():
    assert torch.equal(
        pixel_masks([(61.3, 33.2, 37.0, 29.0)], HEIGHT, WIDTH), pixel_masks([(61, 33, 37, 29)], HEIGHT, WIDTH)
    )


@pytest.mark.parametrize("box", [(-300, 10, 20, 20), (10, 500, 20, 20), (900, 10, 20, 20)])
def test_a_box_beside_the_picture_is_refused(box):
    with pytest.raises(ValueError, match="has no pixel in 192x128"):
        pixel_masks([box], HEIGHT, WIDTH)


@pytest.mark.parametrize("box", [(10, 10, 0, 20), (10, 10, 20, -1), (float("nan"), 10, 20, 20)])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(ValueError, match="left, top, width and height"):
        pixel_masks([box], HEIGHT, WIDTH)


def test_latent_cells_at_an_edge_are_partly_covered():
    mask = torch.zeros(1, 16, 32)
    mask[:, :, :12] = 1  # the middle of the second cell of eight pixels
    masks = latent_masks(mask, 2, 4)
    assert masks.shape == (1, 1, 1, 2, 4)
    assert masks[0, 0, 0].tolist() == [[1.0, 0.5, 0.0, 0.0]] * 2


def test_a_mask_stands_still_over_all_latent_frames():
    masks = latent_masks(pixel_masks([(20, 40, 20, 20), (140, 40, 20, 20)], HEIGHT, WIDTH), 16, 24)
    tokens = mask_per_token(masks.transpose(0, 1), 3, 8, 12)
    assert tokens.shape == (1, 2, 3, 96, 1)
    assert torch.equal(tokens[:, :, 0], tokens[:, :, 2]) and not torch.equal(tokens[:, 0], tokens[:, 1])
