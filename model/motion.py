"""What a face does of its own accord: head movement, blinks, gaze, brows, breath. Knows nothing of sound or pictures.

A smooth pseudo-random function of (seed, time): there is no state, so a stream can begin anywhere, resume after a crash
in the same pose, and behave in its millionth minute as in its first. The values travel to the transformer through the
released model's two motion inputs (four numbers each).
"""

from dataclasses import dataclass

import numpy as np

RELEASED_EXP, RELEASED_POSE = 30.0, 25.0  # the released program knows no others
MOTION_CENTRE = 30.0  # the released model's ids are integers around 25 to 30; ours are real numbers around 30
MOTION_SPAN = 20.0
SETTLE_S = 1.5  # a new stream starts at rest, as in the reference picture, and comes to life over this time
BLINK_S = 0.24
SWAY_S = 0.12  # so far behind the head is what hangs loose from it: hair, ears


@dataclass(frozen=True)
class Motion:
    """Values at some instants, each an array over them. Head angles and gaze -1 … 1, blink, brow and breath 0 … 1.

    sway -1 … 1 is where what hangs from the head has yet to follow its turning. Nothing reads it but the drawn world."""

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    breath: np.ndarray
    blink: np.ndarray
    gaze_x: np.ndarray
    gaze_y: np.ndarray
    brow: np.ndarray
    sway: np.ndarray


def idle_motion(seed: int, times_s: np.ndarray, since_s: float | None = None, strength: float = 1.0) -> Motion:
    """Motion at `times_s`; `since_s` is when the stream began (None: long ago); strength scales the head's movement."""
    times_s = np.asarray(times_s, np.float64)
    awake = _awake(times_s, since_s)
    head = strength * awake

    def wander(channel: int, period_s: float, at_s: np.ndarray = times_s) -> np.ndarray:
        slow = value_noise(seed * 16 + channel, at_s / period_s)
        quick = value_noise(seed * 16 + channel + 8, at_s / (period_s * 0.37))
        return 0.75 * slow + 0.25 * quick

    yaw, before_s = head * wander(0, 2.6), times_s - SWAY_S
    return Motion(
        yaw=yaw,
        pitch=head * 0.8 * wander(1, 2.1),
        roll=head * 0.7 * wander(2, 3.3),
        breath=awake * (0.5 - 0.5 * np.cos(2 * np.pi * times_s / 4.2)),
        blink=awake * blinks(seed, times_s),
        gaze_x=awake * _glances(seed * 16 + 4, times_s),
        gaze_y=awake * 0.5 * _glances(seed * 16 + 5, times_s),
        brow=awake * np.clip(0.8 * wander(6, 1.9), 0, 1),
        sway=np.clip(strength * _awake(before_s, since_s) * wander(0, 2.6, before_s) - yaw, -1, 1),
    )


def _awake(times_s: np.ndarray, since_s: float | None) -> np.ndarray:
    """From 0 at the beginning of a stream to 1."""
    return np.ones_like(times_s) if since_s is None else _smoothstep((times_s - since_s) / SETTLE_S)


def motion_inputs(frames: Motion, frames_per_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Motion at every video frame -> (motion_exp t 4, motion_pose t 4), as the transformer reads them.

    exp: lids at the latent's first and last frame, gaze, brow; pose: yaw, pitch, roll, breath."""

    def mean(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, frames_per_latent).mean(1)

    lids = frames.blink.reshape(-1, frames_per_latent)
    exp = np.stack((lids[:, 0], lids[:, -1], mean(frames.gaze_x), mean(frames.brow)), 1)
    pose = np.stack((mean(frames.yaw), mean(frames.pitch), mean(frames.roll), mean(frames.breath)), 1)
    return (MOTION_CENTRE + MOTION_SPAN * exp).astype(np.float32), (MOTION_CENTRE + MOTION_SPAN * pose).astype(np.float32)


def blinks(seed: int, times_s: np.ndarray) -> np.ndarray:
    """One blink in most cells of 3.2 s, at a random place in the cell; now and then a double one."""
    cell_s = 3.2
    closed = np.zeros_like(times_s)
    cell = np.floor(times_s / cell_s)
    for offset in (-1, 0):
        at = (cell + offset + 0.15 + 0.7 * _hash01(seed * 16 + 11, cell + offset)) * cell_s
        happens = _hash01(seed * 16 + 12, cell + offset) < 0.85
        twice = _hash01(seed * 16 + 13, cell + offset) < 0.12
        closed = np.maximum(closed, happens * _blink(times_s - at))
        closed = np.maximum(closed, happens * twice * _blink(times_s - at - 0.36))
    return closed


def value_noise(seed: int, x: np.ndarray) -> np.ndarray:
    """Smooth noise in -1 … 1 with one random value at every integer and a quintic between them."""
    cell = np.floor(x)
    f = x - cell
    f = f * f * f * (f * (6 * f - 15) + 10)
    return 2 * ((1 - f) * _hash01(seed, cell) + f * _hash01(seed, cell + 1)) - 1


def _glances(seed: int, times_s: np.ndarray) -> np.ndarray:
    """Gaze rests on the listener and now and then jumps aside for a moment (saccades of about 60 ms)."""
    cell_s = 1.1
    cell = np.floor(times_s / cell_s)

    def target(c: np.ndarray) -> np.ndarray:
        away = _hash01(seed + 3, c) < 0.3
        return np.where(away, 1.6 * _hash01(seed, c) - 0.8, 0.2 * _hash01(seed, c) - 0.1)

    moved = _smoothstep((times_s - cell * cell_s) / 0.06)
    return (1 - moved) * target(cell - 1) + moved * target(cell)


def _blink(t: np.ndarray) -> np.ndarray:
    """Closes within 80 ms, opens within 160 ms."""
    return np.where(t < 0.08, _smoothstep(t / 0.08), 1 - _smoothstep((t - 0.08) / (BLINK_S - 0.08)))


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _hash01(seed: int, cell: np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1) from integers (splitmix64)."""
    with np.errstate(over="ignore"):
        z = np.asarray(cell, np.int64).astype(np.uint64) + np.uint64(seed % 2**31) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2**53
