"""Hats: what sits on a drawn head, and how much of the hair it presses down. Knows nothing of faces."""

import numpy as np

from .look import Look
from .pose import Rig
from .shapes import INK, WHITE, Brush, Colour, colour, ellipse, linear, luminance, mix, multiply, spline

# Where the lower edge meets the head: from the middle of the forehead to the right temple (x, y, z).
_EDGE = {
    "cap": [(0, -40, 38), (18, -39, 34), (34, -34, 22), (44, -27, 10), (50, -18, -4)],
    "beanie": [(0, -35, 39), (18, -34, 35), (34, -30, 24), (45, -24, 10), (51, -15, -4)],
    "brim": [(0, -37, 40), (18, -37.5, 34), (34, -38, 22), (44, -38.5, 10), (49, -39, -4)],
}  # fmt: skip
_TOPS = {"cap": -71.0, "beanie": -78.0, "brim": -84.0}
_REACH = {"cap": 52.0, "beanie": 53.0, "brim": 76.0}


def extent(look: Look) -> tuple[float, float]:
    """Highest y and largest x of the hat in head coordinates; of no hat, of nothing."""
    if look.hat == "none":
        return 0.0, 0.0
    return _TOPS[look.hat] - (9 if _has_pompom(look) else 0), _REACH[look.hat] * look.face_width


def pressed(rig: Rig, look: Look) -> np.ndarray:
    """The region (n, 2) in the picture where no hair may show: above the hat's edge and sloping down beside it."""
    edge = _edge(look)
    low = edge[-1, 1] + 6
    side = np.array([(58, low, -6), (74, low + 18, -8), (130, 60, -8), (180, 60, -8), (180, -200, -8)])
    left = side[::-1] * [-1, 1, 1]
    return rig.head(np.concatenate([left, edge + [0, -2, 0], side]))


def draw(brush: Brush, rig: Rig, look: Look, head, shadow: Colour) -> None:
    """The hat, with its shadow on what lies inside `head`, the head's outline."""
    if look.hat == "none":
        return
    rgb, accent = _colours(look)
    edge = _edge(look)
    with brush.inside(head):
        band = np.concatenate([edge + [0, -6, 0], (edge + [0, 7 if look.hat == "brim" else 5, 0])[::-1]])
        brush.fill(rig.head(band), shadow, 0.55 if brush.crisp else 0.42, blur=1.6)
    {"cap": _cap, "beanie": _beanie, "brim": _brim}[look.hat](brush, rig, look, rgb, accent, edge)


def _colours(look: Look) -> tuple[Colour, Colour]:
    """The clothes' colour a little darker or lighter, so that both match and are told apart."""
    rgb, accent = colour(look.clothes_colour), colour(look.accent_colour)
    rgb = multiply(rgb, (0.82, 0.82, 0.86)) if luminance(rgb) > 0.35 else mix(rgb, WHITE, 0.14)
    return rgb, accent


def _has_pompom(look: Look) -> bool:
    return look.hat == "beanie" and look.details % 2 == 0


def _edge(look: Look) -> np.ndarray:
    """The hat's lower edge (n, 3) from left to right."""
    right = spline(np.array(_EDGE[look.hat], dtype=float) * [look.face_width, 1, 1], 5)
    return np.concatenate([right[:0:-1] * [-1, 1, 1], right])


def _dome(look: Look, edge: np.ndarray, half: float) -> np.ndarray:
    """A closed outline: the edge, and over the top back to its start."""
    top, x = _TOPS[look.hat], half * look.face_width
    over = [(x, -24, -6), (x * 0.98, -42, -6), (x * 0.78, top + 10, -6), (x * 0.42, top + 1.5, -6), (0, top, -6)]
    right = spline(np.array(over), 5)
    return np.concatenate([edge, right, right[-2::-1] * [-1, 1, 1]])


def _cloth(rig: Rig, rgb: Colour):
    start, end = rig.head([[-40, -74, 0]])[0], rig.head([[48, -24, 0]])[0]
    return linear(start, end, [(0, mix(rgb, WHITE, 0.16), 1), (0.5, rgb, 1), (1, multiply(rgb, (0.72, 0.72, 0.76)), 1)])


def _cap(brush: Brush, rig: Rig, look: Look, rgb: Colour, accent: Colour, edge: np.ndarray) -> None:
    dark = multiply(rgb, (0.7, 0.7, 0.74))
    brush.shape(rig.head(_dome(look, edge, 51)), _cloth(rig, rgb))
    for x in (-24, 24):
        seam = spline([(x, -37, 30), (x * 0.8, -56, 24), (x * 0.2, -70, 4)], 6)
        brush.stroke(rig.head(seam), INK if brush.inked else dark, 1.6, 0.75)
    badge = np.column_stack([ellipse(0, -54, 8, 6.5), np.full(28, 34.0)])
    brush.shape(rig.head(badge), accent, ink=1.7)
    peak = [(-40, -35, 22), (-25, -43, 34), (0, -46, 40), (25, -43, 34), (40, -35, 22), (44, -27.5, 26), (27, -30, 50),
            (0, -31.5, 60), (-27, -30, 50), (-44, -27.5, 26)]  # fmt: skip
    brush.shape(rig.head(spline(np.array(peak, dtype=float) * [look.face_width, 1, 1], 6, closed=True)), dark)


def _beanie(brush: Brush, rig: Rig, look: Look, rgb: Colour, accent: Colour, edge: np.ndarray) -> None:
    dark = multiply(rgb, (0.74, 0.74, 0.78))
    if _has_pompom(look):
        ball = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        size = 10 + 0.8 * np.sin(7 * ball)
        points = np.column_stack([size * np.cos(ball), -78 + size * np.sin(ball), np.full(28, -8.0)])
        brush.shape(rig.head(points), accent)
    brush.shape(rig.head(_dome(look, edge, 52)), _cloth(rig, rgb))
    upper = edge + [0, -17, 0]
    upper[:, 0] *= 0.985
    cuff = np.concatenate([edge + [0, 0.5, 0], upper[::-1]])
    brush.shape(rig.head(cuff), mix(rgb, WHITE, 0.16))
    for i in range(4, len(edge) - 3, 4):
        rib = np.array([edge[i] + [0, -2.5, 0], upper[i] + [0, 3, 0]])
        brush.stroke(rig.head(rib), dark, 1.8, 0.7)


def _brim(brush: Brush, rig: Rig, look: Look, rgb: Colour, accent: Colour, edge: np.ndarray) -> None:
    dark = multiply(rgb, (0.66, 0.66, 0.70))
    wide = np.array([look.face_width, 1, 1])
    crown = np.array([(46, -42, -4), (44.5, -56, -4), (40, -74, -4), (27, -83.5, -4), (10, -80.5, -4), (0, -79, -4)])
    over = spline(crown * wide, 5)
    brush.shape(rig.head(np.concatenate([edge, over, over[-2::-1] * [-1, 1, 1]])), _cloth(rig, rgb))
    band = edge.copy()
    band[:, 0] *= 0.955
    ribbon = np.concatenate([band + [0, -1, 0], (band * [0.985, 1, 1] + [0, -13, 0])[::-1]])
    brush.shape(rig.head(ribbon), accent, ink=1.8)
    right = [(0, -40, 42), (30, -41, 30), (56, -44, 4), (72, -46.5, -2), (76, -42.5, -2), (62, -36, 14),
             (36, -31.5, 40), (0, -30, 54)]  # fmt: skip
    half = spline(np.array(right, dtype=float) * wide, 5)
    disc = np.concatenate([half, half[-2:0:-1] * [-1, 1, 1]])
    brush.shape(rig.head(disc), mix(rgb, dark, 0.45))
