"""What stands behind a drawn person, out of focus or flat; the same in every picture of a look, so it is drawn once."""

from functools import lru_cache

import numpy as np
import skia

from .look import Look
from .shapes import WHITE, Brush, Colour, colour, linear, mix, multiply, radial, spline

SOFT_SIZE = 72  # shapes are drawn this small and enlarged: a wide blur that costs nothing


@lru_cache(maxsize=64)
def picture(look: Look, size: int) -> skia.Image:
    """The picture's background, size x size; "solid" is exactly the background colour everywhere."""
    base, accent = colour(look.background_colour), colour(look.background_accent)
    rng = np.random.default_rng(look.details)
    if look.style != "soft" or look.background == "solid":
        whole = skia.Surface(size, size)
        brush = Brush(whole.getCanvas(), "flat")
        brush.canvas.scale(size / 256, size / 256)
        _SCENES[look.background](brush, base, accent, rng)
        return whole.makeImageSnapshot()
    small = skia.Surface(SOFT_SIZE, SOFT_SIZE)
    brush = Brush(small.getCanvas())
    brush.canvas.scale(SOFT_SIZE / 256, SOFT_SIZE / 256)
    _SCENES[look.background](brush, base, accent, rng)
    large = skia.Surface(size, size)
    whole = skia.Rect.MakeWH(size, size)
    large.getCanvas().drawImageRect(
        small.makeImageSnapshot(), whole, skia.SamplingOptions(skia.CubicResampler.Mitchell())
    )
    return large.makeImageSnapshot()


def _plain(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    brush.everywhere(mix(base, accent, 0.25))


def _solid(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    brush.everywhere(base)


def _gradient(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    brush.everywhere(linear((60, 0), (140, 256), [(0, accent, 1), (1, multiply(base, (0.95, 0.95, 0.97)), 1)]))


def _radial(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    if brush.crisp:
        brush.everywhere(mix(base, accent, 0.2))
        brush.disc((128, 122), 106, mix(accent, WHITE, 0.1))
        return
    brush.everywhere(
        radial(
            (112, 96),
            190,
            [
                (0, mix(accent, WHITE, 0.15), 1),
                (0.5, mix(base, accent, 0.35), 1),
                (1, multiply(base, (0.88, 0.88, 0.90)), 1),
            ],
        )
    )


def _wall(brush: Brush, base: Colour, accent: Colour) -> None:
    brush.everywhere(
        linear((30, 0), (200, 256), [(0, mix(base, accent, 0.45), 1), (1, multiply(base, (0.92, 0.92, 0.94)), 1)])
    )


def _window(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    _wall(brush, base, accent)
    side = 1 if rng.random() < 0.5 else -1
    x = 128 + side * 78
    frame = mix(accent, WHITE, 0.55)
    brush.fill(_box(x - 50, 8, x + 50, 150), frame)
    sky = linear(
        (x, 14), (x, 146), [(0, (0.80, 0.90, 0.97), 1), (0.75, (0.95, 0.95, 0.90), 1), (1, (0.80, 0.87, 0.76), 1)]
    )
    for left in (x - 43, x + 3):
        brush.fill(_box(left, 15, left + 40, 76), sky)
        brush.fill(_box(left, 82, left + 40, 143), sky)
    brush.fill(_box(x - 58, 150, x + 58, 160), mix(frame, base, 0.35))


def _plant(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    _wall(brush, base, accent)
    side = 1 if rng.random() < 0.5 else -1
    x = 128 + side * 96
    green = mix((0.36, 0.52, 0.42), base, 0.25)
    for angle, length in zip(np.linspace(-62, 62, 9), rng.uniform(75, 118, 9), strict=True):
        a = np.radians(angle)
        tip = np.array([x + length * np.sin(a), 196 - length * np.cos(a)])
        root = np.array([x, 200.0])
        side_way = np.array([np.cos(a), np.sin(a)]) * 12
        leaf = spline([root, (root + tip) / 2 + side_way, tip, (root + tip) / 2 - side_way], 6, closed=True)
        brush.fill(leaf, mix(green, WHITE, float(rng.uniform(0.0, 0.28))))
    brush.fill(
        np.array([(x - 30, 192), (x + 30, 192), (x + 23, 262), (x - 23, 262)]), mix((0.78, 0.52, 0.40), base, 0.3)
    )


def _shelf(brush: Brush, base: Colour, accent: Colour, rng) -> None:
    _wall(brush, base, accent)
    wood = mix(multiply(base, (0.72, 0.62, 0.55)), (0.62, 0.46, 0.34), 0.35)
    inks = [
        (0.75, 0.42, 0.36),
        (0.36, 0.50, 0.58),
        (0.90, 0.76, 0.50),
        (0.48, 0.56, 0.46),
        (0.88, 0.85, 0.78),
        (0.50, 0.42, 0.54),
    ]
    for y in (62, 136, 210):
        x = -6.0
        while x < 262:
            wide = float(rng.uniform(9, 17))
            if rng.random() < 0.16:
                x += wide * 1.6
                continue
            tall = float(rng.uniform(34, 54))
            ink = mix(inks[int(rng.integers(len(inks)))], mix(base, accent, 0.4), 0.45)
            brush.fill(_box(x, y - tall, x + wide - 1, y), ink)
            x += wide
        brush.fill(_box(-4, y, 260, y + 8), wood)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)


_SCENES = {
    "plain": _plain,
    "gradient": _gradient,
    "radial": _radial,
    "window": _window,
    "plant": _plant,
    "shelf": _shelf,
    "solid": _solid,
}
