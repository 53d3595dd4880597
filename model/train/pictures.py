"""Moving pictures from the drawn world: who, how the head moves, what the mouth does. Knows nothing of networks."""

import numpy as np

from model.motion import Motion, idle_motion
from model.train.world import CHARACTERS, Look, Pose, render

FPS = 25


def choose_look(rng: np.random.Generator, shipped_share: float) -> Look:
    """One of the shipped characters or a stranger."""
    if rng.random() < shipped_share:
        return list(CHARACTERS.values())[rng.integers(len(CHARACTERS))]
    return Look.random(rng)


def pose_at(motion: Motion, mouth: np.ndarray, frame: int) -> Pose:
    """The drawn pose of one frame: `mouth` is frames x (open, width, round, bite)."""
    at = {name: float(getattr(motion, name)[frame]) for name in Motion.__dataclass_fields__}
    lips = dict(zip(("open", "width", "round", "bite"), map(float, mouth[frame]), strict=True))
    return Pose(x=0.5 * at["yaw"], y=0.4 * at["pitch"], **at, **lips)


def film(look: Look, motion: Motion, mouth: np.ndarray, size: int) -> np.ndarray:
    """All frames, f h w 3 uint8."""
    return np.stack([render(look, pose_at(motion, mouth, frame), size) for frame in range(len(mouth))])


def random_motion(rng: np.random.Generator, frames: int) -> Motion:
    """A stretch of somebody's idle motion, from hardly any to lively."""
    start_s = rng.uniform(0, 1e5)
    return idle_motion(int(rng.integers(2**31)), start_s + np.arange(frames) / FPS, strength=rng.uniform(0.4, 1.5))


def random_mouth(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Mouth shapes of no language: every corner of the range, half of the time near rest. frames x 4."""
    knots = 2 + frames // 3
    shape = np.stack(
        (rng.beta(0.7, 1.2, knots), rng.uniform(-1, 1, knots), rng.beta(0.5, 1.0, knots), rng.beta(0.3, 1.5, knots)), 1
    )
    shape[rng.random(knots) < 0.25] = 0
    x = np.linspace(0, knots - 1, frames)
    return np.stack([np.interp(x, np.arange(knots), shape[:, i]) for i in range(4)], 1).astype(np.float32)
