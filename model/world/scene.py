"""One drawn person alone, or two side by side: who stands where, and where their faces are."""

from dataclasses import dataclass, replace

import numpy as np
import skia

from . import background
from .drawing import Box, Framing, draw_person, face_box, framing, mouth_box, render
from .look import Look
from .marks import marks
from .pose import Pose
from .shapes import Brush

# Of two people, in units of 1/256 of the picture's side: how large, how far down, and where their middles are.
SCALE, DOWN, CENTRES = 0.84, 26.0, (66.0, 190.0)


@dataclass(frozen=True)
class Scene:
    """From left to right. Two people stand before the left one's background; closeness is for one alone."""

    people: tuple[Look, ...]

    def __post_init__(self) -> None:
        if len(self.people) not in (1, 2):
            raise ValueError(f"one or two people fit into a picture, got {len(self.people)}")

    def render(self, poses: tuple[Pose, ...], size: int = 256) -> np.ndarray:
        """The picture (size, size, 3), uint8 RGB."""
        if len(self.people) == 1:
            return render(self.people[0], poses[0], size)
        surface = skia.Surface(size, size)
        canvas = surface.getCanvas()
        canvas.drawImage(background.picture(self.people[0], size), 0, 0)
        canvas.scale(size / 256, size / 256)
        for look, pose, frame in zip(self.people, poses, self.framings(), strict=True):
            canvas.save()
            canvas.translate(frame.right, frame.down)
            canvas.scale(frame.scale, frame.scale)
            draw_person(Brush(canvas, look.style), look, pose)
            canvas.restore()
        return np.ascontiguousarray(surface.toarray(colorType=skia.kRGBA_8888_ColorType)[:, :, :3])

    def face_boxes(self, size: int = 256) -> tuple[Box, ...]:
        """As `drawing.face_box`, one for each person."""
        return tuple(self._placed(face_box(look), place, size) for place, look in enumerate(self._framed()))

    def mouth_boxes(self, size: int = 256) -> tuple[Box, ...]:
        return tuple(self._placed(mouth_box(look), place, size) for place, look in enumerate(self._framed()))

    def marks(self, poses: tuple[Pose, ...]) -> np.ndarray:
        """Where each person's marks (model/world/marks.py) are in a picture of 256 pixels' side: people, marks, 2."""
        placed = zip(self.people, poses, self.framings(), strict=True)
        return np.stack([marks(look, pose) * frame.scale + [frame.right, frame.down] for look, pose, frame in placed])

    def framings(self) -> tuple[Framing, ...]:
        """Where each person's coordinates lie in the picture."""
        if len(self.people) == 1:
            return (framing(self.people[0]),)
        return tuple(Framing(SCALE, centre - 128 * SCALE, DOWN) for centre in CENTRES)

    def _framed(self) -> tuple[Look, ...]:
        """Two share one camera: nobody is closer."""
        return self.people if len(self.people) == 1 else tuple(replace(look, closeness=0.0) for look in self.people)

    def _placed(self, box: Box, place: int, size: int) -> Box:
        left, top, right, bottom = box
        if len(self.people) > 1:
            left, right = (CENTRES[place] + SCALE * (x - 128) for x in (left, right))
            top, bottom = (DOWN + SCALE * y for y in (top, bottom))
        edges = np.array([left, top, right, bottom]) * size / 256
        return tuple(int(edge) for edge in np.clip(np.round(edges), 0, size))
