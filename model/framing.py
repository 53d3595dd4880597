"""How a face must sit in the picture of a model that knows one framing only, and the cut that puts it there.

Pure geometry on a detector's boxes; finds no faces. The numbers are the embedded model's world's: what the detector of
model/faces.py says of its people at rest. Shares are of the picture's side, which is a square's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from model.masks import Box

Shares = tuple[float, float, float, float]  # left, top, right, bottom

# Where a detected face is in a picture of one person, and of two: middle and side.
PLACES = {1: ((0.497, 0.471, 0.42),), 2: ((0.256, 0.497, 0.353), (0.740, 0.497, 0.353))}
# The whole face, from the hair's edge to under the chin, from the middle of a detected one and by its side.
FACE = (-0.52, -0.64, 0.53, 0.58)


@dataclass(frozen=True)
class Cut:
    """A square of a picture, in its pixels; it may reach beyond the edges."""

    left: float
    top: float
    side: float

    def shares(self, box: Box) -> Shares:
        """The whole face around a detected box, in the square."""
        left, top, width, height = box
        middle_x, middle_y = (left + width / 2 - self.left) / self.side, (top + height / 2 - self.top) / self.side
        size = math.sqrt(width * height) / self.side
        edges = zip((middle_x, middle_y, middle_x, middle_y), FACE, strict=True)
        return tuple(min(1.0, max(0.0, middle + size * way)) for middle, way in edges)


def cut_for(boxes: Sequence[Box]) -> Cut:
    """The square in which these faces, from left to right, are as near as can be to where the model expects them.

    Raises ValueError for more faces than it knows."""
    if len(boxes) not in PLACES:
        raise ValueError(f"there are {len(boxes)} faces, and this model knows pictures of one person or two")
    places = np.array(PLACES[len(boxes)])
    left, top, width, height = np.array(boxes, float).T
    faces = np.stack((left + width / 2, top + height / 2, np.sqrt(width * height)), 1)
    sides = faces[:, 2].mean() / places[:, 2].mean()
    if len(boxes) == 2:  # between the right size and the right distance
        apart = (faces[1, 0] - faces[0, 0]) / (places[1, 0] - places[0, 0])
        sides = max(math.sqrt(sides * max(apart, 1.0)), apart)
    left, top = faces[:, :2].mean(0) - places[:, :2].mean(0) * sides
    return Cut(float(left), float(top), float(sides))


def cut_out(picture: Image.Image, cut: Cut, size: int) -> Image.Image:
    """The square at size x size. Beyond the picture its edge goes on."""
    scale = size / cut.side
    edges = (cut.left, cut.top, cut.left + cut.side, cut.top + cut.side)
    inside = [min(max(edge, 0), picture.size[axis % 2]) for axis, edge in enumerate(edges)]
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ValueError("the face is outside the picture")
    before = [round((inside[axis] - edges[axis]) * scale) for axis in (0, 1)]
    shown = [min(size - before[axis], max(1, round((inside[axis + 2] - inside[axis]) * scale))) for axis in (0, 1)]
    part = np.asarray(picture.resize(tuple(shown), Image.Resampling.LANCZOS, box=tuple(inside)))
    after = [size - before[axis] - shown[axis] for axis in (0, 1)]
    return Image.fromarray(np.pad(part, ((before[1], after[1]), (before[0], after[0]), (0, 0)), "edge"))
