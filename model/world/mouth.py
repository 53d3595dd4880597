"""The mouth: lips, teeth, tongue and the dark between them, from open, width, round and bite. Knows no phonemes."""

from dataclasses import dataclass

import numpy as np

from .look import Look
from .pose import Pose, Rig
from .shapes import INK, WHITE, Brush, Colour, colour, ellipse, linear, luminance, mix, multiply, smoothstep

MOUTH_Y = 36.0
HALF_WIDTH = 24.8
MAX_GAP = 28.0
TEETH_EDGE = 4.8  # how far the upper teeth reach below the resting lip line; they belong to the skull
CAVITY: Colour = (0.235, 0.065, 0.08)
TEETH: Colour = (0.968, 0.949, 0.918)
TONGUE: Colour = (0.745, 0.345, 0.355)

_T = np.linspace(-1.0, 1.0, 33)
_ABS = np.abs(_T)
_BOW = 1 - 0.20 * np.exp(-((_T / 0.15) ** 2))  # the dip in the middle of the upper lip


@dataclass(frozen=True)
class Mouth:
    """The four curves of the lips in face coordinates, each (33, 2) from left to right, and what they enclose."""

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    gap: float  # inner height in the middle
    half: float  # half the inner width
    teeth_y: float
    bottom: float  # lower edge of the lower lip in the middle


def shape(look: Look, pose: Pose) -> Mouth:
    spread, narrow = max(pose.width, 0.0), max(-pose.width, 0.0)
    rounding = pose.round
    y = MOUTH_Y + 0.8 * look.chin
    gap = MAX_GAP * pose.open * (1 - 0.22 * rounding) * (1 - 0.10 * spread)
    gap = gap * (1 - pose.bite) + 4.4 * pose.bite + 1.6 * rounding * smoothstep(0, 0.12, pose.open)
    human = look.species == "person"  # an animal's lips are narrower and keep within its muzzle
    half = HALF_WIDTH * look.mouth_width * (1.0 if human else 0.88)
    half *= 1 + 0.15 * spread - 0.16 * narrow - 0.07 * pose.open
    half *= (1 - 0.36 * rounding - 0.06 * pose.bite) * (1 + 0.13 * max(pose.smile, 0))
    inner_half = half * (0.95 - 0.24 * rounding)

    top = y - 0.24 * gap - 1.2 * pose.bite
    low = top + gap
    corner = y - 2.2 + 0.30 * gap * (1 - 0.3 * spread) - 2.6 * spread + 0.8 * narrow - 0.8 * pose.bite
    corner -= (5.2 if pose.smile > 0 else 4.6) * pose.smile
    full = look.lip_fullness * (1.0 if human else 0.72)
    upper = 5.9 * full * (1 - 0.14 * spread + 0.28 * rounding - 0.12 * pose.open - 0.12 * pose.bite)
    lower = 8.0 * full * (1 - 0.12 * spread + 0.22 * rounding - 0.14 * pose.open - 0.5 * pose.bite)

    roundness = 0.92 - 0.34 * rounding - 0.22 * pose.open
    inside = np.clip(1 - _T**2, 0, 1) ** roundness
    over = np.clip(1 - _ABS**1.5, 0, 1) ** (1.22 - 0.45 * rounding)
    under = np.clip(1 - _ABS**2.0, 0, 1) ** (1.0 - 0.33 * rounding)
    dent = 1.0 * np.exp(-((_T / 0.22) ** 2)) * (1 - smoothstep(0, 6, gap))  # the closed line dips in the middle

    def curve(width: float, middle: float, profile: np.ndarray) -> np.ndarray:
        return np.column_stack([_T * width, corner + (middle - corner) * profile])

    upper_inner = curve(inner_half, top, inside) + np.column_stack([0 * _T, dent])
    lower_inner = curve(inner_half, low, inside) + np.column_stack([0 * _T, dent])
    upper_outer = curve(half, top - upper, over)
    upper_outer[:, 1] += upper * (1 - _BOW) * over
    return Mouth(
        upper_outer=upper_outer,
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        lower_outer=curve(half, low + lower, under),
        gap=gap,
        half=inner_half,
        teeth_y=y + TEETH_EDGE * (1 - 1.25 * rounding),
        bottom=low + lower,
    )


def draw(brush: Brush, rig: Rig, look: Look, pose: Pose, shadow: Colour) -> None:
    """Draw the mouth on the face; `shadow` is the skin's deep tone."""
    m = shape(look, pose)
    lips = colour(look.lip_colour)
    dark = luminance(lips) < 0.33
    upper_lip = multiply(lips, (0.84, 0.78, 0.80))
    lower_lip = mix(lips, WHITE, 0.07)
    line = INK if brush.inked else multiply(lips, (0.42, 0.30, 0.32))
    lift = 2.0 + 3.0 * pose.round

    upper_outer, upper_inner, lower_inner, lower_outer = (
        rig.face(c, lift) for c in (m.upper_outer, m.upper_inner, m.lower_inner, m.lower_outer)
    )
    centre = rig.spot(0, m.bottom + 4.5)
    brush.glow(centre, 15, shadow, 0.34)  # the hollow above the chin

    inner = np.concatenate([upper_inner, lower_inner[::-1]])
    if m.gap > 0.15:
        brush.fill(np.concatenate([upper_outer, lower_outer[::-1]]), upper_lip)
        ceiling, floor = rig.spot(0, m.upper_inner[16, 1]), rig.spot(0, m.lower_inner[16, 1])
        brush.fill(inner, linear(ceiling, floor, [(0, multiply(CAVITY, (0.6, 0.6, 0.6)), 1), (1, CAVITY, 1)]))
        with brush.inside(inner):
            _draw_inside(brush, rig, m, pose)

    brush.fill(np.concatenate([upper_outer, upper_inner[::-1]]), upper_lip)
    top, bottom = rig.spot(0, m.lower_inner[16, 1], lift), rig.spot(0, m.bottom, lift)
    glossy = linear(top, bottom + [0, 0.01], [(0, mix(lower_lip, line, 0.18), 1), (0.4, lower_lip, 1), (1, lips, 1)])
    brush.fill(np.concatenate([lower_inner, lower_outer[::-1]]), glossy)
    thick = m.bottom - m.lower_inner[16, 1]
    shine = ellipse(-0.10 * m.half, m.lower_inner[16, 1] + 0.46 * thick, 0.34 * m.half, 0.13 * thick, 20)
    brush.fill(rig.face(shine, lift), WHITE, 0.20 if dark else 0.30, blur=0.9)

    brush.contour(np.concatenate([upper_outer, lower_outer[-2:0:-1]]), 1.8, multiply(lips, (0.48, 0.38, 0.40)))
    # The edge between the lips: a clear line when they touch, a soft rim when they part.
    touching = 1 - smoothstep(0.2, 2.4, m.gap)
    middle = (upper_inner + lower_inner) / 2
    if touching > 0:
        brush.stroke(middle, line, 2.2 if brush.crisp else 1.9, 0.95 * touching)
    if touching < 1:
        brush.stroke(upper_inner, line, 1.3, 0.75 * (1 - touching))
        brush.stroke(lower_inner, line, 0.9, 0.45 * (1 - touching))
    for end, sign in ((middle[0], -1), (middle[-1], 1)):
        brush.stroke(np.array([end, end + [1.6 * sign, -0.6]]), line, 1.8, 0.55)


def _draw_inside(brush: Brush, rig: Rig, m: Mouth, pose: Pose) -> None:
    top, low = m.upper_inner[16, 1], m.lower_inner[16, 1]
    depth = -4.0
    across = np.linspace(-1, 1, 17)

    rise = (0.40 - 0.12 * pose.round) * m.gap + 0.5
    tongue = np.column_stack([across * 0.74 * m.half, low + 2.5 - (rise + 2.5) * np.sqrt(1 - 0.96 * across**2)])
    tongue = np.concatenate([tongue, [[0.8 * m.half, low + 8], [-0.8 * m.half, low + 8]]])
    brush.fill(
        rig.face(tongue, depth),
        linear(rig.spot(0, low - rise, depth), rig.spot(0, low + 3, depth),
               [(0, mix(TONGUE, WHITE, 0.10), 1), (1, multiply(TONGUE, (0.78, 0.7, 0.72)), 1)]),
    )  # fmt: skip
    if m.gap > 7:
        groove = np.array([[0, low - rise + 2.5], [0, low - 0.3 * rise]])
        brush.stroke(rig.face(groove, depth), multiply(TONGUE, (0.7, 0.6, 0.6)), 1.4, 0.5 * smoothstep(7, 14, m.gap))

    lower_teeth = 3.6 * smoothstep(0.30, 0.9, pose.open) + 2.4 * max(pose.width, 0) * smoothstep(0.05, 0.4, pose.open)
    lower_teeth *= 1 - pose.round
    if lower_teeth > 0.2:
        edge = np.column_stack([across * 0.78 * m.half, low - lower_teeth + 0.22 * m.gap * across**2])
        box = np.concatenate([edge, [[0.8 * m.half, low + 6], [-0.8 * m.half, low + 6]]])
        brush.fill(rig.face(box, depth + 2), multiply(TEETH, (0.90, 0.87, 0.86)))

    drop = m.teeth_y - (0.9 + 0.10 * m.gap) * np.abs(across) ** 2.4
    edge = np.column_stack([across * 0.88 * m.half, drop])
    box = np.concatenate([edge, [[0.9 * m.half, top - 6], [-0.9 * m.half, top - 6]]])
    left, right = rig.spot(-m.half, top), rig.spot(m.half, top)
    shaded = multiply(TEETH, (0.78, 0.70, 0.68))
    brush.fill(
        rig.face(box, 0.0), linear(left, right, [(0, shaded, 1), (0.28, TEETH, 1), (0.72, TEETH, 1), (1, shaded, 1)])
    )
    if m.gap > 2:
        for x in (-0.29, 0.0, 0.29):
            gap_line = np.array([[x * m.half, top + 0.5], [x * m.half, m.teeth_y - 0.4 - 1.5 * abs(x)]])
            brush.stroke(rig.face(gap_line), shaded, 0.6, 0.55 * smoothstep(2, 5, m.gap))
    lip_shadow = rig.face(m.upper_inner + [0, 0.6], 1.0)
    brush.stroke(lip_shadow, CAVITY, 2.4, 0.30)
