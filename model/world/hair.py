"""Hair styles as shapes that hang on the head: what lies behind the neck, over the shoulders and over the face."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .look import Look
from .pose import Rig, surface
from .shapes import INK, WHITE, Brush, colour, luminance, mirror, mix, multiply, path, radial, smoothstep, spline, taper

SWAY = 18.0  # how far the tips hang behind at most
_HANGING = ("long", "long_fringe", "waves", "bob", "wavy_bob", "ponytail")


@dataclass(frozen=True)
class Part:
    """One shape of hair: a filled outline, or a strand when `width` is given. `tone` lightens or darkens it."""

    points: np.ndarray  # n, 3
    tone: float = 0.0
    width: float = 0.0
    alpha: float = 1.0
    blur: float = 0.0


@dataclass(frozen=True)
class Hair:
    back: tuple[Part, ...] = ()  # behind neck and shoulders
    mid: tuple[Part, ...] = ()  # over the shoulders, behind the face
    front: tuple[Part, ...] = ()  # over forehead and temples


def draw(brush: Brush, rig: Rig, look: Look, layer: str, clip=None, shadow=None) -> None:
    """Draw one layer; for the front one, `clip` is the head's outline and `shadow` the tone it throws on the skin."""
    parts = getattr(styled(look), layer)
    if not parts:
        return
    base = colour(look.hair_colour)
    bright = luminance(base)
    light = mix(base, (1.0, 0.90, 0.78), 0.30 if bright > 0.25 else 0.20)
    dark = multiply(base, (0.62, 0.58, 0.58))
    depth = {"back": -0.45, "mid": -0.12, "front": 0.0}[layer]
    centre = rig.head([[-20, -58, 10]])[0]
    filled = None
    for part in parts:
        # Hair below the chin rests on the shoulders and follows the head less and less.
        follow = 1 - 0.8 * smoothstep(35, 110, part.points[:, 1])
        points = rig.between(part.points, follow)
        if look.hair in _HANGING and layer != "front":
            low, high = (-50, 60) if look.hair == "ponytail" else (-10, 100)
            points[:, 0] += SWAY * rig.sway * smoothstep(low, high, part.points[:, 1])
        if layer == "front" and not part.width and shadow is not None and part.alpha == 1.0:
            with brush.inside(clip):
                brush.fill(points + [1.0, 3.2], shadow, 0.34)
        tone = part.tone + depth
        low, high = (mix(c, WHITE if tone > 0 else dark, abs(tone) * (0.35 if tone > 0 else 1)) for c in (base, light))
        shade = mix(dark, low, 0.35)
        if part.width and brush.crisp:
            with brush.inside(filled):
                _draw_plain_strand(brush, part, points, high, dark)
        elif part.width and look.hair in ("curly", "afro", "receding"):
            with brush.inside(filled):  # curls are strewn, and thin hair turns out of sight
                brush.stroke(points, low if part.tone <= 0 else high, part.width, part.alpha)
        elif part.width:
            brush.stroke(points, low if part.tone <= 0 else high, part.width, part.alpha, part.blur)
        else:
            shader = radial(centre, 150, [(0, high, 1), (0.32, low, 1), (1, shade, 1)])
            filled = path(points)
            brush.fill(filled, shader, part.alpha, part.blur)
            if not part.blur:
                brush.contour(points)


def _draw_plain_strand(brush: Brush, part: Part, points: np.ndarray, high, dark) -> None:
    """In ink every strand that is darker, else a few bold lights; thin greys would only look dirty."""
    rise = np.sin(np.linspace(0.25, np.pi - 0.25, len(points)))
    light = mix(high, dark, 0.45)
    if part.tone <= 0:
        brush.fill(taper(points, (part.width + 0.7) * rise), INK if brush.inked else dark, 0.9)
    elif part.width >= 1.5:
        brush.fill(taper(points, (part.width + 1.2) * rise), light, 0.8)


@lru_cache(maxsize=64)
def styled(look: Look) -> Hair:
    return _STYLES[look.hair](look) if look.species == "person" else Hair()


def _arc(look: Look, offset, start: float, end: float, count: int = 25, z: float = -5.0) -> np.ndarray:
    """Points around the skull from angle `start` to `end` (degrees clockwise from the top), `offset(angle)` outside."""
    angle = np.linspace(start, end, count)
    out = np.broadcast_to(offset(angle) if callable(offset) else offset, angle.shape)
    a = np.radians(angle)
    x = (47.2 * look.face_width + out) * np.sign(a) * np.abs(np.sin(a)) ** 0.93
    y = -(61.8 + out) * np.sign(np.cos(a)) * np.abs(np.cos(a)) ** 0.93
    return np.column_stack([x, np.where(np.abs(angle) > 90, y * 0.9, y), np.full(count, z)])


def _on_skin(points: Sequence, lift: float = 1.5) -> np.ndarray:
    p = np.asarray(points, dtype=float)
    return np.column_stack([p, surface(p) + lift])


def _cap(outer: np.ndarray, hairline: Sequence, lift: float = 1.5) -> np.ndarray:
    """Hair between an outer arc (left to right) and a hairline on the skin (right to left)."""
    return np.concatenate([spline(outer, 3), spline(_hairline(hairline, lift), 7)])


def _hairline(points: Sequence, lift: float) -> np.ndarray:
    line = _on_skin(points, lift)
    # At the temples the hairline keeps close to the outline's depth, or a turned head would carry it past the outline.
    line[:, 2] *= 1 - 0.97 * smoothstep(30, 42, np.abs(line[:, 0]))
    return line


def _strand(points: Sequence, tone: float, width: float, alpha: float, lift: float = 3.0) -> Part:
    p = np.asarray(points, dtype=float)
    if p.shape[1] == 2:
        p = _on_skin(p, lift)
    return Part(spline(p, 7), tone, width, alpha)


def _wide(look: Look, points: Sequence) -> np.ndarray:
    p = np.array(points, dtype=float)
    p[:, 0] *= look.face_width
    return p


def _even(right: Sequence) -> list[tuple[float, float]]:
    """A hairline from right to left out of its right half, which ends on the middle of the forehead."""
    return [*right, *((-x, y) for x, y in reversed(right[:-1]))]


_EVEN_LINE = _even([(46.5, 6), (44.5, -8), (42, -16), (40, -29), (33, -39), (18, -44), (0, -45)])


def _bald(look: Look) -> Hair:
    return Hair()


def _shaved(look: Look) -> Hair:
    outer = _arc(look, lambda a: 1.0 - 0.8 * smoothstep(60, 95, np.abs(a)), -97, 97)
    return Hair(front=(Part(_cap(outer, _wide(look, _EVEN_LINE)), 0.0, alpha=0.62, blur=1.2),))


def _crop(look: Look) -> Hair:
    volume = 5 + 7 * look.hair_volume
    outer = _arc(look, lambda a: 1.2 + volume * (1 - smoothstep(28, 85, np.abs(a))), -97, 97)
    rng = np.random.default_rng(look.details)
    line = _wide(look, _EVEN_LINE)
    top_line = [(40.5, -22), (38.5, -32), (31, -39), (22, -39), (12, -40.6), (2, -39.6), (-8, -41.2), (-18, -39),
                (-28, -40.5), (-37, -33), (-40, -22)]  # fmt: skip
    top = _cap(_arc(look, lambda a: 1.2 + volume * (1 - smoothstep(30, 72, np.abs(a))), -66, 66), _wide(look, top_line))
    strands = []
    for x in np.linspace(-27, 27, 7):
        bend = rng.uniform(1.5, 3.5)
        strands.append(_strand([(x, -43), (x - bend, -52), (x * 0.8 - 2 * bend, -61)], 0.5, 1.5, 0.30))
    return Hair(front=(Part(_cap(outer, line), -0.35), Part(top), *strands))


def _side_part(look: Look) -> Hair:
    side = 1 if look.hair_part >= 0 else -1  # the part is on this side, the hair sweeps to the other
    volume = 8 + 8 * look.hair_volume
    outer = _arc(
        look,
        lambda a: 2.0 + volume * np.exp(-(((a * -side - 12) / 46) ** 2)) + 2.5 * (1 - smoothstep(60, 95, np.abs(a))),
        -98,
        98,
    )
    line = np.array(
        [(46.5, 8), (44.5, -8), (42, -18), (38, -31), (27, -43), (21, -49), (12, -41), (-4, -35.5),
         (-20, -33.5), (-33, -33),
         (-40, -27), (-43.5, -16), (-45, -6), (-46.5, 8)], dtype=float
    )  # fmt: skip
    if side < 0:
        line = line[::-1] * [-1, 1]
    strands = [
        _strand(np.array(p) * [side, 1], tone, w, 0.34)
        for p, tone, w in (
            ([(18, -50), (0, -45), (-22, -40), (-38, -31)], 0.6, 1.8),
            ([(16, -55), (-4, -53), (-26, -47), (-41, -34)], 0.5, 2.2),
            ([(12, -60), (-10, -61), (-30, -53)], 0.6, 1.6),
            ([(20, -52), (27, -47), (36, -37), (42, -22)], 0.35, 1.4),
            ([(21, -49), (18, -57), (12, -63)], -0.9, 1.6),
        )
    ]
    return Hair(front=(Part(_cap(outer, _wide(look, line))), *strands))


def _quiff(look: Look) -> Hair:
    tall = 12 + 10 * look.hair_volume
    side = np.array([1 if look.hair_part >= 0 else -1, 1, 1])
    sides = _arc(look, lambda a: 1.6 + 3 * (1 - smoothstep(40, 85, np.abs(a))), -97, 97)
    crest = [(-41, -22, 0), (-45, -38, -4), (-38, -57, -4), (-20, -64 - 0.45 * tall, -4), (4, -64 - 0.9 * tall, 4),
             (26, -62 - 0.9 * tall, 10), (41, -52 - 0.6 * tall, 10), (45, -44, 2), (41, -22, 0)]  # fmt: skip
    line = [(38.5, -33), (31, -42), (16, -46), (0, -46.5), (-15, -46), (-30, -42), (-38.5, -33)]
    crest, line = _wide(look, crest), _on_skin(_wide(look, line))
    top = np.concatenate([spline(crest, 6), spline(line, 6)]) * side
    strands = []
    for x, tone in ((-28, 0.5), (-17, 0.6), (-6, -0.5), (5, 0.6), (16, 0.5), (27, 0.4)):
        sweep = [(x, -45, 38), (x + 4, -54, 34), (x * 0.9 + 12, -60 - 0.5 * tall, 20)]
        strands.append(Part(spline(_wide(look, sweep) * side, 7), tone, 1.9, 0.32))
    return Hair(front=(Part(_cap(sides, _wide(look, _EVEN_LINE)), -0.45), Part(top), *strands))


def _receding(look: Look) -> Hair:
    pieces = []
    for s in (-1, 1):
        outer = _arc(look, lambda a: 0.8 + 4.0 * smoothstep(42, 72, a) * (1 - smoothstep(86, 104, a)), 34, 100, 14)
        line = _wide(look, [(46, 10), (43.8, -8), (42.3, -20), (39.5, -34), (33, -46), (27, -53)])
        inner = np.column_stack([line, np.linspace(4, 8, len(line))])
        pieces.append(Part(np.concatenate([spline(outer, 3), spline(inner, 6)]) * [s, 1, 1]))
        pieces.append(_strand(_wide(look, [(s * 45, -2), (s * 45.5, -20), (s * 40, -40)]), 0.5, 1.5, 0.3))
    return Hair(front=tuple(pieces))


def _lobes(outer: np.ndarray, count: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """A bumpy version of an arc: `count` round bulges along it."""
    dense = spline(outer, 4).copy()
    along = np.linspace(0, count, len(dense))
    phase = rng.uniform(0, 1, count + 1)
    bump = np.abs(np.sin(np.pi * along)) * (0.75 + 0.5 * phase[np.minimum(along.astype(int), count)])
    normal = dense[:, :2] / (np.linalg.norm(dense[:, :2], axis=1, keepdims=True) + 1e-6)
    dense[:, :2] += normal * (bump * size)[:, None]
    return dense


def _curl_marks(look: Look, rng: np.random.Generator, inner: float, outer: float, count: int) -> list[Part]:
    marks = []
    for _ in range(count):
        angle, reach = np.radians(rng.uniform(-78, 78)), rng.uniform(inner, outer)
        x, y = (47 + reach) * np.sin(angle), -(61 + reach) * np.cos(angle)
        size, turn = rng.uniform(3.2, 5.2), rng.uniform(0, 2 * np.pi)
        sweep = np.linspace(turn, turn + 3.6, 9)
        ring = np.column_stack([x + size * np.cos(sweep), y + size * np.sin(sweep), np.full(9, 12 - 0.3 * reach)])
        marks.append(Part(ring, 0.6 if rng.random() < 0.6 else -0.8, 1.5, 0.34))
    return marks


def _curly(look: Look) -> Hair:
    rng = np.random.default_rng(look.details)
    volume = 8 + 10 * look.hair_volume
    outer = _arc(look, lambda a: 1 + volume * (1 - smoothstep(45, 104, np.abs(a))), -102, 102)
    line = _even([(46.5, 6), (43, -10), (41, -20), (40, -31), (33, -36), (26, -41), (18, -36), (9, -40), (0, -35.5)])
    shape = np.concatenate([_lobes(outer, 15, 4.6, rng), spline(_hairline(_wide(look, line), 3), 6)])
    return Hair(front=(Part(shape), *_curl_marks(look, rng, -7, volume * 0.5, 22)))


def _afro(look: Look) -> Hair:
    rng = np.random.default_rng(look.details)
    volume = 20 + 12 * look.hair_volume
    outer = _arc(look, lambda a: volume * (1 - 0.35 * smoothstep(70, 130, np.abs(a))), -140, 140, z=-16)
    line = _even([(47, 8), (43.5, -10), (42, -22), (37.5, -34), (30, -38), (21, -42), (11, -41), (0, -43)])
    front_arc = _arc(look, lambda a: 0.86 * volume * (1 - smoothstep(60, 106, np.abs(a))), -104, 104)
    front = np.concatenate([_lobes(front_arc, 19, 2.6, rng), spline(_hairline(_wide(look, line), 3), 6)])
    return Hair(
        back=(Part(_lobes(outer, 27, 2.8, rng), 0.25),),
        front=(Part(front), *_curl_marks(look, rng, -6, volume * 0.75, 30)),
    )


def _curtain(look: Look, part_x: float, volume: float) -> tuple[Part, list[Part]]:
    """Front hair parted at `part_x` that falls to both sides of the forehead and past the temples."""
    outer = _arc(look, lambda a: volume * (1 - 0.25 * smoothstep(60, 100, np.abs(a))), -104, 104)
    p = part_x
    line = [(45.5, 22), (42.5, 4), (41, -10), (37, -24), (29, -36), (p + 9, -47), (p + 1, -53), (p - 9, -47),
            (-29, -36), (-37, -24), (-41, -10), (-42.5, 4), (-45.5, 22)]  # fmt: skip
    strands = [_strand([(p, -53), (p * 0.95, -60), (p * 0.8, -66)], -0.9, 1.4, 0.6)]
    for s in (-1, 1):
        strands += [
            _strand([(p + 5 * s, -56), (s * 24 + 0.4 * p, -47), (s * 38, -30), (s * 45, -4)], 0.6, 2.0, 0.34),
            _strand([(p + 7 * s, -60), (s * 30 + 0.3 * p, -52), (s * 44, -30), (s * 49, 2, 4)[:2]], 0.5, 1.6, 0.30),
            _strand([(p + 2 * s, -52), (s * 18 + 0.5 * p, -44), (s * 33, -32), (s * 42, -8)], -0.5, 1.4, 0.35),
        ]
    return Part(_cap(outer, _wide(look, line))), strands


def _fringe(look: Look, volume: float) -> tuple[Part, list[Part]]:
    """Front hair cut straight above the brows."""
    outer = _arc(look, lambda a: volume * (1 - 0.25 * smoothstep(60, 100, np.abs(a))), -104, 104)
    line = _even([(45.5, 24), (42.5, 4), (41.5, -12), (38, -26), (27, -27.5), (14, -28.5), (0, -28)])
    strands = [_strand([(x * 0.35, -64), (x * 0.8, -50), (x, -30)], t, 1.7, 0.3) for x, t in
               ((-31, 0.5), (-20, 0.6), (-9, -0.5), (3, 0.6), (14, -0.4), (26, 0.4))]  # fmt: skip
    return Part(_cap(outer, _wide(look, line))), strands


def _long_back(look: Look, width: float, bottom: float, wave: float) -> Part:
    right = [
        (0, -66),
        (30, -60),
        (52, -34),
        (width, 4),
        (width + 3, 0.36 * bottom),
        (width + 3, 0.72 * bottom),
        (width - 3, bottom - 6),
        (width - 17, bottom),
        (0, bottom - 3),
    ]
    points = mirror(_wide(look, right))
    dense = spline(points, 8, closed=True).copy()
    if wave:
        dense[:, 0] += wave * np.sin(dense[:, 1] / 7.5) * np.sign(dense[:, 0]) * smoothstep(-20, 20, dense[:, 1])
    return Part(np.column_stack([dense, np.full(len(dense), -22.0)]))


def _lock(look: Look, side: int, bottom: float, wave: float, width: float = 17.0) -> tuple[Part, Part, Part]:
    """Hair that falls in front of a shoulder."""
    y = np.linspace(-14, bottom, 30)
    along = (y + 14) / (bottom + 14)
    sway = wave * np.sin(y / 7.5) * smoothstep(-10, 20, y)
    tip = np.sqrt(np.clip(1 - along**5, 0, 1))  # rounded end
    middle = 43.5 + 3 * smoothstep(10, 60, y) + width / 2 + 0.5 * sway - 5.0 * along**3
    reach = width / 2 * smoothstep(-0.25, 0.3, along) * (1 - 0.35 * smoothstep(0.55, 1.0, along)) * tip
    inner, outer = middle - reach + 0.2 * sway, middle + reach - 0.1 * sway
    z = np.full(len(y), 6.0)
    shape = np.concatenate([np.column_stack([inner, y, z]), np.column_stack([outer, y, z - 10])[::-1]])
    shape *= [side * look.face_width, 1, 1]
    glint = np.column_stack([inner * 0.45 + outer * 0.55, y, z])[3:-3] * [side * look.face_width, 1, 1]
    fold = np.column_stack([inner * 0.75 + outer * 0.25, y, z])[2:-2] * [side * look.face_width, 1, 1]
    return Part(shape), Part(glint, 0.6, 1.8, 0.36), Part(fold, -0.6, 1.3, 0.4)


def _flowing(look: Look, front: tuple[Part, list[Part]], bottom: float, wave: float, width: float = 58.0) -> Hair:
    locks = [part for side in (-1, 1) for part in _lock(look, side, bottom, wave)]
    return Hair(back=(_long_back(look, width, bottom + 4, wave),), mid=tuple(locks), front=(front[0], *front[1]))


def _long(look: Look) -> Hair:
    return _flowing(look, _curtain(look, 22 * look.hair_part, 7 + 5 * look.hair_volume), 112, 0.0)


def _long_fringe(look: Look) -> Hair:
    return _flowing(look, _fringe(look, 7 + 5 * look.hair_volume), 108, 0.0)


def _waves(look: Look) -> Hair:
    return _flowing(look, _curtain(look, 24 * look.hair_part, 9 + 6 * look.hair_volume), 106, 3.2, 61.0)


def _bob(look: Look) -> Hair:
    front = (
        _fringe(look, 7 + 5 * look.hair_volume)
        if look.details % 2
        else _curtain(look, 22 * look.hair_part, 8 + 5 * look.hair_volume)
    )
    return _flowing(look, front, 50, 0.0, 57.0)


def _wavy_bob(look: Look) -> Hair:
    return _flowing(look, _curtain(look, 24 * look.hair_part, 10 + 6 * look.hair_volume), 58, 3.4, 60.0)


_PULLED_LINE = _even([(46.5, 4), (44, -9), (42, -19), (38.5, -31), (30, -41), (16, -46.5), (0, -48)])


def _pulled_back(look: Look) -> tuple[Part, list[Part]]:
    volume = 3.5 + 4 * look.hair_volume
    outer = _arc(look, lambda a: 1.0 + volume * (1 - smoothstep(50, 98, np.abs(a))), -99, 99)
    strands = []
    for x, y in ((-38, -30), (-27, -42), (-13, -47), (2, -48), (16, -46), (29, -41), (39, -30)):
        strands.append(
            _strand([(x, y), (x * 0.80, y * 0.55 - 26), (x * 0.45, -64)], 0.55 if x < 10 else -0.5, 1.5, 0.30)
        )
    return Part(_cap(outer, _wide(look, _PULLED_LINE))), strands


def _bun(look: Look) -> Hair:
    front, strands = _pulled_back(look)
    size = 17 + 6 * look.hair_volume
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    knot = np.column_stack([1.08 * size * np.cos(angle), -64 - 0.55 * size + size * np.sin(angle), np.full(30, -14.0)])
    lit = [(-0.8, -62, -0.5), (-0.2, -66, -1.1), (0.7, -64, -0.7)]
    dim = [(-0.5, -60, -0.2), (0.1, -64, -0.7), (0.8, -60, -0.4)]
    swirl = [
        Part(spline([(x * size, y + lift * size, -14) for x, y, lift in line], 7), tone, width, 0.4)
        for line, tone, width in ((lit, 0.6, 1.8), (dim, -0.5, 1.6))
    ]
    return Hair(back=(Part(knot, 0.35), *swirl), front=(front, *strands))


def _ponytail(look: Look) -> Hair:
    front, strands = _pulled_back(look)
    s = 1 if look.hair_part >= 0 else -1
    tail = spline(
        [(20, -58, -26), (44, -58, -30), (66, -36, -32), (73, -2, -32), (68, 34, -32), (60, 62, -32), (56, 34, -32),
         (55, 6, -32),
         (48, -20, -30), (34, -36, -28)], 6, closed=True,
    )  # fmt: skip
    glint = spline([(42, -50, -30), (60, -32, -32), (65, 0, -32), (62, 36, -32)], 6)
    side = np.array([s, 1, 1])
    return Hair(back=(Part(tail * side, 0.3), Part(glint * side, 0.8, 2.4, 0.4)), front=(front, *strands))


_STYLES = {
    "bald": _bald, "shaved": _shaved, "crop": _crop, "side_part": _side_part, "quiff": _quiff, "receding": _receding,
    "curly": _curly, "afro": _afro, "long": _long, "long_fringe": _long_fringe, "waves": _waves, "bob": _bob,
    "wavy_bob": _wavy_bob, "bun": _bun, "ponytail": _ponytail,
}  # fmt: skip
