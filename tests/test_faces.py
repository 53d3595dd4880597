"""Faces are found where they are, drawn and photographed, and not where there are none."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageFilter

from model.faces import find_faces
from model.loading import CHARACTERS

PEOPLE = ("ada", "bo", "ines", "kofi", "mei", "otto")


def portrait(name: str) -> Image.Image:
    return Image.open(CHARACTERS / name / "picture.png").convert("RGB")


@pytest.mark.parametrize("name", PEOPLE)
def test_each_drawn_character_has_one_face_in_the_middle(name):
    picture = portrait(name)
    [(left, top, width, height)] = find_faces(picture)
    assert abs(left + width / 2 - picture.width / 2) < 0.06 * picture.width
    assert 0.40 < (top + height / 2) / picture.height < 0.54
    assert 0.36 < width / picture.width < 0.50


def test_a_small_face_is_found_in_a_wide_picture():
    wall = Image.new("RGB", (1600, 700), (214, 220, 226))
    wall.paste(portrait("ines").resize((330, 330)), (1150, 200))
    [(left, top, width, height)] = find_faces(wall)
    assert 1150 + 330 * 0.2 < left < left + width < 1150 + 330 * 0.8
    assert 200 + 330 * 0.1 < top < top + height < 200 + 330 * 0.85


def test_faces_come_from_left_to_right():
    both = Image.new("RGB", (1024, 512))
    both.paste(portrait("kofi"), (0, 0))
    both.paste(portrait("mei"), (512, 0))
    first, second = find_faces(both)
    assert first[0] + first[2] < 512 < second[0]


def test_what_is_no_face_is_not_taken_for_one():
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (400, 300, 3), np.uint8))
    for picture in (noise, noise.filter(ImageFilter.GaussianBlur(9)), Image.new("RGB", (256, 256), (90, 140, 200))):
        assert find_faces(picture) == []


def test_a_photographed_face_is_found():
    photograph = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    [(left, top, width, height)] = find_faces(Image.open(photograph))  # 512 x 600
    assert 120 < left < 180 and 80 < top < 130 and 190 < width < 260 and height == width
