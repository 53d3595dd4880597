"""Curves, colours and a brush for drawing with Skia: knows nothing of faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import skia

Colour = tuple[float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0)
INK: Colour = (0.125, 0.09, 0.11)


@lru_cache(maxsize=1024)
def colour(hex_rgb: str) -> Colour:
    """ "#rrggbb" as three numbers in 0..1."""
    return tuple(int(hex_rgb[i : i + 2], 16) / 255 for i in (1, 3, 5))


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    keep = 1 - amount
    return (a[0] * keep + b[0] * amount, a[1] * keep + b[1] * amount, a[2] * keep + b[2] * amount)


def multiply(a: Colour, b: Colour) -> Colour:
    return (a[0] * b[0], a[1] * b[1], a[2] * b[2])


def luminance(a: Colour) -> float:
    return 0.299 * a[0] + 0.587 * a[1] + 0.114 * a[2]


def argb(rgb: Colour, alpha: float = 1.0) -> int:
    return _byte(alpha) << 24 | _byte(rgb[0]) << 16 | _byte(rgb[1]) << 8 | _byte(rgb[2])


def _byte(value: float) -> int:
    return 0 if value <= 0 else 255 if value >= 1 else int(value * 255 + 0.5)


def smoothstep(low: float, high: float, x):
    """0 below `low`, 1 above `high`, smooth between; numbers or arrays."""
    t = np.minimum(np.maximum((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=32)
def _catmull_rom_basis(steps: int) -> np.ndarray:
    t = np.arange(steps)[:, None] / steps
    powers = np.concatenate([np.ones_like(t), t, t**2, t**3], axis=1)
    return powers @ (np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2)


def spline(points: Sequence, steps: int = 8, closed: bool = False) -> np.ndarray:
    """A dense smooth polyline through `points` (n, 2 or 3), read-only: most are the same in every picture."""
    p = np.asarray(points, dtype=float)
    return _dense(p.tobytes(), p.shape[1], steps, closed)


@lru_cache(maxsize=2048)
def _dense(packed: bytes, axes: int, steps: int, closed: bool) -> np.ndarray:
    p = np.frombuffer(packed).reshape(-1, axes)
    if closed:
        padded = np.concatenate([p[-1:], p, p[:2]])
    else:
        padded = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    windows = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)  # segment, 4, axes
    dense = np.einsum("sk,nka->nsa", _catmull_rom_basis(steps), windows).reshape(-1, axes)
    dense = dense if closed else np.concatenate([dense, p[-1:]])
    dense.flags.writeable = False
    return dense


def mirror(right: Sequence) -> np.ndarray:
    """A closed outline's points from its right half, listed from top to bottom, both ends on the axis."""
    r = np.asarray(right, dtype=float)
    left = r[-2:0:-1].copy()
    left[:, 0] *= -1
    return np.concatenate([r, left])


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 28) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def taper(points: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The outline (n*2, 2) of a brush stroke along `points` (n, 2) with a width for every point."""
    direction = np.gradient(points, axis=0)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
    side = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * np.asarray(widths)[:, None] / 2
    return np.concatenate([points + side, (points - side)[::-1]])


def path(points: np.ndarray, closed: bool = True) -> skia.Path:
    shape = skia.Path()
    first, *rest = points.tolist()
    shape.moveTo(*first)
    line_to = shape.lineTo
    for x, y in rest:
        line_to(x, y)
    if closed:
        shape.close()
    return shape


Stops = Sequence[tuple[float, Colour, float]]  # position 0..1, colour, alpha


@dataclass(frozen=True)
class Gradient:
    """Colours that run into one another, and the one colour that stands for them where nothing is soft."""

    shader: skia.Shader
    plain: Colour
    fades: bool  # to nothing at one end: mere shading


def linear(start: Sequence, end: Sequence, stops: Stops) -> Gradient:
    """A gradient from `start` to `end`."""
    points = [skia.Point(*map(float, start)), skia.Point(*map(float, end))]
    return _gradient(skia.GradientShader.MakeLinear(points, *_colours(stops)), stops)


def radial(centre: Sequence, radius: float, stops: Stops) -> Gradient:
    shader = skia.GradientShader.MakeRadial(skia.Point(*map(float, centre)), float(radius), *_colours(stops))
    return _gradient(shader, stops)


def _colours(stops: Stops) -> tuple[list[int], list[float]]:
    return [argb(c, a) for _, c, a in stops], [p for p, _, _ in stops]


def _gradient(shader: skia.Shader, stops: Stops) -> Gradient:
    return Gradient(shader, stops[len(stops) // 2][1], min(a for _, _, a in stops) < 0.2)


class Brush:
    """A Skia canvas in picture units of 256 to the side, with the few strokes the drawing needs.

    In the styles "flat" and "inked" it is crisp: plain colours for gradients, no blur, no glow. "inked" has contours.
    """

    def __init__(self, canvas: skia.Canvas, style: str = "soft"):
        self.canvas = canvas
        self.crisp = style != "soft"
        self.inked = style == "inked"

    def fill(self, points, rgb: Colour | Gradient, alpha: float = 1.0, blur: float = 0.0) -> None:
        """Fill points (n, 2) or a ready path with a colour or a gradient; `blur` softens the edge."""
        if self.crisp and isinstance(rgb, Gradient):
            if rgb.fades:
                return
            rgb = rgb.plain
        shape = points if isinstance(points, skia.Path) else path(points)
        self.canvas.drawPath(shape, _paint(rgb, alpha, 0.0 if self.crisp else blur))

    def shape(self, points: np.ndarray, rgb: Colour | Gradient, alpha: float = 1.0, ink: float = 2.2) -> None:
        """Fill a closed outline (n, 2) and draw its contour."""
        self.fill(points, rgb, alpha)
        self.contour(points, ink)

    def contour(self, points: np.ndarray, width: float = 2.2, rgb: Colour = INK) -> None:
        """The dark line along a closed outline (n, 2), thicker away from the light; only where there is ink."""
        if not self.inked:
            return
        line = np.concatenate([points, points[:1]])
        self.stroke(line, rgb, width - 0.4)
        along = np.gradient(line, axis=0)
        area = np.sum(line[:-1, 0] * line[1:, 1] - line[1:, 0] * line[:-1, 1])
        outward = np.sign(area) * np.stack([along[:, 1], -along[:, 0]], axis=1)
        away = outward @ np.array([0.45, 0.9]) / (np.linalg.norm(along, axis=1) + 1e-6)
        self.fill(taper(line, width - 0.4 + 0.9 * smoothstep(-0.2, 1.0, away)), rgb)

    def stroke(self, points, rgb: Colour, width: float, alpha: float = 1.0, blur: float = 0.0) -> None:
        shape = points if isinstance(points, skia.Path) else path(points, closed=False)
        paint = _paint(rgb, alpha, 0.0 if self.crisp else blur)
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeWidth(width)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        self.canvas.drawPath(shape, paint)

    def disc(self, centre, radius: float, rgb: Colour | Gradient, alpha: float = 1.0) -> None:
        plain = rgb.plain if self.crisp and isinstance(rgb, Gradient) else rgb
        self.canvas.drawCircle(float(centre[0]), float(centre[1]), radius, _paint(plain, alpha, 0.0))

    def glow(self, centre, radius: float, rgb: Colour, alpha: float) -> None:
        """A soft round patch of colour, strongest in the middle; nothing where nothing is soft."""
        if self.crisp:
            return
        shader = radial(centre, radius, [(0, rgb, alpha), (0.45, rgb, alpha * 0.62), (1, rgb, 0)])
        self.canvas.drawCircle(float(centre[0]), float(centre[1]), radius, _paint(shader, 1.0, 0.0))

    def everywhere(self, rgb: Colour | Gradient) -> None:
        plain = rgb.plain if self.crisp and isinstance(rgb, Gradient) else rgb
        self.canvas.drawPaint(_paint(plain, 1.0, 0.0))

    def inside(self, points) -> "_Clip":
        """`with brush.inside(outline):` what is drawn stays inside the outline."""
        return _Clip(self.canvas, points if isinstance(points, skia.Path) else path(points), skia.ClipOp.kIntersect)

    def outside(self, points) -> "_Clip":
        """`with brush.outside(outline):` what is drawn stays out of the outline."""
        return _Clip(self.canvas, points if isinstance(points, skia.Path) else path(points), skia.ClipOp.kDifference)


class _Clip:
    def __init__(self, canvas: skia.Canvas, shape: skia.Path, how: skia.ClipOp):
        self.canvas, self.shape, self.how = canvas, shape, how

    def __enter__(self) -> None:
        self.canvas.save()
        self.canvas.clipPath(self.shape, self.how, True)

    def __exit__(self, *_) -> None:
        self.canvas.restore()


def _paint(rgb: Colour | Gradient, alpha: float, blur: float) -> skia.Paint:
    paint = skia.Paint(AntiAlias=True)
    if isinstance(rgb, tuple):
        paint.setColor(argb(rgb, alpha))
    else:
        paint.setShader(rgb.shader)
        paint.setAlphaf(alpha)
    if blur > 0:
        paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
    return paint
