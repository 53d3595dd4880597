"""Everything on a drawn head but mouth and hair: skin, ears, eyes, brows, nose, beard, glasses, earrings."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import skia

from . import mouth
from .look import Look
from .pose import Pose, Rig, surface
from .shapes import (
    INK,
    WHITE,
    Brush,
    Colour,
    colour,
    ellipse,
    linear,
    luminance,
    mirror,
    mix,
    multiply,
    path,
    radial,
    smoothstep,
    spline,
    taper,
)  # fmt: skip

EYE_X, EYE_Y = 20.5, -3.0
BROW_Y = -21.0
NOSE_Y = 19.0
IRIS_LIFT, BROW_LIFT = 1.5, 2.0  # above the face's surface


@dataclass(frozen=True)
class Tones:
    """A skin's colours under the one light, which comes from the upper left."""

    light: Colour
    base: Colour
    shade: Colour
    deep: Colour
    line: Colour
    blush: Colour

    @classmethod
    def of(cls, skin: Colour) -> "Tones":
        bright = luminance(skin)
        return cls(
            light=mix(skin, (1.0, 0.93, 0.83), 0.34 if bright > 0.5 else 0.20),
            base=skin,
            shade=multiply(skin, (0.87, 0.75, 0.71)),
            deep=multiply(skin, (0.70, 0.53, 0.50)),
            line=multiply(skin, (0.48, 0.32, 0.31)),
            blush=mix(multiply(skin, (1.0, 0.62, 0.58)), (0.93, 0.36, 0.34), 0.30),
        )


# The right halves of animals' heads: broad cheeks, a low brow, some with tufts of fur.
_ANIMAL_HEADS = {
    "cat": [(0, -55, -4), (18, -53, -4), (34, -45, -4), (46, -30, -4), (51, -10, -3), (52.5, 8, 0), (56, 21, 2),
            (57, 27, 3), (50, 33, 6), (49, 41, 9), (36, 51, 15), (19, 60, 24), (0, 62.5, 30)],
    "dog": [(0, -58, -4), (18, -56, -4), (33, -48, -4), (44, -32, -4), (48, -12, -3), (48, 8, 0), (46, 24, 4),
            (42, 40, 10), (34, 53, 16), (20, 62, 24), (0, 64.5, 30)],
    "fox": [(0, -54, -4), (18, -52, -4), (34, -44, -4), (46, -28, -4), (51, -8, -3), (55, 8, 0), (62, 20, 2),
            (63, 25, 3), (53, 32, 6), (50, 41, 9), (36, 50, 15), (19, 60, 24), (0, 63.5, 30)],
    "bear": [(0, -57, -4), (20, -55, -4), (37, -46, -4), (49, -29, -4), (53, -8, -3), (54, 12, 0), (52, 30, 5),
             (44, 46, 10), (30, 58, 18), (16, 63, 25), (0, 64.5, 30)],
    "rabbit": [(0, -56, -4), (17, -54, -4), (32, -45, -4), (42, -30, -4), (47, -10, -3), (51, 10, 0), (52.5, 27, 4),
               (46, 43, 9), (33, 54, 16), (17, 61, 24), (0, 63, 30)],
}  # fmt: skip


@lru_cache(maxsize=64)
def outline(look: Look) -> np.ndarray:
    """The head's outline (n, 3) at rest."""
    jaw, chin, cheek, wide = look.jaw, 2.5 * look.chin, look.cheeks, look.face_width
    if look.species != "person":
        points = mirror(_ANIMAL_HEADS[look.species])
        points[:, 0] *= wide
        return spline(points, steps=6, closed=True)
    right = [
        (0, -62, -4), (17, -58.8, -4), (31, -49.5, -4), (40.8, -35, -4), (46, -18, -4), (47.4, -3, -3),
        (46.2 + cheek, 11, 0),
        (42 + 1.5 * cheek + 1.5 * jaw, 27, 5), (34 + 4.5 * jaw, 43 + 1.5 * jaw, 13),
        (19.5 + 4 * jaw, 57 + chin, 23), (8 + 2.5 * jaw, 62 + chin, 29), (0, 62.6 + chin, 30),
    ]  # fmt: skip
    points = mirror(right)
    points[:, 0] *= wide
    return spline(points, steps=6, closed=True)


def dropped_outline(rig: Rig, look: Look) -> np.ndarray:
    """The head's outline (n, 2) in the picture, with the jaw where the pose has it."""
    rest = outline(look)
    return rig.head(np.column_stack([rig.dropped(rest[:, :2]), rest[:, 2]]))


def draw_ears(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    wide = look.face_width
    ear = spline(
        [(41, 12, -8), (45, -12, -10), (50, -15, -14), (55.5, -10, -16), (55, 2, -15), (51.5, 12, -12), (47.5, 17, -9)],
        5, closed=True,
    )  # fmt: skip
    fold = spline([(49, -9, -10), (52.5, -7, -12), (52, 2, -12), (49.5, 8, -9)], 5)
    for side in (1, -1):
        place = np.array([wide * side, 1, 1])
        shade = tones.shade if side > 0 else mix(tones.base, tones.shade, 0.4)
        brush.shape(rig.head(ear * place), shade)
        brush.stroke(rig.head(fold * place), INK if brush.inked else tones.deep, 1.6, 0.75)


def draw_earrings(brush: Brush, rig: Rig, look: Look, covered: bool) -> None:
    """Studs show on a bare ear only, hoops also hang out of hair that covers it."""
    for side in (1, -1):
        place = np.array([look.face_width * side, 1, 1])
        if look.earrings == "stud" and not covered:
            spot = rig.head(np.array([[50.0, 14.5, -9]]) * place)[0] + [1.5 * rig.sway, 0]
            brush.disc(spot, 2.9, colour(look.metal))
            brush.disc(spot - 0.7, 1.1, WHITE, 0.8)
        elif look.earrings == "hoop":
            spot = rig.head(np.array([[50.5, 22.0, -9]]) * place)[0] + [5.0 * rig.sway, 0]
            ring = ellipse(spot[0], spot[1], 5.6, 7.4)
            brush.stroke(np.concatenate([ring, ring[:1]]), colour(look.metal), 2.5)
            brush.stroke(ring[14:21], WHITE, 1.0, 0.6)


def draw_head(brush: Brush, rig: Rig, look: Look, tones: Tones) -> skia.Path:
    """The head's skin with its soft shading; returns the outline's path for what must stay inside it."""
    edge = dropped_outline(rig, look)
    shape = path(edge)
    if brush.crisp:
        _draw_plain_head(brush, rig, look, tones, edge, shape)
        return shape
    light = rig.spot(-15, -22)
    brush.fill(shape, radial(light, 96, [(0, tones.light, 1), (0.5, tones.base, 1), (1, tones.shade, 1)]))
    left, right = rig.spot(8, 10), rig.spot(49, 22)
    brush.fill(shape, linear(left, right, [(0, tones.shade, 0), (0.55, tones.shade, 0.25), (1, tones.deep, 0.60)]))
    with brush.inside(shape):
        for x, strength in ((-29, 0.50), (28, 0.44)):
            brush.glow(rig.spot(x, 17 + 0.12 * rig.jaw), 19, tones.blush, strength * look.blush)
    for x, strength in ((-EYE_X, 0.26), (EYE_X, 0.32)):
        brush.glow(rig.spot(x * look.eye_spacing, EYE_Y - 6), 17, tones.deep, strength)
    brush.glow(rig.face([[-5, 54]], jaw=True)[0], 14, tones.light, 0.45)
    if look.species == "person" and look.hair in ("bald", "shaved", "receding"):
        with brush.inside(shape):
            brush.glow(rig.face([[-13, -45]])[0], 16, mix(tones.light, WHITE, 0.35), 0.5)
    if look.freckles > 0:
        _draw_freckles(brush, rig, look, tones)
    return shape


def _draw_plain_head(brush: Brush, rig: Rig, look: Look, tones: Tones, edge: np.ndarray, shape: skia.Path) -> None:
    """One plain colour, one crisp shade on the side away from the light, and the cheeks."""
    brush.fill(shape, mix(tones.base, tones.shade, 0.8))
    with brush.inside(shape):
        brush.fill(edge * [0.99, 1.0] + [-5.6, -2.5], tones.base)
        for x in (-30, 30):
            cheek = ellipse(x, 19 + 0.12 * rig.jaw, 9.5, 6.5, 20)
            brush.fill(rig.face(cheek), tones.blush, 0.42 * look.blush)
    if look.freckles > 0:
        _draw_freckles(brush, rig, look, tones)
    brush.contour(edge, 2.4)


def _draw_freckles(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    dots = _freckles(look.details)
    for (x, y), size in zip(rig.face(dots[:, :2]), dots[:, 2], strict=True):
        brush.disc((x, y), size, tones.deep, 0.55 * look.freckles)


@lru_cache(maxsize=64)
def _freckles(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    side = np.repeat([-1.0, 1.0], 14)
    x = side * np.abs(rng.normal(20, 9, 28))
    y = rng.normal(13, 4.5, 28)
    return np.column_stack([x, y, rng.uniform(0.5, 0.95, 28)])


def draw_age(brush: Brush, rig: Rig, look: Look, pose: Pose, tones: Tones) -> None:
    """Folds from nose to mouth, under the eyes and on the forehead: deeper with age, and when the mouth spreads."""
    fold = smoothstep(0.25, 1.0, look.age)
    smile = min(1.0, max(pose.width, 0.0) + max(pose.smile, 0.0))
    depth = min(1.0, 0.14 + 0.5 * fold + 0.25 * smile)
    if brush.crisp:
        depth *= smoothstep(0.2, 0.6, depth)
    push = 1.5 * smile + 0.05 * rig.jaw
    crease = spline([(13, NOSE_Y - 3, 0), (20 + push, 25, 0), (26.5 + push, 33, 0), (29 + push, 38, 0)], 5)[:, :2]
    widths = 2.2 * np.sin(np.linspace(0.15, np.pi, len(crease)))
    under_eye = spline([(10, 8, 0), (19, 12, 0), (29, 8, 0)], 5)[:, :2]
    for side in (1, -1):
        place = np.array([side, 1])
        brush.fill(taper(rig.face(crease * place), widths), tones.deep, 0.55 * depth)
        if fold > 0.05:
            brush.stroke(rig.face(under_eye * place), tones.deep, 1.4, 0.45 * fold)
    if fold > 0.3:
        for y in (-41, -34):
            line = spline([(-20, y + 2, 0), (0, y, 0), (20, y + 2, 0)], 5)[:, :2]
            brush.stroke(rig.face(line - [0, 1.5 * pose.brow]), tones.deep, 1.3, 0.38 * fold)


def draw_eyes(brush: Brush, rig: Rig, look: Look, pose: Pose, tones: Tones) -> None:
    t = np.linspace(-1, 1, 19)
    half = 11.7 * look.eye_size
    wide, squeezed = max(pose.lids, 0.0), max(-pose.lids, 0.0)
    upper_h = 7.1 * look.eye_size * look.eye_height * (1 + 0.06 * max(pose.brow, 0) + 0.34 * wide - 0.30 * squeezed)
    lower_h = 4.2 * look.eye_size * look.eye_height * (1 + 0.16 * wide - 0.55 * squeezed)
    tilt = 1.7 * look.eye_tilt
    lash = mix(multiply(colour(look.hair_colour), (0.35, 0.33, 0.33)), (0.08, 0.06, 0.06), 0.55)
    iris = colour(look.eye_colour)
    droop = 1.2 * smoothstep(0.4, 1.0, look.age) + 1.8 * max(pose.slant, 0)

    for side in (-1, 1):
        cx = side * EYE_X * look.eye_spacing
        outward = t * side
        slope = -tilt * outward  # the outer corner rises
        # Highest nearer the nose for the upper lid, lowest nearer the temple for the lower: not a lens.
        open_upper = EYE_Y + slope - upper_h * np.clip(1 - np.abs(t + 0.10 * side) ** 2.2, 0, 1) ** 0.75
        open_upper += droop * np.clip(outward, 0, 1)
        lower = EYE_Y + slope + lower_h * np.clip(1 - np.abs(t - 0.14 * side) ** 2.2, 0, 1) ** 0.8
        closed = EYE_Y + slope + 0.62 * lower_h * (1 - t**2)
        lid = open_upper + (closed - open_upper) * pose.blink
        lower = lower + (closed - lower) * pose.blink
        lid[[0, -1]] = lower[[0, -1]] = EYE_Y + slope[[0, -1]]
        x = cx + half * t
        lid_line, low_line = (rig.face(np.column_stack([x, y]), 1.5) for y in (lid, lower))
        crease_y = open_upper - (2.6 + 0.6 * look.eye_height) + (2.2 + 0.55 * upper_h) * pose.blink
        crease = rig.face(np.column_stack([x * 1.0, crease_y])[2:-2], 1.5)

        lid_skin = np.concatenate([crease, lid_line[::-1]])
        brush.fill(lid_skin, mix(tones.base, tones.shade, 0.75), 0.9)
        brush.stroke(crease, tones.line, 1.1, 0.55)

        if pose.blink < 0.97:
            opening = np.concatenate([lid_line, low_line[::-1]])
            brush.fill(opening, (0.965, 0.955, 0.945))
            with brush.inside(opening):
                centre = rig.spot(*iris_at(look, pose, side), IRIS_LIFT)
                radius = iris_radius(look)
                brush.disc(centre, radius, multiply(iris, (0.45, 0.42, 0.42)))
                glow = [(0, mix(iris, WHITE, 0.35), 1), (0.6, iris, 1), (1, multiply(iris, (0.7, 0.7, 0.7)), 1)]
                brush.disc(centre, radius - 0.9, radial(centre + [0.8, 2.6], radius, glow))
                brush.disc(centre, 0.46 * radius, (0.05, 0.04, 0.05))
                brush.stroke(lid_line + [0, 1.6], (0.25, 0.18, 0.20), 3.4, 0.28)
                brush.disc(centre + [-1.9, -2.3], 0.29 * radius, WHITE, 0.95)
                brush.disc(centre + [2.0, 2.1], 0.13 * radius, WHITE, 0.6)
        brush.stroke(low_line[2:-1], tones.line, 0.9, 0.55)
        order = outward if side > 0 else outward[::-1]
        points = lid_line if side > 0 else lid_line[::-1]
        weight = (2.0 if brush.crisp else 1.4) + 0.8 * look.lashes + 0.8 * smoothstep(-1, 1, order)
        brush.fill(taper(points, weight * np.where(np.abs(order) > 0.99, 0.5, 1.0)), lash)
        if look.lashes > 0.35:
            tip = points[-1] + 4.4 * look.lashes * np.array([side * 0.88, -0.55 + 0.9 * pose.blink])
            brush.fill(np.array([points[-4], tip, points[-1] + [0, 0.9]]), lash)


def iris_at(look: Look, pose: Pose, side: int) -> tuple[float, float]:
    """The middle of an iris on the face; side -1 is the picture's left eye."""
    return side * EYE_X * look.eye_spacing + 3.8 * pose.gaze_x, EYE_Y - 0.9 - 2.6 * pose.gaze_y


def iris_radius(look: Look) -> float:
    return 6.5 * look.eye_size


def brow_line(look: Look, pose: Pose, side: int) -> np.ndarray:
    """Points n 2 along a brow on the face, from the nose outwards."""
    raise_y = -4.6 * pose.brow
    pinch = 2.4 * max(-pose.brow, 0)
    inner, outer = -5.2 * pose.slant, 2.2 * pose.slant
    closer = 3.0 * max(-pose.slant, 0)
    lift = 3.5 * look.brow_arch
    base = BROW_Y - 1.5 * (look.eye_height - 1) * 8
    points = spline(
        [
            (9.5 - 0.5 * pinch - closer, base + 2.0 + 0.6 * raise_y + pinch + inner),
            (18 - 0.6 * closer, base - 0.6 * lift + raise_y + 0.35 * inner),
            (27, base - lift + raise_y + 0.5 * outer),
            (35.5, base + 4.0 - 0.3 * lift + 0.8 * raise_y + outer),
        ],
        7,
    )
    return points * [look.eye_spacing * side, 1]


def draw_brows(brush: Brush, rig: Rig, look: Look, pose: Pose) -> None:
    hair = colour(look.hair_colour)
    ink = multiply(hair, (0.70, 0.64, 0.58) if luminance(hair) > 0.62 else (0.72, 0.68, 0.66))
    for side in (-1, 1):
        points = brow_line(look, pose, side)
        along = np.linspace(0, 1, len(points))
        widths = look.brow_thickness * 5.0 * (1 - along**1.8) ** 0.9 * smoothstep(-0.35, 0.22, along) + 0.5
        brush.fill(taper(rig.face(points, BROW_LIFT), widths), ink, 1.0 if brush.crisp else 0.95)


def draw_nose(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    wide = 10.2 * look.nose_width
    y = NOSE_Y - 2 + 5 * (look.nose_length - 1)
    bridge = 2.0 + 2.0 * look.nose_bridge

    def at(points, lifts) -> np.ndarray:
        p = np.asarray(points, dtype=float)
        depth = surface(p) + np.asarray(lifts, dtype=float)
        return rig.head(np.column_stack([p, depth]))

    if brush.inked:
        line = [(bridge + 2.2, 3), (wide * 0.55, y - 7), (wide, y - 1.5), (wide * 0.7, y + 2.8), (0, y + 4.2),
                (-wide * 0.55, y + 2.4)]  # fmt: skip
        line = at(spline(line, 6), 9)
        brush.fill(taper(line, 2.3 * np.sin(np.linspace(0.2, 2.9, len(line)))), INK)
        return
    # The side away from the light, from the brow down to the wing.
    side = spline(
        [(4.5, -12, 2), (bridge, -2, 6), (bridge + 1.6, 7, 10), (wide * 0.62, y - 6, 13), (wide, y - 1, 7)], 5
    )
    inner = spline([(wide * 0.55, y + 1, 12), (1.8, y - 4, 15), (0.8, 4, 10), (0.8, -4, 6), (3, -13, 2)], 5)
    ridge = np.concatenate([side, inner])
    points = at(ridge[:, :2], ridge[:, 2])
    fade = linear(
        points[0], points[len(side) - 1], [(0, tones.deep, 0.10), (0.6, tones.deep, 0.34), (1, tones.deep, 0.5)]
    )
    if brush.crisp:
        below = spline([(-wide * 0.75, y + 1.5), (0, y + 3.6), (wide, y), (wide * 0.4, y + 5.8), (0, y + 6.2)], 5, True)
        brush.fill(points, tones.shade)
        brush.fill(at(below, 7), tones.deep, 0.8)
        return
    brush.fill(points, fade)
    # Shadow that the tip throws on the lip.
    under = spline(
        [(-wide * 0.8, y + 2, 4), (0, y + 4, 8), (wide * 0.95, y + 1.5, 4), (wide * 0.5, y + 6.5, 3), (0, y + 7.5, 3)],
        5,
        True,
    )
    brush.fill(at(under[:, :2], under[:, 2]), tones.deep, 0.30, blur=1.0)
    # Tip, wings and nostrils.
    brush.glow(at([[-1.5, y - 4.5]], [16])[0], 7.5, tones.light, 0.85)
    highlight = at([[-1.6, -6], [-1.8, y - 9]], [7, 13])
    brush.stroke(highlight, tones.light, 2.6, 0.42)
    for s in (-1, 1):
        wing = spline(
            [(s * wide * 0.78, y - 6), (s * wide, y - 2), (s * wide * 0.92, y + 1.8), (s * wide * 0.66, y + 2.2)], 5
        )
        brush.stroke(at(wing, 6), tones.line, 1.3, 0.55)
        nostril = ellipse(s * wide * 0.45, y + 1.6, wide * 0.20, 1.25, 14)
        brush.fill(at(nostril, 9), tones.line, 0.85)
    base = spline([(-wide * 0.3, y + 1.8), (0, y + 3.4), (wide * 0.3, y + 1.8)], 5)
    brush.stroke(at(base, 12), tones.line, 1.1, 0.5)


@lru_cache(maxsize=64)
def _beard(look: Look) -> tuple[np.ndarray, np.ndarray]:
    """The beard's outline (n, 3), which drops with the jaw, and the moustache (n, 2), which does not."""
    grow = {"stubble": -0.6, "full": 3.6, "goatee": 3.0}.get(look.beard, 0.0)
    long = {"full": 6.0, "goatee": 5.0}.get(look.beard, 0.0)
    chin, jaw, wide = 2.5 * look.chin, look.jaw, look.face_width
    if look.beard == "goatee":
        right = [
            (0, 24, 0),
            (17, 30, 0),
            (22, 42, 0),
            (19, 56 + chin, 0),
            (10, 63 + chin + long, 0),
            (0, 65 + chin + long, 0),
        ]
        points = mirror(np.array(right, dtype=float))
        points[:, 2] = 20.0
        points[:, 2] = surface(points)
    else:
        right = [
            (0, 25, 44), (14, 24, 42), (26, 26, 36), (36, 16, 28), (41, -2, 18), (46.0 * wide, -6, 0),
            (47.3 * wide + 0.3 * grow, 6, 0),
            ((42.5 + 1.5 * jaw + look.cheeks + 0.6 * grow) * wide, 27, 5),
            ((34 + 4.5 * jaw + 0.9 * grow) * wide, 44 + 1.5 * jaw, 13),
            ((19.5 + 4 * jaw + 0.7 * grow) * wide, 57 + chin + 0.8 * long, 23), (8, 62 + chin + long, 29),
            (0, 62.6 + chin + long, 30),
        ]  # fmt: skip
        points = mirror(np.array(right, dtype=float))
    half = [(0, 22.5), (8, 21.5), (18, 24), (25, 31), (28.5, 39.5), (22, 35.5), (12, 31), (0, 30.5)]
    return spline(points, 5, closed=True), spline(mirror(np.array(half, dtype=float)), 5, closed=True)


def draw_beard(brush: Brush, rig: Rig, look: Look, pose: Pose, head: skia.Path) -> None:
    if look.beard == "none" or look.species != "person":
        return
    ink = mix(multiply(colour(look.hair_colour), (0.86, 0.84, 0.84)), colour(look.skin), 0.08)
    whole, lip = _beard(look)
    spread = 2.0 * max(pose.width, 0) - 3.0 * pose.round
    lift = 0.24 * mouth.MAX_GAP * pose.open * smoothstep(40, 22, lip[:, 1]) * 0.6
    lip = np.column_stack([lip[:, 0] + spread * lip[:, 0] / 26, lip[:, 1] - lift * 0.6])
    moved = np.column_stack([rig.dropped(whole[:, :2]), whole[:, 2] + 1.0])
    points = rig.head(moved)
    if look.beard == "stubble":
        with brush.inside(head):
            brush.fill(points, ink, 0.26, blur=3.0)
            brush.fill(rig.face(lip, 2.0), ink, 0.16, blur=1.5)
        return
    if look.beard != "moustache":
        top, low = rig.spot(0, 10), rig.spot(0, 66 + rig.jaw)
        ends = [(0, mix(ink, WHITE, 0.04), 0.96), (1, multiply(ink, (0.8, 0.8, 0.8)), 1)]
        brush.shape(points, ink if brush.crisp else linear(top, low, ends))
        for x in (-13, -5, 4, 12):
            strand = rig.face(spline([(x, 50), (x * 0.95, 57), (x * 0.8, 63)], 4), 1.0, jaw=True)
            brush.stroke(strand, mix(ink, WHITE, 0.25), 1.0, 0.35)
    brush.shape(rig.face(lip, 2.5), multiply(ink, (0.93, 0.93, 0.93)), ink=1.8)
    for x in (-1, 1):
        strand = rig.face(spline([(4 * x, 25), (12 * x, 26.5), (21 * x, 33)], 4) - [0, 0.05 * rig.jaw], 3.0)
        brush.stroke(strand, mix(ink, WHITE, 0.18), 0.9, 0.22)


def draw_temples(brush: Brush, rig: Rig, look: Look) -> None:
    """The arms of the glasses, which run under the hair to the ears."""
    if look.glasses == "none":
        return
    for side in (-1, 1):
        hinge = (side * (20.8 * look.eye_spacing + 14.5), EYE_Y - 4, 38)
        ear = (side * 45.5 * look.face_width, EYE_Y - 5, 0)
        brush.stroke(rig.head([hinge, ear]), colour(look.glasses_colour), 2.5)


def draw_glasses(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    if look.glasses == "none":
        return
    frame = colour(look.glasses_colour)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    power, rx, ry = {"round": (1.0, 14.6, 13.6), "square": (0.62, 15.6, 12.4), "browline": (0.8, 15.4, 12.8)}[
        look.glasses
    ]
    rim_x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * rx
    rim_y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * ry
    cx = 20.8 * look.eye_spacing
    weight = 2.7 if look.glasses != "square" else 3.0

    def at(points, depth) -> np.ndarray:
        p = np.asarray(points, dtype=float)
        return rig.head(np.column_stack([p, np.broadcast_to(depth, len(p))]))

    for side in (-1, 1):
        rim = np.column_stack([side * cx + rim_x, EYE_Y + 1.2 + rim_y])
        depth = 47 - 0.30 * np.abs(rim[:, 0])
        points = at(rim, depth)
        brush.stroke(np.concatenate([points, points[:1]]) + [0.8, 2.2], tones.deep, weight, 0.35)
        brush.fill(points, WHITE, 0.09)
        gleam = at([[side * cx - 9, EYE_Y + 5], [side * cx - 2, EYE_Y - 7]], 44)
        brush.stroke(gleam, WHITE, 2.6, 0.16)
        if look.glasses == "browline":
            brush.stroke(np.concatenate([points, points[:1]]), mix(frame, WHITE, 0.35), 1.4)
            brush.stroke(points[19:], multiply(frame, (0.6, 0.55, 0.5)), 3.6)
        else:
            brush.stroke(np.concatenate([points, points[:1]]), frame, weight)
    inner = cx - rx
    bridge = spline([(-inner, EYE_Y - 1.0), (0, EYE_Y - 4.0), (inner, EYE_Y - 1.0)], 6)
    brush.stroke(at(bridge, 49), frame, weight)
