"""How far colours of skin, hair, eyes and clothes are from the true ones, as eyes see it: CIEDE2000.

Where a part of a person lies is found by drawing the picture once more with that part in another colour. Source of the
formula: Sharma, Wu and Dalal, "The CIEDE2000 Color-Difference Formula" (2005).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import minimize

from model.world.look import Look

PARTS = {"skin": "skin", "hair": "hair_colour", "eyes": "eye_colour", "clothes": "clothes_colour"}  # their fields
CONTRASTS = ("#00ff00", "#ff00ff")
ALL_OF_IT = 0.6  # of the largest change: below that something else is drawn over the part
FEWEST_PIXELS = 12
# Irises are found again this far from their place, in pixels, and this much softer, in sigma: both are told elsewhere.
ASTRAY, SOFTER = 2.0, 1.2
AROUND = 4  # pixels of an iris that are looked at with it
_D65 = np.array([0.95047, 1.0, 1.08883])
_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


@dataclass(frozen=True)
class Part:
    """Where a part of a person shows: the share of each pixel that has its colour, h w in 0 … 1."""

    name: str
    share: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The pixels that have hardly any other, h w bool."""
        return self.share > ALL_OF_IT

    @property
    def inside(self) -> np.ndarray:
        """Without the edges, which are mixed with what is beside them. An iris is a ring of few pixels, all edge."""
        if self.name == "eyes":
            return self.mask
        return cv2.erode(self.mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2).astype(bool)


def parts_of(draw: Callable[[Look], np.ndarray], look: Look) -> list[Part]:
    """The parts that show; `draw` draws the scene with that look in the person's place."""
    parts = []
    for name, field in PARTS.items():
        own = np.array([int(getattr(look, field)[i : i + 2], 16) for i in (1, 3, 5)])
        other = max(CONTRASTS, key=lambda hexed: np.abs(own - [int(hexed[i : i + 2], 16) for i in (1, 3, 5)]).sum())
        changed = np.abs(draw(replace(look, **{field: other})).astype(int) - draw(look)).sum(-1)
        part = Part(name, changed / max(changed.max(), 1))
        if part.inside.sum() >= FEWEST_PIXELS:
            parts.append(part)
    return parts


def difference(frame: np.ndarray, true: np.ndarray, part: Part) -> float:
    """Delta E between the colours of a part in two pictures h w 3 uint8: the middle ones, or those of irises."""
    return iris_difference(frame, true, part) if part.name == "eyes" else difference_in_place(frame, true, part)


def difference_in_place(frame: np.ndarray, true: np.ndarray, part: Part) -> float:
    """Delta E between the middle colours of the same pixels. True irises half a pixel from their place already read 3.4 so,
    because no pixel of an iris is without an edge."""
    return _apart(np.median(frame[part.inside], 0), np.median(true[part.inside], 0))


def iris_difference(frame: np.ndarray, true: np.ndarray, part: Part) -> float:
    """Delta E between the colours of irises, wherever and however sharp they are.

    The frame is taken for the true picture, moved and softened a little, with another colour on the share of each pixel
    that is iris; move, softness and colour are those that explain it best, by least squares."""
    found, reach = (np.flatnonzero(part.mask.any(axis)) for axis in (1, 0)), round(AROUND + ASTRAY)
    window = tuple(slice(max(0, at[0] - reach), at[-1] + reach + 1) for at in found)
    seen = frame[window].astype(np.float32)
    model = np.dstack((true[window], 255 * part.share[window])).astype(np.float32)
    near = cv2.dilate(part.mask[window].astype(np.uint8), np.ones((2 * AROUND + 1,) * 2, np.uint8)).astype(np.float32)

    def explained(right: float, down: float, sigma: float) -> tuple[float, np.ndarray]:
        """What is left of the squares, and by how much the iris is of another colour."""
        move = np.array([[1, 0, right], [0, 1, down]], np.float32)
        moved = cv2.warpAffine(model, move, model.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        moved = cv2.GaussianBlur(moved, (0, 0), max(sigma, 0.01))
        share, left = near * moved[..., 3] / 255, near[..., None] * (seen - moved[..., :3])
        colour = np.einsum("hw,hwc->c", share, left) / np.square(share).sum()
        return float(np.square(left - share[..., None] * colour).sum()), colour

    steps = np.arange(-ASTRAY, ASTRAY + 1)
    begin = min(((right, down, SOFTER / 2) for right in steps for down in steps), key=lambda at: explained(*at)[0])
    bounds = [(-ASTRAY, ASTRAY), (-ASTRAY, ASTRAY), (0.0, SOFTER)]
    first = np.array([begin, *(begin + 0.4 * axis * np.sign(0.5 - np.array(begin)) for axis in np.eye(3))])
    best = minimize(
        lambda at: explained(*at)[0], begin, method="Nelder-Mead", bounds=bounds,
        options={"initial_simplex": first, "xatol": 0.02, "fatol": 1.0, "maxfev": 90},
    ).x  # fmt: skip
    iris = np.median(true[part.mask], 0)
    return _apart((iris + explained(*best)[1]).clip(0, 255), iris)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(ciede2000(lab(one), lab(other)))


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
