"""The procedural world: pictures of drawn people for any look and pose. Knows no sound and no time.

`render(look, pose)` takes a few milliseconds on one core and always gives the same picture for the same arguments.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import skia

from . import animal, background, body, face, hair, hat, mouth
from .look import Look
from .pose import JAW_DROP, REST, Pose, Rig
from .shapes import Brush, colour

Box = tuple[int, int, int, int]
ENLARGED = 0.4  # by how much a portrait is larger than an upper body
ROOM = np.array([17.0, 12.0])  # for a head's movements, to its sides and above


@dataclass(frozen=True)
class Framing:
    """Where the drawing lies in the picture: scaled, then moved, in units of 1/256 of the side."""

    scale: float
    right: float
    down: float


@lru_cache(maxsize=256)
def framing(look: Look) -> Framing:
    """The closer the larger, but all of the head and what is on it stays inside."""
    if look.closeness == 0:
        return Framing(1.0, 0.0, 0.0)
    top, reach = _extent(look)
    top, low = max(REST[1] + top - ROOM[1], 0.0), REST[1] + face.outline(look)[:, 1].max() + 16
    largest = min(256 / (low - top), 128 / (reach + ROOM[0]))
    scale = 1 + (min(1 + ENLARGED, max(largest, 1.0)) - 1) * look.closeness
    about_face, centred = REST[1] * (1 - scale), 128 - scale * (top + low) / 2
    down = max(about_face + (centred - about_face) * look.closeness, -scale * top)
    return Framing(scale, 128 * (1 - scale), down)


def _extent(look: Look) -> tuple[float, float]:
    """Highest y and largest x of the head with ears, hair and hat, in head coordinates; hair on the shoulders not."""
    shapes = [face.outline(look)]
    style = hair.styled(look)
    if look.hat == "none":
        shapes += [part.points for part in (*style.back, *style.mid, *style.front)]
    if look.species != "person":
        shapes.append(animal.ear(look.species).outer)
    points = np.concatenate([shape[:, :2] for shape in shapes])
    points = points[points[:, 1] < 50]
    hat_top, hat_reach = hat.extent(look)
    return min(points[:, 1].min(), hat_top), max(np.abs(points[:, 0]).max(), hat_reach)


def render(look: Look, pose: Pose, size: int = 256) -> np.ndarray:
    """The picture (size, size, 3), uint8 RGB."""
    pixels = np.zeros((size, size, 4), dtype=np.uint8)
    surface = skia.Surface(pixels, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType)
    canvas = surface.getCanvas()
    canvas.drawImage(background.picture(look, size), 0, 0)
    canvas.scale(size / 256, size / 256)
    frame = framing(look)
    canvas.translate(frame.right, frame.down)
    canvas.scale(frame.scale, frame.scale)
    draw_person(Brush(canvas, look.style), look, pose)
    surface.flushAndSubmit()
    rgb = np.empty((size, size, 3), dtype=np.uint8)
    for channel in range(3):  # four times faster than copying the slice at once
        rgb[:, :, channel] = pixels[:, :, channel]
    return rgb


def draw_person(brush: Brush, look: Look, pose: Pose) -> None:
    """Everything from back to front, at upper-body size whatever the look's closeness."""
    rig = Rig(pose)
    tones = face.Tones.of(colour(look.skin))
    human = look.species == "person"
    _draw_hair(brush, rig, look, "back")
    body.draw_hood(brush, rig, look)
    body.draw_neck(brush, rig, look, tones)
    body.draw_clothes(brush, rig, look, tones)
    if human:
        face.draw_ears(brush, rig, look, tones)
        _draw_hair(brush, rig, look, "mid")
        face.draw_earrings(brush, rig, look, covered=bool(hair.styled(look).mid))
    elif look.species != "dog":
        animal.draw_ears(brush, rig, look, tones)
    head = face.draw_head(brush, rig, look, tones)
    if human:
        face.draw_age(brush, rig, look, pose, tones)
        face.draw_beard(brush, rig, look, pose, head)
    else:
        animal.draw_markings(brush, rig, look, head)
        animal.draw_muzzle(brush, rig, look, tones, head)
        brush.contour(face.dropped_outline(rig, look), 2.4)
    mouth.draw(brush, rig, look, pose, tones.deep if human else animal.hollow(look))
    (face if human else animal).draw_nose(brush, rig, look, tones)
    face.draw_eyes(brush, rig, look, pose, tones)
    if look.species == "dog":
        animal.draw_ears(brush, rig, look, tones)
    face.draw_temples(brush, rig, look)
    _draw_hair(brush, rig, look, "front", head, tones.deep)
    hat.draw(brush, rig, look, head, tones.deep)
    face.draw_brows(brush, rig, look, pose)
    face.draw_glasses(brush, rig, look, tones)


def _draw_hair(brush: Brush, rig: Rig, look: Look, layer: str, clip=None, shadow=None) -> None:
    """A layer of hair, as far as a hat leaves it free."""
    behind_hat = layer == "back" and look.hair == "ponytail"
    if look.hat == "none" or behind_hat:
        hair.draw(brush, rig, look, layer, clip, shadow)
        return
    with brush.outside(hat.pressed(rig, look)):
        hair.draw(brush, rig, look, layer, clip, shadow)


def face_box(look: Look, size: int = 256) -> Box:
    """Left, top, right, bottom of the head at rest, forehead included; of hair, hats and animals' ears nothing above."""
    outline = face.outline(look)[:, :2] + REST
    left, top = outline.min(axis=0) - [9, 4]
    right, bottom = outline.max(axis=0) + [9, 2]
    return _scaled((left, top, right, bottom), framing(look), size)


def mouth_box(look: Look, size: int = 256) -> Box:
    """What the mouth and chin can change at rest pose: from under the nose to below the dropped chin."""
    outline = face.outline(look)
    x, y = REST
    cheeks = np.abs(outline[outline[:, 1] > 5, 0]).max() if look.species != "person" else 0.0
    reach = max(50.0 * look.face_width, cheeks + 3)
    box = (x - reach, y + 4, x + reach, min(y + outline[:, 1].max() + JAW_DROP + 22, 256))
    return _scaled(box, framing(look), size)


def _scaled(box: tuple[float, float, float, float], frame: Framing, size: int) -> Box:
    left, top, right, bottom = (
        (edge * frame.scale + moved) * size / 256
        for edge, moved in zip(box, 2 * (frame.right, frame.down), strict=True)
    )
    return (
        max(int(np.floor(left)), 0), max(int(np.floor(top)), 0),
        min(int(np.ceil(right)), size), min(int(np.ceil(bottom)), size),
    )  # fmt: skip
