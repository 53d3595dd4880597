"""Where in a picture a person's face, eyes and mouth are, and how to cut them out upright however the head is held.

A head's position is a row of yaw, pitch, roll, x and y as in model/world/pose.py. What is cut out lies as on a head at
rest, so that a mouth that is carried about by the head is none that moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from model.world.drawing import Box
from model.world.pose import Pose, Rig
from model.world.scene import Scene

HEAD = ("yaw", "pitch", "roll", "x", "y")
MARGIN = 14  # around the box of a face, for its movements
FACE_SIDE = 32


@dataclass(frozen=True)
class Part:
    """A window on the face, in head coordinates, and how many pixels it becomes."""

    left: float
    top: float
    right: float
    bottom: float
    columns: int
    rows: int
    marks: tuple[tuple[float, float], ...]  # three points of the face by which it is held

    def rest(self) -> np.ndarray:
        """The marks in the cut-out, 3 2."""
        scale = np.array([self.columns / (self.right - self.left), self.rows / (self.bottom - self.top)])
        upright = Rig(Pose.neutral()).face(self.marks) - Rig(Pose.neutral()).head([[0.0, 0.0, 0.0]])
        return ((upright - [self.left, self.top]) * scale).astype(np.float32)


MOUTH = Part(-38, 10, 38, 82, 40, 38, ((-22, 36), (22, 36), (0, 56)))
EYES = Part(-44, -34, 44, 14, 44, 24, ((-22, -3), (22, -3), (0, -25)))
FACE = Part(-52, -52, 52, 76, 44, 54, ((-22, -3), (22, -3), (0, 40)))


@dataclass(frozen=True)
class Place:
    """One person's place in a picture of `size` pixels: where head coordinates lie, and the box of the face at rest."""

    scale: float
    right: float
    down: float
    box: Box

    @classmethod
    def of(cls, scene: Scene, person: int, size: int) -> "Place":
        frame, unit, margin = scene.framings()[person], size / 256, MARGIN * size // 256
        left, top, end, bottom = scene.face_boxes(size)[person]
        box = max(0, left - margin), max(0, top - margin), min(size, end + margin), min(size, bottom + margin)
        return cls(frame.scale * unit, frame.right * unit, frame.down * unit, box)

    def whole(self, frames: np.ndarray) -> np.ndarray:
        """frames f h w 3 -> the surroundings of the face as they are, f pixels in 0 … 1."""
        left, top, right, bottom = self.box
        small = [
            cv2.resize(frame[top:bottom, left:right], (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)
            for frame in frames
        ]
        return np.stack(small).reshape(len(frames), -1).astype(np.float32) / 255

    def upright(self, part: Part, frames: np.ndarray, heads: Sequence[np.ndarray]) -> np.ndarray:
        """frames f h w 3 and their heads f 5 -> the part of each, f 3 rows columns uint8."""
        rest, cut = 2 * part.rest(), []
        for frame, head in zip(frames, heads, strict=True):
            marks = Rig(Pose(**dict(zip(HEAD, map(float, head), strict=True)))).face(part.marks)
            seen = (marks * self.scale + [self.right, self.down]).astype(np.float32)
            large = cv2.warpAffine(
                frame, cv2.getAffineTransform(seen, rest), (2 * part.columns, 2 * part.rows),
                flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            cut.append(cv2.resize(large, (part.columns, part.rows), interpolation=cv2.INTER_AREA))
        return np.stack(cut).transpose(0, 3, 1, 2)
