"""How far colours of skin, hair, eyes and clothes are from the true ones, as eyes see it: CIEDE2000.

Where a part of a person lies is found by drawing the picture once more with that part in another colour. Source of the
formula: Sharma, Wu and Dalal, "The CIEDE2000 Color-Difference Formula" (2005).
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from model.world.look import Look

PARTS = {"skin": "skin", "hair": "hair_colour", "eyes": "eye_colour", "clothes": "clothes_colour"}  # their fields
CONTRASTS = ("#00ff00", "#ff00ff")
ALL_OF_IT = 0.6  # of the largest change: below that something else is drawn over the part
FEWEST_PIXELS = 12
_D65 = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def parts_of(draw: Callable[[Look], np.ndarray], look: Look) -> dict[str, np.ndarray]:
    """Masks h w of the parts that show; `draw` draws the scene with that look in the person's place."""
    masks = {}
    for part, field in PARTS.items():
        own = np.array([int(getattr(look, field)[i : i + 2], 16) for i in (1, 3, 5)])
        other = max(CONTRASTS, key=lambda hexed: np.abs(own - [int(hexed[i : i + 2], 16) for i in (1, 3, 5)]).sum())
        changed = np.abs(draw(replace(look, **{field: other})).astype(int) - draw(look)).sum(-1)
        mask = (changed > ALL_OF_IT * max(changed.max(), 1)).astype(np.uint8)
        # The edges of a part are mixed with what is beside it. An iris is a ring of few pixels: their median has to do.
        inner = (mask if part == "eyes" else cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=2)).astype(bool)
        if inner.sum() >= FEWEST_PIXELS:
            masks[part] = inner
    return masks


def difference(frame: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float:
    """Delta E between the middle colours of a part in two pictures h w 3 uint8."""
    return float(ciede2000(np.median(lab(frame[mask]), 0), np.median(lab(true[mask]), 0)))


def lab(srgb: np.ndarray) -> np.ndarray:
    """sRGB … 3 uint8 -> CIE L*a*b* … 3 under D65."""
    c = np.asarray(srgb, np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    t = linear @ _TO_XYZ.T / _D65
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1)


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Lab … 3 and … 3 -> Delta E …; around 1 is what a trained eye just sees side by side."""
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(np.asarray(x, np.float64), -1, 0) for x in (first, second))
    middle_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(middle_c7 / (middle_c7 + 25.0**7))  # greys: their a* counts for more
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    both = c1 * c2 > 0
    apart = np.where(both, (h2 - h1 + 180) % 360 - 180, 0)
    apart = np.where((apart == -180) & (h2 > h1), 180, apart)
    far = np.abs(h1 - h2) > 180
    hue = np.where(far, (h1 + h2 + 360) / 2 % 360, (h1 + h2) / 2)
    hue = np.where(both, hue, h1 + h2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2

    def cosine(degrees: np.ndarray) -> np.ndarray:
        return np.cos(np.radians(degrees))

    t = 1 - 0.17 * cosine(hue - 30) + 0.24 * cosine(2 * hue) + 0.32 * cosine(3 * hue + 6) - 0.20 * cosine(4 * hue - 63)
    weight_l = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    weight_c, weight_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    turn = 60 * np.exp(-(((hue - 275) / 25) ** 2))
    rotation = -np.sin(np.radians(turn)) * 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    by_l, by_c = (l2 - l1) / weight_l, (c2 - c1) / weight_c
    by_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(apart / 2)) / weight_h
    return np.sqrt(by_l**2 + by_c**2 + by_h**2 + rotation * by_c * by_h)
