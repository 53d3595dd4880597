"""The drawn world: what a pose changes in the picture, and that a look is a plain value."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from model.train.pictures import Feeling
from model.world.cast import CHARACTER_TITLES, CHARACTERS
from model.world.drawing import face_box, mouth_box, render
from model.world.emotion import EMOTIONS, felt
from model.world.look import CHOICES, RANGES, Look
from model.world.pose import Pose
from model.world.scene import Scene

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


BROWN = replace(ADA, skin="#96683f")
ALL_KINDS = [replace(BROWN, species=species, style=style) for species in CHOICES["species"] for style in CHOICES["style"]]


def test_a_wrong_look_says_what_is_allowed():
    with pytest.raises(ValueError, match="clothes is 'toga'; choose one of tee, .*turtleneck"):
        replace(ADA, clothes="toga")
    for value in (1.5, -0.1, float("nan"), float("inf"), "1", None, True):
        with pytest.raises(ValueError, match="closeness is .*; it must be a number from 0.0 to 1.0"):
            replace(ADA, closeness=value)
    with pytest.raises(ValueError, match="details is 2.5; it must be a whole number from 0"):
        replace(ADA, details=2.5)
    for value in ("red", "#12345", "#1234567", "#12345g", 7):
        with pytest.raises(ValueError, match="skin is .*; it must be a colour such as"):
            replace(ADA, skin=value)
    with pytest.raises(ValueError, match="tail"):
        Look.from_dict({"tail": 1})


def test_random_looks_differ_and_repeat_with_their_seed():
    looks = [Look.random(np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(looks)) == 40
    assert len({look.hair for look in looks}) >= 7 and len({look.skin for look in looks}) >= 6
    assert Look.random(np.random.default_rng(5)) == looks[5]
    assert changed(render(looks[0], Pose()), render(looks[1], Pose())).mean() > 0.5


def test_both_ends_of_every_range_are_drawn():
    for name, ends in RANGES.items():
        for value in ends:
            assert render(replace(ADA, **{name: value}), Pose(open=0.5)).std() > 20, name


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_draws_another_picture(name):
    bare = replace(ADA, hair="bald", background="plain", clothes="tee")
    pictures = [render(replace(bare, **{name: choice}), Pose()) for choice in CHOICES[name]]
    for one, other in itertools.combinations(pictures, 2):
        assert changed(one, other).sum() > 20


def test_random_looks_hold_every_style_species_and_hat():
    looks = [Look.random(np.random.default_rng(seed)) for seed in range(200)]
    for name in ("style", "species", "hat"):
        assert {getattr(look, name) for look in looks} == set(CHOICES[name])
    assert 0.7 < np.mean([look.species == "person" for look in looks]) < 0.86
    assert not any(look.beard != "none" for look in looks if look.species != "person")


@pytest.mark.parametrize("look", ALL_KINDS, ids=lambda look: f"{look.species}-{look.style}")
def test_lips_of_every_species_close_open_round_and_spread(look):
    poses = (Pose(), Pose(open=0.7), Pose(round=1.0), Pose(width=1.0), Pose(bite=1.0), Pose(smile=1.0), Pose(smile=-1.0))
    mouths = [crop(render(look, pose), mouth_box(look)) for pose in poses]
    for one, other in itertools.combinations(mouths, 2):
        assert (np.abs(one - other).max(axis=2) > 12).sum() > 100
    middle = mouths[0].shape[1] // 2
    closed, teeth = ((mouth[14:60, middle - 18 : middle + 18].min(axis=2) > 225).sum() for mouth in mouths[:2])
    assert teeth > closed + 40


@pytest.mark.parametrize("look", ALL_KINDS, ids=lambda look: f"{look.species}-{look.style}")
def test_eyes_of_every_species_blink(look):
    face = face_box(look)
    assert changed(crop(render(look, Pose()), face), crop(render(look, Pose(blink=1.0)), face)).sum() > 150


def outside(box, difference):
    left, top, right, bottom = box
    difference = difference.copy()
    difference[top:bottom, left:right] = False
    return difference.sum()


@pytest.mark.parametrize("closeness", (0.0, 0.6, 1.0))
@pytest.mark.parametrize("hat", CHOICES["hat"])
def test_boxes_hold_the_faces_of_all_species(hat, closeness):
    kinds = zip(CHOICES["species"], itertools.cycle(CHOICES["style"]), strict=False)
    for look in (replace(ADA, species=species, style=style, hat=hat, closeness=closeness) for species, style in kinds):
        rest = render(look, Pose())
        for pose in (Pose(open=1.0), Pose(width=1.0, smile=1.0), Pose(round=1.0, open=0.4)):
            # A few pixels of the head's edge may be rounded another way when the outline below them changes.
            assert outside(mouth_box(look), changed(rest, render(look, pose))) <= 8
        assert outside(face_box(look), changed(rest, render(look, Pose(blink=1.0, brow=1.0)))) == 0


def test_closeness_enlarges_the_face_and_keeps_all_of_the_head_inside():
    green = dict(background="solid", background_colour="#00ff00", closeness=1.0)
    for look in (*CHARACTERS.values(), *ALL_KINDS, replace(ADA, hair="afro", hair_volume=1.0), replace(ADA, hair="bun")):
        far, near = (face_box(replace(look, closeness=closeness)) for closeness in (0.0, 1.0))
        assert 1.18 < (near[2] - near[0]) / (far[2] - far[0]) < 1.45
        for yaw, roll in itertools.product((-1, 1), (-0.7, 0.7)):
            picture = render(replace(look, **green), Pose(yaw=yaw, x=0.5 * yaw, pitch=-0.7, roll=roll, sway=-0.4 * yaw))
            edge = np.concatenate([picture[0], picture[:120, 0], picture[:120, -1]])
            assert (edge == (0, 255, 0)).all()


def test_of_two_nobody_is_closer():
    near, far = (replace(ADA, closeness=closeness) for closeness in (1.0, 0.0))
    one, other = (Scene((look, CHARACTERS["bo"])) for look in (near, far))
    assert one.face_boxes() == other.face_boxes() and one.mouth_boxes() == other.mouth_boxes()
    assert np.array_equal(one.render((Pose(), Pose())), other.render((Pose(), Pose())))


@pytest.mark.parametrize("style", CHOICES["style"])
def test_a_solid_background_is_exactly_its_colour(style):
    look = replace(ADA, style=style, background="solid", background_colour="#12ab34")
    for picture in (render(look, Pose()), Scene((look, ADA)).render((Pose(), Pose()))):
        assert (picture[:30] == (0x12, 0xAB, 0x34)).all()


def test_sway_moves_what_hangs_and_nothing_else():
    for look in (replace(ADA, species="dog"), replace(ADA, species="rabbit"), CHARACTERS["ines"], CHARACTERS["nora"]):
        assert changed(render(look, Pose()), render(look, Pose(sway=0.5))).sum() > 60
    for hair in ("crop", "afro", "bun", "bald"):
        look = replace(ADA, hair=hair, earrings="none")
        assert np.array_equal(render(look, Pose()), render(look, Pose(sway=0.5)))


def test_flat_and_inked_have_fewer_colours_than_soft():
    def colours(style):
        picture = render(replace(ADA, style=style, background="plain"), Pose())
        return len(np.unique(picture.reshape(-1, 3), axis=0))

    assert max(colours("flat"), colours("inked")) < 0.6 * colours("soft")


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
