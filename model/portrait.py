"""A picture from outside, read with distrust: kind, size and damage are judged before it can cost memory.

Knows nothing of faces or networks.
"""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from model.picture import LARGEST_ASPECT, SMALLEST_SIDE

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 50_000_000  # what telephones make; three bytes each
WORKING_SIDE = 2048  # no network takes more
BEHIND = (216, 220, 224)  # where a picture is transparent


def read_portrait(encoded: bytes) -> Image.Image:
    """The picture upright, in RGB, with sides of at most 2048. Raises ValueError that says what is wrong with it."""
    picture = _opened(encoded)
    _check_size(*picture.size)
    try:
        picture.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # a JPEG can be decoded at half its size
        picture = _flattened(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, MemoryError) as problem:
        raise ValueError(f"the picture is damaged: {problem}") from problem
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    return picture


def _opened(encoded: bytes) -> Image.Image:
    """Only its header has been read: the pixels, however many, are still packed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_check_size` is stricter
            return Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError as problem:
        raise ValueError(f"the picture has more than {MOST_PIXELS // 1_000_000} million pixels") from problem
    except (OSError, SyntaxError, ValueError) as problem:
        raise ValueError("this is no picture that can be read: send a PNG, JPEG or WebP file") from problem


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"the picture is {width}x{height}; more than {MOST_PIXELS // 1_000_000} million pixels are not read"
        )
    shortest, longest = sorted((width, height))
    if shortest < SMALLEST_SIDE:
        raise ValueError(f"the picture is {width}x{height}; both sides need at least {SMALLEST_SIDE} pixels")
    if longest > LARGEST_ASPECT * shortest:
        raise ValueError(f"the picture is {width}x{height}; one side may be {LARGEST_ASPECT:g} times the other at most")


def _flattened(picture: Image.Image) -> Image.Image:
    """RGB, 8 bits. Deep grey is brought into range, and what is transparent shows a plain wall."""
    if picture.mode.startswith(("I", "F")):
        deep = np.asarray(picture, np.float32)
        return Image.fromarray((deep / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    seen = picture.convert("RGBA")
    wall = Image.new("RGBA", seen.size, BEHIND)
    return Image.alpha_composite(wall, seen).convert("RGB")
