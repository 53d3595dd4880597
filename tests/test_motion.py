"""Idle motion: smooth, alive, the same from everywhere, and at rest when a stream begins."""

import numpy as np

from model.motion import Motion, blinks, idle_motion, motion_inputs

MINUTE = np.arange(0, 60, 0.04)


def test_a_stream_begins_at_rest():
    motion = idle_motion(4, np.array([100.0]), since_s=100.0)
    assert all(abs(float(getattr(motion, name)[0])) < 1e-9 for name in Motion.__dataclass_fields__)


def test_motion_is_a_function_of_time_alone():
    whole, part = idle_motion(4, MINUTE), idle_motion(4, MINUTE[700:720])
    assert np.array_equal(whole.yaw[700:720], part.yaw) and np.array_equal(whole.blink[700:720], part.blink)


def test_the_head_never_jumps():
    for start_s in (0.0, 80_000.0):
        motion = idle_motion(4, start_s + MINUTE)
        for values in (motion.yaw, motion.pitch, motion.roll, motion.breath):
            assert np.abs(np.diff(values)).max() < 0.1 and values.std() > 0.1


def test_what_hangs_from_the_head_follows_three_frames_later():
    motion = idle_motion(4, MINUTE, strength=1.5)
    assert np.allclose(motion.sway[3:], motion.yaw[:-3] - motion.yaw[3:]) and 0.1 < np.abs(motion.sway).max() <= 1
    began = idle_motion(4, 100 + MINUTE[:50], since_s=100.0)
    assert np.allclose(began.sway[3:], began.yaw[:-3] - began.yaw[3:])


def test_people_blink_eight_to_twenty_five_times_a_minute():
    for seed in range(5):
        closed = blinks(seed, np.arange(0, 600, 0.04)) > 0.5
        assert 8 <= (closed[1:] & ~closed[:-1]).sum() / 10 <= 25


def test_two_people_do_not_move_alike():
    one, other = idle_motion(1, MINUTE), idle_motion(2, MINUTE)
    assert abs(np.corrcoef(one.yaw, other.yaw)[0, 1]) < 0.5


def test_strength_scales_the_head_but_not_the_blinks():
    calm, lively = idle_motion(1, MINUTE, strength=0.2), idle_motion(1, MINUTE, strength=1.0)
    assert np.allclose(5 * calm.yaw, lively.yaw) and np.array_equal(calm.blink, lively.blink)


def test_inputs_hold_both_lids_of_a_latent_frame():
    exp, pose = motion_inputs(idle_motion(1, MINUTE[:100]), 2)
    assert exp.shape == pose.shape == (50, 4)
