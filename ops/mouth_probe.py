"""Reads the mouth of one known person off pictures of the drawn world, after seconds of teaching.

It is taught with true renders at all poses, so it knows what the picture should look like and nothing of who generated it.
A ridge regression is enough to tell open from shut; model/evaluation/readers.py has the instruments for scores.
"""

from collections.abc import Sequence

import numpy as np

from model.train.pictures import NEUTRAL, Feeling, poses_at, random_motion, random_mouth
from model.world.drawing import Box
from model.world.scene import Scene

SIZE = 256  # of the pictures that are read, in pixels
MOUTH_PICTURES = 500
POOL = 3  # pixels that become one


class Ridge:
    """A linear map from pixels of a box, and their squares, to some numbers."""

    def __init__(self, box: Box, pictures: np.ndarray, values: np.ndarray) -> None:
        x0, y0, x1, y1 = box
        self._box = slice(max(0, y0), min(SIZE, y1)), slice(max(0, x0), min(SIZE, x1))
        x = self._features(pictures)
        self._mean, self._offset = x.mean(0), values.mean(0)
        x = x - self._mean
        kernel = x @ x.T
        ridge = 1e-3 * np.trace(kernel) / len(x)
        self._weights = x.T @ np.linalg.solve(kernel + ridge * np.eye(len(x)), values - self._offset)

    def _features(self, frames: np.ndarray) -> np.ndarray:
        cut = frames[:, *self._box].astype(np.float32) / 255
        rows, columns = (n // POOL * POOL for n in cut.shape[1:3])
        cut = cut[:, :rows, :columns].reshape(len(cut), rows // POOL, POOL, columns // POOL, POOL, 3).mean((2, 4))
        flat = cut.reshape(len(cut), -1)
        return np.concatenate((flat, flat**2), 1)

    def read(self, frames: np.ndarray) -> np.ndarray:
        """frames f h w 3 uint8 -> f values."""
        return (self._features(frames) - self._mean) @ self._weights + self._offset


class MouthProbe:
    def __init__(self, scene: Scene, person: int, seed: int) -> None:
        rng, pictures, values = np.random.default_rng(seed), [], []
        for _ in range(MOUTH_PICTURES):
            picture, mouths = _render(rng, scene, [NEUTRAL] * len(scene.people))
            pictures.append(picture)
            values.append(mouths[person])
        x0, y0, x1, y1 = scene.mouth_boxes(SIZE)[person]
        self._ridge = Ridge((x0 - 12, y0 - 10, x1 + 12, y1 + 10), np.stack(pictures), np.stack(values))

    def read(self, frames: np.ndarray) -> np.ndarray:
        """frames f SIZE SIZE 3 uint8 -> f 4: open, width, round, bite."""
        return self._ridge.read(frames)


def _render(rng: np.random.Generator, scene: Scene, feelings: Sequence[Feeling]) -> tuple[np.ndarray, np.ndarray]:
    """A picture at a random pose, and everybody's mouth, n 4."""
    motion, mouths = random_motion(rng, 1), np.stack([random_mouth(rng, 1) for _ in scene.people])
    return scene.render(poses_at(motion, mouths, feelings, 0), SIZE), mouths[:, 0]
