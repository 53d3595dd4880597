"""True pictures to teach the instruments with: people they will judge, at all poses, some through the autoencoder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.evaluation.people import Sitters, through
from model.generator import Generator
from model.train.pictures import NEUTRAL, Feeling, poses_at, random_motion, random_mouth
from model.world.pose import Pose

FILM_FRAMES, SETTLED = 8, 2  # of a film for the autoencoder; so many are lost while its memory fills
FILM_SHARE = 0.25  # of the pictures come from films


@dataclass(frozen=True)
class Lesson:
    """Pictures of one scene f h w 3, and each person's pose in each of them."""

    sitters: Sitters
    frames: np.ndarray
    poses: list[tuple[Pose, ...]]


def lesson(
    rng: np.random.Generator, generator: Generator, sitters: Sitters, pictures: int, feelings: Sequence[Feeling] = ()
) -> Lesson:
    """So many pictures, most of them drawn; everybody in them feels the same, one of `feelings` or nothing."""
    films = max(1, round(pictures * FILM_SHARE / (FILM_FRAMES - SETTLED)))
    frames, poses = [], []
    for place in range(films + pictures - films * (FILM_FRAMES - SETTLED)):
        passed = place < films
        shown, held = _film(rng, sitters, FILM_FRAMES if passed else 1, feelings, generator.preset.width)
        frames.append(through(generator, sitters, shown)[SETTLED:] if passed else shown)
        poses += held[SETTLED:] if passed else held
    return Lesson(sitters, np.concatenate(frames), poses)


def _film(
    rng: np.random.Generator, sitters: Sitters, frames: int, feelings: Sequence[Feeling], size: int
) -> tuple[np.ndarray, list[tuple[Pose, ...]]]:
    people = len(sitters.scene.people)
    motion, mouths = random_motion(rng, frames), np.stack([random_mouth(rng, frames) for _ in range(people)])
    felt = [feelings[rng.integers(len(feelings))] if feelings else NEUTRAL] * people
    poses = [poses_at(motion, mouths, felt, frame) for frame in range(frames)]
    return np.stack([sitters.scene.render(pose, size) for pose in poses]), poses
