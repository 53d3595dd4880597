"""The drawn world: what a pose changes in the picture, and that a look is a plain value."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skia", reason="the drawn world needs the train extra: pip install 'visavis[train]'")

from model.train.pictures import Feeling  # noqa: E402
from model.world.cast import CHARACTER_TITLES, CHARACTERS  # noqa: E402
from model.world.drawing import face_box, mouth_box, render  # noqa: E402
from model.world.emotion import EMOTIONS, felt  # noqa: E402
from model.world.look import Look  # noqa: E402
from model.world.pose import Pose  # noqa: E402
from model.world.scene import Scene  # noqa: E402

ADA = CHARACTERS["ada"]
REST = render(ADA, Pose())


def crop(picture, box):
    left, top, right, bottom = box
    return picture[top:bottom, left:right].astype(int)


def changed(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max(axis=2) > 6


def test_same_arguments_give_the_same_picture():
    pose = Pose(yaw=0.4, open=0.5, blink=0.3)
    assert np.array_equal(render(ADA, pose), render(replace(ADA), pose))


def test_pictures_are_rgb_of_the_asked_size():
    for look in CHARACTERS.values():
        for size in (128, 256, 512):
            picture = render(look, Pose(open=0.3), size)
            assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
            assert picture.std() > 20


def test_size_changes_resolution_only():
    large = render(ADA, Pose(), 512).reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(large - REST).mean() < 2.0


@pytest.mark.parametrize("name", CHARACTERS)
def test_the_more_open_the_more_of_the_inside_shows(name):
    look = CHARACTERS[name]
    closed = crop(render(look, Pose()), mouth_box(look))
    areas = []
    for amount in (0.0, 0.15, 0.3, 0.5, 0.75, 1.0):
        inside = crop(render(look, Pose(open=amount)), mouth_box(look))
        areas.append(int((np.abs(inside - closed).max(axis=2) > 40).sum()))
    assert areas == sorted(areas) and areas[-1] > areas[1] + 300


def test_a_small_change_of_pose_is_a_small_change_of_picture():
    for name in ("open", "width", "round", "bite", "blink", "yaw", "pitch", "roll", "brow", "gaze_x", "breath"):
        steps = [render(ADA, Pose(**{name: v})).astype(int) for v in (0.40, 0.42)]
        assert np.abs(steps[0] - steps[1]).mean() < 2.0, name


def test_blink_hides_the_white_of_the_eyes():
    def white(blink):
        eyes = render(ADA, Pose(blink=blink))[100:130, 90:166]
        return int((eyes.min(axis=2) > 225).sum())

    assert white(0.0) > white(0.25) > white(1.0) == 0


def test_boxes_hold_what_moves():
    for look in CHARACTERS.values():
        rest = render(look, Pose())
        for pose in (Pose(open=1.0), Pose(width=1.0), Pose(round=1.0, open=0.4), Pose(bite=1.0)):
            moved = changed(rest, render(look, pose))
            left, top, right, bottom = mouth_box(look)
            moved[top:bottom, left:right] = False
            assert not moved.any()
        moved = changed(rest, render(look, Pose(blink=1.0, brow=0.5)))
        left, top, right, bottom = face_box(look)
        moved[top:bottom, left:right] = False
        assert not moved.any()


def test_boxes_scale_with_the_picture():
    assert np.allclose(np.array(mouth_box(ADA, 512)), 2 * np.array(mouth_box(ADA, 256)), atol=2)


def test_a_look_survives_json():
    for look in (*CHARACTERS.values(), Look.random(np.random.default_rng(3))):
        assert Look.from_dict(json.loads(json.dumps(look.to_dict()))) == look


def test_a_wrong_look_says_what_is_allowed():
    with pytest.raises(ValueError, match="turtleneck"):
        replace(ADA, clothes="toga")
    with pytest.raises(ValueError, match="tail"):
        Look.from_dict({"tail": 1})


def test_random_looks_differ_and_repeat_with_their_seed():
    looks = [Look.random(np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(looks)) == 40
    assert len({look.hair for look in looks}) >= 7 and len({look.skin for look in looks}) >= 6
    assert Look.random(np.random.default_rng(5)) == looks[5]
    assert changed(render(looks[0], Pose()), render(looks[1], Pose())).mean() > 0.5


def test_every_character_has_a_title():
    assert set(CHARACTERS) == set(CHARACTER_TITLES) and len(CHARACTERS) == 11


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_emotion_shows_in_the_face_and_nowhere_else(emotion):
    look = CHARACTERS["bo"]
    left, top, right, bottom = face_box(look)
    plain, shown = render(look, Pose.neutral()), render(look, felt(Pose.neutral(), emotion, 1.0))
    changed = (plain != shown).any(-1)
    assert changed.sum() > 300
    changed[top:bottom, left:right] = False
    assert not changed.any()


def test_emotions_differ_from_one_another():
    pictures = [render(CHARACTERS["mei"], felt(Pose.neutral(), name, 1.0)).astype(float) for name in ("neutral", *EMOTIONS)]
    for one, other in itertools.combinations(pictures, 2):
        assert np.abs(one - other).mean() > 0.15


def test_a_closed_mouth_stays_closed_in_every_emotion():
    assert all(felt(Pose.neutral(), name, 1.0).open == 0 for name in EMOTIONS)


def test_of_two_people_one_moves_and_the_other_does_not():
    scene = Scene((CHARACTERS["ada"], CHARACTERS["kofi"]))
    calm, boxes = scene.render((Pose.neutral(), Pose.neutral())), scene.face_boxes()
    for person, other in ((0, 1), (1, 0)):
        poses = [Pose.neutral(), Pose.neutral()]
        poses[person] = Pose(open=1.0, blink=1.0)
        moved = scene.render(tuple(poses))
        assert changed(crop(moved, boxes[person]), crop(calm, boxes[person])).any()
        assert np.array_equal(crop(moved, boxes[other]), crop(calm, boxes[other]))


def test_one_person_is_drawn_as_ever():
    look = CHARACTERS["otto"]
    assert np.array_equal(Scene((look,)).render((Pose(open=0.5),)), render(look, Pose(open=0.5)))


def test_three_people_are_too_many():
    with pytest.raises(ValueError, match="one or two"):
        Scene((CHARACTERS["ada"],) * 3)


def test_an_emotion_that_changes_takes_its_time_from_where_it_is_ordered():
    feeling = Feeling(("happy", 1.0), ("sad", 1.0), changes_at=10)
    smiles = [feeling.on(Pose.neutral(), frame).smile for frame in range(30)]
    assert len(set(smiles[:11])) == 1 and smiles[0] > 0 > smiles[-1] and len(set(smiles[20:])) == 1
    assert all(after <= before for before, after in itertools.pairwise(smiles))
