"""Neck, shoulders and clothes of a drawn person; of the head it only knows where the chin throws its shadow."""

import numpy as np

from .face import Tones
from .look import Look
from .pose import Rig
from .shapes import INK, WHITE, Brush, Colour, colour, linear, luminance, mirror, mix, multiply, spline


def draw_neck(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    """Neck and upper chest; the chin throws its shadow on them."""
    wide = 18.5 + 6.5 * look.jaw
    right = [
        (0, 22),
        (wide, 26),
        (wide, 50),
        (wide + 0.5, 70),
        (wide + 5, 82),
        (wide + 16, 91),
        (48, 108),
        (50, 150),
        (0, 150),
    ]
    points = spline(mirror(right), 6, closed=True)
    follow = np.clip((96 - points[:, 1]) / 56, 0, 1)
    depth = np.column_stack([points, np.full(len(points), 4.0)])
    neck = rig.between(depth, follow)
    from_, to = rig.body([[-30, 90]])[0], rig.body([[36, 100]])[0]
    across = [(0, tones.base, 1), (0, tones.base, 1), (1, tones.shade, 1)]
    brush.shape(neck, linear(from_, to, across))
    with brush.inside(neck):
        chin = spline(
            mirror([(0, 30), (44, 28), (38, 52), (24, 70 + 2 * look.chin), (0, 76 + 2 * look.chin)]), 6, closed=True
        )
        chin = rig.dropped(chin) + [3, 0]
        shadow = rig.head(np.column_stack([chin, np.full(len(chin), 16.0)]))
        brush.fill(shadow, tones.shade if brush.crisp else tones.deep, 0.95 if brush.crisp else 0.72, blur=1.6)
        for s in (-1, 1) if look.species == "person" else ():
            bone = spline([(s * 7, 99), (s * 20, 96), (s * 40, 97)], 6)
            brush.stroke(rig.body(bone), tones.deep, 1.6, 0.35)


def _shoulders(look: Look, neck_x: float, neck_y: float) -> np.ndarray:
    """The right edge of the clothes, from the neck outwards and down."""
    broad = 0.93 + 0.13 * look.jaw
    return np.array(
        [
            (neck_x, neck_y),
            (48 * broad, 94.5),
            (76 * broad, 103),
            (95 * broad, 117),
            (104 * broad, 136),
            (110 * broad, 165),
            (112 * broad, 215),
        ]
    )


def _garment(look: Look, neck_x: float, neck_y: float, neckline: list) -> np.ndarray:
    """Closed outline: shoulders and a neckline given from its right end to its left."""
    right = spline(_shoulders(look, neck_x, neck_y), 7)
    left = right[::-1] * [-1, 1]
    return np.concatenate([right, left, spline(neckline, 7)[::-1]])


def _cloth(brush: Brush, rig: Rig, shape: np.ndarray, rgb: Colour) -> None:
    top, low = rig.body([[-50, 84]])[0], rig.body([[40, 150]])[0]
    brush.shape(
        rig.body(shape),
        linear(top, low, [(0, mix(rgb, WHITE, 0.13), 1), (0.45, rgb, 1), (1, multiply(rgb, (0.74, 0.74, 0.78)), 1)]),
    )


def _folds(brush: Brush, rig: Rig, rgb: Colour) -> None:
    if brush.crisp and not brush.inked:
        return
    dark = multiply(rgb, (0.66, 0.66, 0.70))
    for points in (
        [(62, 112), (66, 124), (64, 142)],
        [(-64, 112), (-68, 126), (-66, 144)],
        [(-40, 120), (-34, 130), (-32, 142)],
    ):
        brush.stroke(rig.body(spline(points, 6)), INK if brush.inked else dark, 1.8, 0.8 if brush.inked else 0.42)


def _round_neckline(x: float, y: float, depth: float) -> list:
    right = [(x, y), (0.82 * x, y + 0.55 * depth), (0.45 * x, y + 0.92 * depth)]
    return [*right, (0, y + depth), *((-a, b) for a, b in reversed(right))]


def draw_clothes(brush: Brush, rig: Rig, look: Look, tones: Tones) -> None:
    rgb, accent = colour(look.clothes_colour), colour(look.accent_colour)
    _GARMENTS[look.clothes](brush, rig, look, tones, rgb, accent)


def _tee(brush, rig, look, tones, rgb, accent) -> None:
    line = _round_neckline(34, 90, 16)
    _cloth(brush, rig, _garment(look, 34, 90, line), rgb)
    _folds(brush, rig, rgb)
    dark = multiply(rgb, (0.74, 0.74, 0.77))
    edge = spline(_round_neckline(34, 90, 16), 7)
    brush.stroke(rig.body(edge + [0, 1.8]), mix(rgb, dark, 0.5), 4.2)
    brush.stroke(rig.body(edge + [0, 4.0]), dark, 1.0, 0.7)


def _sweater(brush, rig, look, tones, rgb, accent) -> None:
    line = _round_neckline(30, 87, 12)
    _cloth(brush, rig, _garment(look, 30, 87, line), rgb)
    _folds(brush, rig, rgb)
    edge = spline(line, 7)
    dark = multiply(rgb, (0.78, 0.78, 0.80))
    brush.stroke(rig.body(edge + [0, 2.6]), mix(rgb, dark, 0.35), 7.0)
    brush.stroke(rig.body(edge + [0, 6.4]), dark, 1.1, 0.8)
    for i in range(3, len(edge) - 3, 3):
        brush.stroke(rig.body(np.array([edge[i] + [0, 0.2], edge[i] + [0, 5.0]])), dark, 0.9, 0.55)


def _turtleneck(brush, rig, look, tones, rgb, accent) -> None:
    wide = 22.5 + 6.5 * look.jaw
    _cloth(brush, rig, _garment(look, wide + 4, 84, _round_neckline(wide + 4, 84, 6)), rgb)
    _folds(brush, rig, rgb)
    right = [(0, 71), (wide * 0.7, 69.5), (wide, 66), (wide + 2, 78), (wide + 3.5, 90), (wide * 0.6, 98), (0, 100)]
    collar = spline(mirror(right), 6, closed=True)
    follow = 0.55 * np.clip((100 - collar[:, 1]) / 34, 0, 1)
    shape = rig.between(np.column_stack([collar, np.full(len(collar), 8.0)]), follow)
    left, far = rig.body([[-wide, 80]])[0], rig.body([[wide, 84]])[0]
    dark = multiply(rgb, (0.72, 0.72, 0.75))
    brush.shape(shape, linear(left, far, [(0, rgb, 1), (0.35, mix(rgb, WHITE, 0.10), 1), (1, dark, 1)]))
    with brush.inside(shape):
        chin = spline(mirror([(0, 40), (40, 40), (26, 72), (0, 79)]), 6, closed=True)
        brush.fill(rig.head(np.column_stack([rig.dropped(chin), np.full(len(chin), 16.0)])), dark, 0.55, blur=1.8)
    brush.stroke(rig.body(spline([(-wide - 2, 91), (0, 100), (wide + 2, 91)], 7)), dark, 1.5, 0.7)


def _shirt(brush, rig, look, tones, rgb, accent) -> None:
    line = [(31, 86), (16, 100), (0, 124), (-16, 100), (-31, 86)]
    _cloth(brush, rig, _garment(look, 31, 86, line), rgb)
    _folds(brush, rig, rgb)
    dark = multiply(rgb, (0.70, 0.70, 0.74))
    brush.stroke(rig.body(np.array([(0.0, 124), (0.5, 150)])), dark, 1.3, 0.8)
    brush.disc(rig.body([[-3.5, 130.5]])[0], 1.7, mix(rgb, WHITE, 0.55))
    _collar(brush, rig, mix(rgb, WHITE, 0.12), dark)


def _collar(brush, rig, rgb, dark) -> None:
    for s in (-1, 1):
        flap = np.array([(s * 25, 79), (s * 36, 87), (s * 31, 112), (s * 18, 105), (s * 3.5, 121), (s * 12, 103)])
        flap = np.concatenate([spline(flap[:2], 4), spline(flap[2:5], 1), spline(flap[4:], 4), flap[:1]])
        shape = rig.body(flap)
        brush.fill(shape + [0.5, 2.2], dark, 0.55)
        brush.shape(shape, rgb if s < 0 else mix(rgb, dark, 0.22), ink=1.8)


def _blazer(brush, rig, look, tones, rgb, accent) -> None:
    inner = _round_neckline(31, 88, 14)
    _cloth(brush, rig, _garment(look, 31, 88, inner), accent)
    edge = spline(inner, 7)
    brush.stroke(rig.body(edge + [0, 1.2]), multiply(accent, (0.84, 0.84, 0.86)), 2.6)
    line = [(33, 84), (24, 110), (7, 150), (0, 168), (-7, 150), (-24, 110), (-33, 84)]
    _cloth(brush, rig, _garment(look, 33, 84, line), rgb)
    _folds(brush, rig, rgb)
    dark = multiply(rgb, (0.62, 0.62, 0.66))
    for s in (-1, 1):
        lapel = np.array(
            [
                (s * 28, 80),
                (s * 40, 88),
                (s * 51, 110),
                (s * 42, 113.5),
                (s * 45, 121),
                (s * 12, 152),
                (s * 8, 150),
                (s * 25, 108),
            ]
        )
        shape = rig.body(lapel)
        brush.fill(shape + [s * 1.0, 1.8], dark, 0.55)
        brush.shape(shape, mix(rgb, WHITE, 0.09) if s < 0 else mix(rgb, dark, 0.12), ink=1.8)
        brush.stroke(rig.body(np.array([(s * 31.5, 104.0), (s * 42, 113.5)])), dark, 1.0, 0.8)


def _hoodie(brush, rig, look, tones, rgb, accent) -> None:
    dark = multiply(rgb, (0.66, 0.66, 0.70))
    line = _round_neckline(33, 86, 22)
    _cloth(brush, rig, _garment(look, 33, 86, line), rgb)
    _folds(brush, rig, rgb)
    for s in (-1, 1):
        fold = spline(
            [
                (s * 26, 72),
                (s * 41, 80),
                (s * 46, 94),
                (s * 33, 108),
                (s * 12, 117),
                (0, 118),
                (s * 1.5, 109),
                (s * 15, 103),
                (s * 25, 90),
            ],
            6,
            closed=True,
        )
        shape = rig.body(fold)
        brush.fill(shape + [0, 2.5], dark, 0.6)
        top, low = rig.body([[s * 44, 76]])[0], rig.body([[s * 10, 118]])[0]
        brush.shape(
            shape, linear(top, low, [(0, mix(rgb, WHITE, 0.12 if s < 0 else 0.02), 1), (1, mix(rgb, dark, 0.45), 1)])
        )
        cord = spline([(s * 12, 113), (s * 13.5, 124), (s * 12.5, 137)], 5)
        brush.stroke(rig.body(cord), accent if luminance(accent) > 0.4 else mix(accent, WHITE, 0.5), 2.0)


def draw_hood(brush: Brush, rig: Rig, look: Look) -> None:
    """What stands up behind the neck."""
    if look.clothes not in ("hoodie", "shirt", "blazer"):
        return
    rgb = multiply(colour(look.clothes_colour), (0.60, 0.60, 0.64))
    reach = 46 if look.clothes == "hoodie" else 31
    top = 62 if look.clothes == "hoodie" else 76
    right = [(0, top), (reach * 0.7, top + 3), (reach, top + 17), (reach - 2, 102), (0, 112)]
    brush.shape(rig.body(spline(mirror(right), 6, closed=True)), rgb)


_GARMENTS = {
    "tee": _tee,
    "sweater": _sweater,
    "turtleneck": _turtleneck,
    "shirt": _shirt,
    "blazer": _blazer,
    "hoodie": _hoodie,
}
