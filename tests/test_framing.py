"""The square around a face: the face comes to its place, and where the picture ends its edge goes on."""

import numpy as np
import pytest
from PIL import Image

from model.framing import PLACES, cut_for, cut_out


def middle(cut, box):
    left, top, width, height = box
    return (left + width / 2 - cut.left) / cut.side, (top + height / 2 - cut.top) / cut.side, width / cut.side


@pytest.mark.parametrize("box", [(100, 50, 80, 80), (3, 400, 300, 300), (10, 10, 30, 30)])
def test_one_face_comes_exactly_to_its_place(box):
    assert middle(cut_for([box]), box) == pytest.approx(PLACES[1][0])


def test_two_faces_at_the_models_own_distance_come_to_their_places():
    boxes = [(1000 * x - 500 * side, 1000 * y - 500 * side, 1000 * side, 1000 * side) for x, y, side in PLACES[2]]
    cut = cut_for(boxes)
    for box, place in zip(boxes, PLACES[2], strict=True):
        assert middle(cut, box) == pytest.approx(place, abs=1e-6)


def test_two_faces_far_apart_both_stay_in_the_square():
    boxes = [(0, 100, 60, 60), (900, 140, 60, 60)]
    cut = cut_for(boxes)
    for left, top, right, bottom in map(cut.shares, boxes):
        assert 0 < left < right < 1 and 0 < top < bottom < 1


def test_a_crowd_is_refused():
    with pytest.raises(ValueError, match="3 faces"):
        cut_for([(0, 0, 10, 10), (20, 0, 10, 10), (40, 0, 10, 10)])


def test_the_square_shows_what_it_was_laid_on():
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8))
    box = (84.18, 100.3, 42.0, 42.0)  # a square of 100 pixels at 55.48, 74.2
    cut = cut_for([box])
    assert (cut.left, cut.top, cut.side) == pytest.approx((55.48, 74.2, 100.0))
    same = picture.resize((100, 100), Image.Resampling.LANCZOS, box=(55.48, 74.2, 155.48, 174.2))
    assert np.abs(np.asarray(cut_out(picture, cut, 100), int) - np.asarray(same, int)).max() <= 1


def test_beyond_the_edge_the_edge_goes_on():
    picture = Image.new("RGB", (200, 100), (10, 20, 30))
    picture.paste((200, 100, 50), (0, 0, 200, 1))
    made = np.asarray(cut_out(picture, cut_for([(80, 0, 40, 40)]), 256))
    assert made.shape == (256, 256, 3)
    assert (made[0] == made[3]).all() and made[0, 128, 0] > 100
    assert (made[-1, 128] == (10, 20, 30)).all()
