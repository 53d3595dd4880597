"""The procedural world: pictures of drawn people for any look and pose. Knows no sound and no time.

`render(look, pose)` takes a few milliseconds on one core and always gives the same picture for the same arguments.
"""

import numpy as np
import skia

from . import background, body, face, hair, mouth
from .look import Look
from .pose import JAW_DROP, REST, Pose, Rig
from .shapes import Brush, colour

Box = tuple[int, int, int, int]


def render(look: Look, pose: Pose, size: int = 256) -> np.ndarray:
    """The picture (size, size, 3), uint8 RGB."""
    pixels = np.zeros((size, size, 4), dtype=np.uint8)
    surface = skia.Surface(pixels, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType)
    canvas = surface.getCanvas()
    canvas.drawImage(background.picture(look, size), 0, 0)
    canvas.scale(size / 256, size / 256)
    draw_person(Brush(canvas), look, pose)
    surface.flushAndSubmit()
    rgb = np.empty((size, size, 3), dtype=np.uint8)
    for channel in range(3):  # four times faster than copying the slice at once
        rgb[:, :, channel] = pixels[:, :, channel]
    return rgb


def draw_person(brush: Brush, look: Look, pose: Pose) -> None:
    """Everything from back to front."""
    rig = Rig(pose)
    tones = face.Tones.of(colour(look.skin))
    hair.draw(brush, rig, look, "back")
    body.draw_hood(brush, rig, look)
    body.draw_neck(brush, rig, look, tones)
    body.draw_clothes(brush, rig, look, tones)
    face.draw_ears(brush, rig, look, tones)
    hair.draw(brush, rig, look, "mid")
    face.draw_earrings(brush, rig, look, covered=bool(hair.styled(look).mid))
    head = face.draw_head(brush, rig, look, tones)
    face.draw_age(brush, rig, look, pose, tones)
    face.draw_beard(brush, rig, look, pose, head)
    mouth.draw(brush, rig, look, pose, tones.deep)
    face.draw_nose(brush, rig, look, tones)
    face.draw_eyes(brush, rig, look, pose, tones)
    face.draw_temples(brush, rig, look)
    hair.draw(brush, rig, look, "front", head, tones.deep)
    face.draw_brows(brush, rig, look, pose)
    face.draw_glasses(brush, rig, look, tones)


def face_box(look: Look, size: int = 256) -> Box:
    """Left, top, right, bottom of the head at rest, ears and forehead included, hair that stands out not."""
    outline = face.outline(look)[:, :2] + REST
    left, top = outline.min(axis=0) - [9, 4]
    right, bottom = outline.max(axis=0) + [9, 2]
    return _scaled((left, top, right, bottom), size)


def mouth_box(look: Look, size: int = 256) -> Box:
    """What the mouth and chin can change at rest pose: from under the nose to below the dropped chin."""
    chin = face.outline(look)[:, 1].max() + JAW_DROP
    x, y = REST
    reach = 50.0 * look.face_width
    return _scaled((x - reach, y + 8, x + reach, min(y + chin + 22, 256)), size)


def _scaled(box: tuple[float, float, float, float], size: int) -> Box:
    scale = size / 256
    left, top, right, bottom = (v * scale for v in box)
    return (
        max(int(np.floor(left)), 0), max(int(np.floor(top)), 0),
        min(int(np.ceil(right)), size), min(int(np.ceil(bottom)), size),
    )  # fmt: skip
