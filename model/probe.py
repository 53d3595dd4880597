"""Reads mouths and emotions off pictures of the drawn world: the measuring instruments of the scores.

They are taught with true renders at all poses, so they know what the picture should look like and nothing of who generated
it. Mouths are read by a ridge regression for one person in one scene, emotions by one small network for all.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.train.pictures import NEUTRAL, Feeling, poses_at, random_motion, random_mouth
from model.world.drawing import Box
from model.world.scene import Scene

MOUTH_PICTURES, EMOTION_PICTURES, EMOTION_STEPS = 500, 3000, 700
FACE_SIZE = 64
POOL = 3  # pixels that become one


class Ridge:
    """A linear map from pixels of a box, and their squares, to some numbers."""

    def __init__(self, box: Box, pictures: np.ndarray, values: np.ndarray) -> None:
        x0, y0, x1, y1 = box
        self._box = slice(max(0, y0), min(256, y1)), slice(max(0, x0), min(256, x1))
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
        x0, y0, x1, y1 = scene.mouth_boxes()[person]
        self._ridge = Ridge((x0 - 12, y0 - 10, x1 + 12, y1 + 10), np.stack(pictures), np.stack(values))

    def read(self, frames: np.ndarray) -> np.ndarray:
        """frames f h w 3 -> f 4: open, width, round, bite."""
        return self._ridge.read(frames)


class EmotionProbe:
    """Tells which emotion a face shows: a small convolutional classifier, taught with true pictures of the scenes' people.

    What it is taught with is at least half as strong as can be."""

    def __init__(self, scenes: Sequence[Scene], names: Sequence[str], seed: int) -> None:
        rng, faces, shown = np.random.default_rng(seed), [], []
        self.names = tuple(names)
        for place in range(EMOTION_PICTURES):
            scene, number = scenes[place % len(scenes)], int(rng.integers(len(names)))
            emotion = (self.names[number], rng.uniform(0.5, 1.0))
            picture, _ = _render(rng, scene, [Feeling(emotion, emotion)] * len(scene.people))
            faces.append(_face(picture[None], scene.face_boxes()[0]))
            shown.append(number)
        self._network = _learned(torch.cat(faces), torch.tensor(shown), len(names), seed)

    @torch.inference_mode()
    def read(self, frames: np.ndarray, box: Box) -> list[str]:
        """frames f h w 3, in which the face is in the box -> the emotion seen in each."""
        return [self.names[number] for number in self._network(_face(frames, box)).argmax(1)]


def _face(frames: np.ndarray, box: Box) -> Tensor:
    """The face of each picture f h w 3, as f 3 FACE_SIZE FACE_SIZE around zero."""
    x0, y0, x1, y1 = box
    cut = torch.from_numpy(frames[:, y0:y1, x0:x1].astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
    return F.interpolate(cut, (FACE_SIZE, FACE_SIZE), mode="area")


@torch.inference_mode(False)
def _learned(faces: Tensor, shown: Tensor, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers, width = [], 3
    for channels in (24, 48, 64, 64):
        layers += [nn.Conv2d(width, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()]
        width = channels
    network = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(classes))
    network(faces[:2])
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, EMOTION_STEPS)
    for _ in range(EMOTION_STEPS):
        some = torch.randint(len(faces), (64,))
        # A generated picture is a little softer and flatter than a drawn one; that must not decide.
        seen = faces[some] * (0.85 + 0.3 * torch.rand(64, 1, 1, 1)) + 0.1 * torch.randn(64, 1, 1, 1)
        seen = torch.where(torch.rand(64, 1, 1, 1) < 0.5, seen, F.avg_pool2d(seen, 3, 1, 1))
        loss = F.cross_entropy(network(seen), shown[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _render(rng: np.random.Generator, scene: Scene, feelings: Sequence[Feeling]) -> tuple[np.ndarray, np.ndarray]:
    """A picture at a random pose, and everybody's mouth, n 4."""
    motion, mouths = random_motion(rng, 1), np.stack([random_mouth(rng, 1) for _ in scene.people])
    return scene.render(poses_at(motion, mouths, feelings, 0)), mouths[:, 0]
