"""What makes a drawn head an animal's: ears, fur markings, muzzle, nose and whiskers. Eyes and lips are as everybody's."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import skia

from .face import Tones
from .look import Look
from .pose import Rig
from .shapes import INK, WHITE, Brush, Colour, colour, ellipse, luminance, mirror, mix, multiply, smoothstep, spline, taper

EAR_SWAY = 14.0  # how far the tips of the ears hang behind at most
BLACK_NOSE: Colour = (0.16, 0.12, 0.13)
PINK: Colour = (0.90, 0.60, 0.60)


@dataclass(frozen=True)
class Ear:
    """The right ear (n, 3) at rest, what is inside it, and where it grows from."""

    outer: np.ndarray
    inner: np.ndarray
    root_y: float
    hangs: bool = False


@dataclass(frozen=True)
class Fur:
    base: Colour
    pale: Colour  # muzzle and chest
    marks: Colour
    nose: Colour

    @classmethod
    def of(cls, look: Look) -> "Fur":
        base = colour(look.skin)
        nose = PINK if look.species in ("rabbit", "cat") and look.details % 3 else BLACK_NOSE
        return cls(base, mix(base, (1.0, 0.97, 0.92), 0.78 if look.species == "fox" else 0.6),
                   colour(look.hair_colour), multiply(nose, (0.9, 0.85, 0.85)))  # fmt: skip


@lru_cache(maxsize=8)
def ear(species: str) -> Ear:
    outer, inner = {
        "cat": (
            [(12, -50), (24, -68), (39, -90), (43.5, -91), (49, -72), (52, -44), (47, -20), (22, -34)],
            [(23, -52), (32, -68), (40, -80), (44.5, -66), (46, -44), (36, -34)],
        ),
        "fox": (
            [(10, -49), (22, -70), (39, -95), (43.5, -96), (50, -74), (53, -44), (47, -18), (20, -34)],
            [(22, -52), (31, -70), (40, -84), (45, -66), (46.5, -44), (36, -34)],
        ),
        "bear": (
            [(22, -50), (25, -64), (36, -73), (50, -71), (59, -60), (58, -46), (51, -34), (36, -38)],
            [(32, -53), (36, -62), (45, -64), (52, -58), (51, -47), (42, -42)],
        ),
        "rabbit": (
            [(6, -50), (9, -72), (16, -94), (24, -100), (31, -94), (33, -76), (30, -56), (25, -40), (12, -40)],
            [(13.5, -52), (16, -74), (21, -88), (26, -86), (27, -74), (24.5, -54), (18, -46)],
        ),
        "dog": (
            [(30, -50), (44, -50), (57, -38), (65, -14), (67, 10), (60, 24), (51, 21), (46, 4), (43, -16), (36, -34)],
            [(46, -36), (55, -24), (60, -4), (60, 8), (55, 8), (50, -8)],
        ),
    }[species]
    solid = [np.column_stack([spline(p, 6, closed=True), np.full(6 * len(p), -8.0)]) for p in (outer, inner)]
    return Ear(*solid, root_y=-44.0, hangs=species == "dog")


def draw_ears(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    """Standing ears are drawn before the head, hanging ones after it."""
    shape, fur = ear(look.species), Fur.of(look)
    pink = mix(fur.base, PINK, 0.62) if look.species != "bear" else fur.pale
    for side in (-1, 1):
        tone = fur.base if side < 0 else mix(tones.base, tones.shade, 0.55)
        if shape.hangs:
            tone = mix(fur.marks, tones.base, 0.1 if side < 0 else 0.0)
        outer = _swayed(rig, shape, shape.outer, side, look)
        brush.shape(outer, tone)
        if look.species == "fox":
            with brush.inside(outer):
                tip = np.array([(0, -74), (34, -74), (40, -68), (70, -74), (70, -120), (0, -120)], dtype=float)
                brush.fill(_swayed(rig, shape, np.column_stack([tip, np.full(6, -8.0)]), side, look), fur.marks)
            brush.contour(outer)
        if not shape.hangs:
            brush.fill(_swayed(rig, shape, shape.inner, side, look), pink)


def _swayed(rig: Rig, shape: Ear, points: np.ndarray, side: int, look: Look) -> np.ndarray:
    moved = rig.head(points * [side * look.face_width, 1, 1])
    moved[:, 0] += EAR_SWAY * rig.sway * smoothstep(0, 60, np.abs(points[:, 1] - shape.root_y))
    return moved


def draw_markings(brush: Brush, rig: Rig, look: Look, head: skia.Path) -> None:
    """Patches and stripes in the fur, inside the head."""
    fur = Fur.of(look)
    with brush.inside(head):
        _MARKINGS[look.species](brush, rig, look, fur)


def _draw_stripes(brush: Brush, rig: Rig, look: Look, fur: Fur) -> None:
    for x, top, low in ((-13, -50, -33), (0, -56, -30), (13, -50, -33)):
        line = rig.face(spline([(x * 1.25, top), (x, (top + low) / 2), (x * 0.85, low)], 6), 1.0)
        brush.fill(taper(line, np.linspace(6.0, 1.5, len(line))), fur.marks, 0.9)
    for side in (-1, 1):
        for y in (9, 20):
            line = rig.face(spline([(side * 57, y - 3), (side * 47, y), (side * 39, y + 2)], 6), 1.0)
            brush.fill(taper(line, np.linspace(5.4, 1.2, len(line))), fur.marks, 0.9)


def _draw_patch(brush: Brush, rig: Rig, look: Look, fur: Fur) -> None:
    """A dog has a patch about one eye or a pale blaze between both."""
    if look.details % 2:
        side = 1 if look.details % 4 == 1 else -1
        brush.fill(rig.face(ellipse(side * 24, -7, 20, 22)), mix(fur.marks, fur.base, 0.25))
    else:
        blaze = mirror([(0, -54.5), (8, -52), (6.5, -36), (5, -16), (8, 4), (16, 18), (0, 24)])
        brush.fill(rig.face(spline(blaze, 6, closed=True), 0.5), fur.pale)


def _draw_mask(brush: Brush, rig: Rig, look: Look, fur: Fur) -> None:
    """A fox's pale cheeks."""
    for side in (-1, 1):
        cheek = [(1, 16), (10, 13), (22, 16), (36, 14), (48, 10), (66, 16), (66, 40), (40, 66), (0, 70)]
        cheek = spline(cheek, 6, closed=True)
        brush.fill(rig.face(cheek * [side, 1], 0.5, jaw=True), fur.pale)


def _draw_nothing(brush: Brush, rig: Rig, look: Look, fur: Fur) -> None:
    """Bears and rabbits are of one colour."""


_MARKINGS = {"cat": _draw_stripes, "dog": _draw_patch, "fox": _draw_mask, "bear": _draw_nothing, "rabbit": _draw_nothing}

# The right half of the muzzle, which the mouth never leaves: wider than the widest lips.
_MUZZLES = {
    "cat": [(0, 12), (9, 12), (22, 17), (33, 26), (36, 37), (31, 48), (18, 57), (0, 60)],
    "dog": [(0, 4), (9, 5), (18, 12), (32, 21), (38, 34), (35, 48), (21, 59), (0, 62)],
    "fox": [(0, -4), (6, 2), (12, 12), (26, 22), (34, 32), (32, 46), (18, 58), (0, 61)],
    "bear": [(0, 3), (14, 5), (28, 14), (37, 27), (38, 40), (31, 52), (17, 60), (0, 62)],
    "rabbit": [(0, 12), (9, 12), (22, 17), (33, 26), (36, 38), (30, 50), (17, 58), (0, 60)],
}  # fmt: skip


def draw_muzzle(brush: Brush, rig: Rig, look: Look, tones: Tones, head: skia.Path) -> None:
    fur = Fur.of(look)
    shape = rig.face(spline(mirror(_MUZZLES[look.species]), 6, closed=True), 2.0, jaw=True)
    with brush.inside(head):
        if not brush.crisp and look.species != "fox":
            brush.fill(shape + [1.2, 2.0], tones.deep, 0.22, blur=2.0)
        brush.fill(shape, fur.pale)
    if not brush.crisp:
        brush.glow(rig.spot(-12, 24), 20, WHITE, 0.18)


def hollow(look: Look) -> Colour:
    """The tone of the shade under an animal's lower lip."""
    return multiply(Fur.of(look).pale, (0.78, 0.72, 0.70))


def draw_nose(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    """The nose with the line below it, and the whiskers."""
    fur = Fur.of(look)
    big = {"cat": 0.8, "rabbit": 0.74, "fox": 0.95, "dog": 1.12, "bear": 1.18}[look.species]
    wide = 11.5 * big * (0.5 + 0.5 * look.nose_width)
    y = 11.5
    right = np.array([(0, -4.8), (0.6, -5.2), (1, -2), (0.72, 3.4), (0, 7.6)]) * [wide, big] + [0, y]
    nose = rig.face(spline(mirror(right), 6, closed=True), 8.0)
    line = INK if brush.inked else multiply(fur.pale, (0.5, 0.4, 0.4))
    below = rig.face([(0, y + 5), (0, 28.5)], 4.0)
    brush.stroke(below, line, 1.9, 0.9)
    brush.shape(nose, fur.nose, ink=1.9)
    brush.fill(rig.face(ellipse(-0.30 * wide, y - 2.6 * big, 0.34 * wide, 1.5 * big, 16), 8.5), WHITE, 0.55)
    if look.species in ("cat", "rabbit", "fox"):
        _draw_whiskers(brush, rig, fur, line)


def _draw_whiskers(brush: Brush, rig: Rig, fur: Fur, line: Colour) -> None:
    ink = line if luminance(fur.base) > 0.42 or line == INK else mix(fur.pale, WHITE, 0.6)
    for side in (-1, 1):
        for y, end in ((24, 18), (29, 29), (34, 39)):
            whisker = np.array([(side * 31, y, 26.0), (side * 48, (y + end) / 2 - 1, 14), (side * 68, end, 4)])
            curve = rig.head(spline(whisker, 6))
            brush.fill(taper(curve, np.linspace(2.7, 1.3, len(curve))), ink, 0.9)
