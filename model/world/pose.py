"""What moves in a picture of a person, and the rig that carries points of the head along: draws nothing.

Head coordinates: x to the right of the picture, y down, z towards the viewer, in units of 1/256 of the picture's
side, origin in the middle of the head, which rests at (128, 118).
"""

from dataclasses import dataclass

import numpy as np

from .shapes import smoothstep

REST = np.array([128.0, 118.0])
PIVOT = np.array([0.0, 30.0, -12.0])  # the head turns about the top of the neck, not about the nose
MAX_TURN_RAD = np.radians(12.0)
SHIFT = 6.0
JAW_DROP = 18.0
FOCAL = 620.0  # mild perspective: the near cheek grows, the far one shrinks
FACE_DEPTH = 46.0


@dataclass(frozen=True)
class Pose:
    """Everything that changes from picture to picture.

    Head: yaw, pitch, roll in -1..1 (about 12 degrees; positive is to the picture's right, up, clockwise), x and y in
    -1..1 (about 6 units; positive is right, down). Eyes: blink 0..1, gaze -1..1 (positive is right, up), lids -1 squeezed
    ..1 wide open, brow -1..1 (positive is raised), slant -1 inner ends of the brows down..1 up. breath 0..1. Mouth: open
    0..1, width -1 narrow..1 spread, round 0..1, bite 0..1 (lower lip under the upper teeth), smile -1 corners down..1 up.
    sway -1..1: how far hanging hair, earrings and animals' ears are behind the head, to the picture's right.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    blink: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    lids: float = 0.0
    brow: float = 0.0
    slant: float = 0.0
    breath: float = 0.0
    open: float = 0.0
    width: float = 0.0
    round: float = 0.0
    bite: float = 0.0
    smile: float = 0.0
    sway: float = 0.0

    @classmethod
    def neutral(cls) -> "Pose":
        return cls()


class Rig:
    """Maps head and body coordinates to the picture for one pose."""

    def __init__(self, pose: Pose):
        yaw, pitch, roll = (MAX_TURN_RAD * a for a in (pose.yaw, pose.pitch, pose.roll))
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        turn_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        self._turn = (turn_x @ turn_y).T
        self._roll = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]).T
        shift = REST + SHIFT * np.array([pose.x, pose.y]) + [0, -0.5 * pose.breath]
        self._turn_shift = PIVOT - PIVOT @ self._turn
        self._roll_shift = PIVOT[:2] - PIVOT[:2] @ self._roll + shift
        self._body_shift = REST + [1.6 * pose.yaw + 1.4 * pose.x, 1.2 * pose.y - 1.8 * pose.breath]
        self.jaw = JAW_DROP * pose.open * (1 - 0.25 * pose.round) * (1 - 0.85 * pose.bite)
        self.breath = pose.breath
        self.sway = pose.sway

    def head(self, points) -> np.ndarray:
        """Points (n, 3) fixed to the skull, in the picture (n, 2)."""
        p = np.asarray(points, dtype=float)
        turned = p @ self._turn + self._turn_shift
        scale = (FOCAL + turned[:, 2:]) / (FOCAL + p[:, 2:])
        return (turned[:, :2] * scale) @ self._roll + self._roll_shift

    def body(self, points) -> np.ndarray:
        """Points (n, 2) of shoulders and chest: they sway little, and lift with the breath."""
        p = np.asarray(points, dtype=float)
        spread = 1 + 0.006 * self.breath
        return p * [spread, 1] + self._body_shift

    def between(self, points, follow) -> np.ndarray:
        """Points (n, 3) that follow the head by `follow` (n,) in 0..1 and the body for the rest (neck, long hair)."""
        p = np.asarray(points, dtype=float)
        amount = np.asarray(follow, dtype=float)[..., None]
        return self.head(p) * amount + self.body(p[:, :2]) * (1 - amount)

    def face(self, points, lift: float = 0.0, jaw: bool = False) -> np.ndarray:
        """Points (n, 2) on the face's surface, `lift` above it; with `jaw` the lower face drops as the mouth opens."""
        p = np.asarray(points, dtype=float)
        if jaw:
            p = self.dropped(p)
        solid = np.empty((len(p), 3))
        solid[:, :2] = p
        solid[:, 2] = surface(p) + lift
        return self.head(solid)

    def dropped(self, points: np.ndarray) -> np.ndarray:
        """The points after the jaw has dropped; upper face unchanged, cheeks drawn in a little."""
        amount = smoothstep(8.0, 58.0, points[:, 1])
        moved = points.copy()
        moved[:, 1] += self.jaw * amount
        moved[:, 0] *= 1 - 0.0022 * self.jaw * smoothstep(5.0, 40.0, points[:, 1])
        return moved

    def spot(self, x: float, y: float, lift: float = 0.0) -> np.ndarray:
        """One point on the face."""
        return self.face([[x, y]], lift)[0]


def surface(points: np.ndarray) -> np.ndarray:
    """Depth (n,) of the face at points (n, 2+): an ellipsoid, flat outside."""
    inside = 1 - (points[:, 0] / 50) ** 2 - (np.minimum(points[:, 1], 60) / 82) ** 2
    return FACE_DEPTH * np.sqrt(np.maximum(inside, 0.0))
