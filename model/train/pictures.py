"""Moving pictures from the drawn world: who, how heads move, what mouths do, what is felt. Knows nothing of networks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.motion import Motion, idle_motion
from model.train.visemes import CHANNELS, minimum_jerk
from model.world.cast import CHARACTERS
from model.world.emotion import EMOTIONS, felt
from model.world.look import SPECIES, STYLES, Look
from model.world.pose import Pose
from model.world.scene import Scene

FPS = 25
CHANGE_S = 0.4  # from one emotion to another
# Of the strangers, those of any style, species and closeness as likely as of another: dice throw few inked foxes, and from
# afar nobody learns how brows move in a face that fills the picture.
EVEN_SHARE = 0.7


@dataclass(frozen=True)
class Feeling:
    """One person's emotion over a stretch of film: the first one, from frame `changes_at` on the second."""

    first: tuple[str, float] = ("neutral", 0.0)  # name and intensity
    second: tuple[str, float] = ("neutral", 0.0)
    changes_at: int = 0

    def on(self, pose: Pose, frame: int) -> Pose:
        changed = minimum_jerk((frame - self.changes_at) / (CHANGE_S * FPS))
        for (name, intensity), share in ((self.first, 1 - changed), (self.second, changed)):
            pose = felt(pose, name, intensity * share)
        return pose


NEUTRAL = Feeling()


def choose_look(rng: np.random.Generator, shipped_share: float) -> Look:
    """One of the shipped characters or a stranger."""
    if rng.random() < shipped_share:
        return list(CHARACTERS.values())[rng.integers(len(CHARACTERS))]
    if rng.random() >= EVEN_SHARE:
        return Look.random(rng)
    style, species = STYLES[rng.integers(len(STYLES))], SPECIES[rng.integers(len(SPECIES))]
    thrown = (Look.random(rng) for _ in itertools.count())
    closeness = float(rng.uniform(0, 1))
    return replace(next(look for look in thrown if look.species == species), style=style, closeness=closeness)


def choose_scene(rng: np.random.Generator, shipped_share: float, pair_share: float) -> Scene:
    people = 2 if rng.random() < pair_share else 1
    return Scene(tuple(choose_look(rng, shipped_share) for _ in range(people)))


def choose_feeling(rng: np.random.Generator, frames: int, change_share: float) -> Feeling:
    """Any emotion, strong or slight; some change within the stretch, and half of those to or from neutral."""

    def emotion() -> tuple[str, float]:
        full = rng.random() < 0.5
        return list(EMOTIONS)[rng.integers(len(EMOTIONS))], 1.0 if full else float(rng.uniform(0.35, 1.0))

    second = emotion()
    if rng.random() >= change_share:
        return Feeling(second, second)
    calm, at = ("neutral", 0.0), int(rng.integers(frames // 5, frames))
    first, second = [(emotion(), second), (calm, second), (second, calm)][rng.choice(3, p=(0.5, 0.25, 0.25))]
    return Feeling(first, second, at)


def pose_at(motion: Motion, mouth: np.ndarray, frame: int) -> Pose:
    """The drawn pose of one frame: `mouth` is frames x CHANNELS."""
    at = {name: float(getattr(motion, name)[frame]) for name in Motion.__dataclass_fields__}
    lips = dict(zip(CHANNELS, map(float, mouth[frame]), strict=True))
    return Pose(x=0.5 * at["yaw"], y=0.4 * at["pitch"], **at, **lips)


def poses_at(motion: Motion, mouths: np.ndarray, feelings: Sequence[Feeling], frame: int) -> tuple[Pose, ...]:
    """Everybody's pose: mouths is people x frames x 4.

    A picture has one motion, as the transformer has one motion input; of two people the right one mirrors the left."""
    poses = []
    for person, (mouth, feeling) in enumerate(zip(mouths, feelings, strict=True)):
        pose = pose_at(motion, mouth, frame)
        if person == 1:
            pose = replace(pose, yaw=-pose.yaw, roll=-pose.roll, x=-pose.x, gaze_x=-pose.gaze_x, sway=-pose.sway)
        poses.append(feeling.on(pose, frame))
    return tuple(poses)


def film(scene: Scene, motion: Motion, mouths: np.ndarray, feelings: Sequence[Feeling], size: int) -> np.ndarray:
    """All frames, f h w 3 uint8; mouths is people x frames x 4."""
    frames = range(mouths.shape[1])
    return np.stack([scene.render(poses_at(motion, mouths, feelings, frame), size) for frame in frames])


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
