"""Points of a drawn face that are known in every pose: where a portrait's pixels go, without drawing it."""

import numpy as np

from . import face, hair
from .look import Look
from .pose import Pose, Rig

# Skin between brow and jaw, as a grid; mouth and eyes are not carried by it, and brows have marks of their own.
_SKIN = np.array(
    [
        (x, y)
        for y in (-6.0, 4.0, 12.0, 20.0, 30.0, 42.0, 54.0)
        for x in (-40.0, -29.0, -10.0, 0.0, 10.0, 29.0, 40.0)
        if (abs(x) > 26 or y < 21) and (x / 50) ** 2 + (y / 72) ** 2 < 0.85
    ]
)
_EDGES = 20  # marks along the edge of the head, and as many along its hair
_INSIDE = np.array([0.94, 0.94, 1.0])  # just within an edge, where it is the head that moves
_IRIS = np.array([(0.0, 0.0), (-0.6, 0.0), (0.6, 0.0), (0.0, 0.6), (0.0, -0.5)])  # in its radius
HIDDEN_BY_LID = 0.3  # of a blink: from there on an iris is not to be seen


def marks(look: Look, pose: Pose) -> np.ndarray:
    """n 2, as yet without framing (as Rig gives them); nan where a mark is covered. The same order for every look, the
    irises last."""
    rig, sides = Rig(pose), (-1, 1)
    edge = _some(face.outline(look)) * _INSIDE
    return np.concatenate(
        [
            rig.face(_SKIN * [look.face_width, 1], jaw=True),
            rig.head(np.column_stack([rig.dropped(edge[:, :2]), edge[:, 2]])),
            _hair(rig, look),
            *(rig.face(face.brow_line(look, pose, side)[1:-1:3], face.BROW_LIFT) for side in sides),
            *(_iris(rig, look, pose, side) for side in sides),
        ]
    )


def _hair(rig: Rig, look: Look) -> np.ndarray:
    front = hair.styled(look).front
    if not front or look.hat != "none" or look.species != "person":
        return np.full((_EDGES, 2), np.nan)
    points = _some(np.concatenate([part.points for part in front]))
    hangs = points[:, 1] > 0  # and sways
    return np.where(hangs[:, None], np.nan, rig.head(points * _INSIDE))


def _iris(rig: Rig, look: Look, pose: Pose, side: int) -> np.ndarray:
    points = rig.face(face.iris_at(look, pose, side) + face.iris_radius(look) * _IRIS, face.IRIS_LIFT)
    return points if pose.blink < HIDDEN_BY_LID else np.full_like(points, np.nan)


def _some(points: np.ndarray) -> np.ndarray:
    return points[np.linspace(0, len(points), _EDGES, endpoint=False).astype(int)]


IRIS_MARKS = len(_IRIS)
MARKS = len(marks(Look(), Pose.neutral()))
IRISES = slice(MARKS - 2 * IRIS_MARKS, MARKS)  # of both eyes
