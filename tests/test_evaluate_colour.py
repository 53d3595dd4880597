"""Colours as eyes see them, and where in a picture to look for them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from model.evaluation import colour
from model.world.drawing import render
from model.world.look import Look
from model.world.pose import Pose

# From the supplementary data of Sharma, Wu and Dalal (2005): two colours and how far they are apart.
KNOWN = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((36.4612, 47.858, 18.3852), (36.2715, 50.5065, 21.2231), 1.4146),
    ((90.9257, -0.5406, -0.9208), (88.6381, -0.8985, -0.7239), 1.5381),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "apart"), KNOWN)
def test_differences_are_those_of_the_paper_either_way(first, second, apart):
    assert colour.ciede2000(np.array(first), np.array(second)) == pytest.approx(apart, abs=1e-4)
    assert colour.ciede2000(np.array(second), np.array(first)) == pytest.approx(apart, abs=1e-4)


def test_lab_of_known_colours():
    found = colour.lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    assert np.allclose(found, [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]], atol=0.05)


def test_each_part_is_found_where_it_is_and_a_tint_of_it_alone_is_told():
    look, pose = Look(hair="bob"), Pose(yaw=0.5, roll=-0.3)
    parts = colour.parts_of(lambda other: render(other, pose), look)
    assert [part.name for part in parts] == list(colour.PARTS)
    true, tinted = render(look, pose), render(Look(hair="bob", clothes_colour="#8f3f3f"), pose)
    apart = {part.name: colour.difference(tinted, true, part) for part in parts}
    assert apart["clothes"] > 10 and max(apart[part] for part in ("skin", "hair", "eyes")) < 0.5


def test_a_part_that_does_not_show_is_left_out():
    shown = colour.parts_of(lambda other: render(other, Pose(blink=1.0)), Look())
    assert "eyes" not in [part.name for part in shown]


def eyes_of(look: Look) -> tuple[np.ndarray, colour.Part]:
    parts = colour.parts_of(lambda other: render(other, Pose()), look)
    return render(look, Pose()), next(part for part in parts if part.name == "eyes")


def moved_and_softened(picture: np.ndarray) -> np.ndarray:
    move = np.array([[1, 0, 1.3], [0, 1, -0.7]], np.float32)
    return cv2.GaussianBlur(cv2.warpAffine(picture, move, picture.shape[1::-1]), (0, 0), 0.7)


@pytest.mark.parametrize("species", ["person", "cat"])
def test_irises_keep_their_colour_where_they_are_a_little_astray_and_softer(species):
    true, eyes = eyes_of(Look(species=species, eye_colour="#7f9a4e"))
    assert colour.difference(true, true, eyes) == 0
    assert colour.difference(moved_and_softened(true), true, eyes) < 1
    assert colour.difference_in_place(moved_and_softened(true), true, eyes) > 4


@pytest.mark.parametrize("species", ["person", "cat"])
@pytest.mark.parametrize("tint", ["#8f9a4e", "#7f7a4e", "#5f8da0", "#4a2f1d"])
def test_irises_of_another_colour_are_told_wherever_they_are(species, tint):
    """From a shade to another colour altogether, about as far apart as the colours themselves."""
    look = Look(species=species, eye_colour="#7f9a4e")
    (true, eyes), other = eyes_of(look), render(replace(look, eye_colour=tint), Pose())
    apart = colour.difference(other, true, eyes)
    assert colour.difference(moved_and_softened(other), true, eyes) == pytest.approx(apart, rel=0.02, abs=0.1)
    named = [[int(hexed[i : i + 2], 16) for i in (1, 3, 5)] for hexed in (tint, look.eye_colour)]
    assert apart == pytest.approx(colour.ciede2000(*colour.lab(np.array(named, np.uint8))), rel=0.25)
