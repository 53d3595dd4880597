"""A picture of any size becomes what the networks take: a size they can work at, and pixels in their scales.

The rules are the released model's. Reads no files, finds no faces.
"""

import math

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor

MULTIPLE = 64  # of both sides
SHORT_SIDE = 704
LONG_SIDES = {704: 1216, 512: 768, 384: 576, 256: 384}  # short x long is the largest area; else long is 1.5 x short

SMALLEST_SIDE = 64  # less than that is no portrait, however it is enlarged
LARGEST_ASPECT = 8.0

LLAVA_SIDE = 336
CLIP_MEAN = (0.48145466, 0.4578275, 0.4082107)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def fitted_size(width: int, height: int, short_side: int = SHORT_SIDE) -> tuple[int, int]:
    """The size nearest to the picture's shape with that short side, or smaller where its area would be too large.

    The area may pass the limit by what rounding to multiples of 64 adds. Raises ValueError for a picture that is too
    small or too long."""
    if short_side < MULTIPLE:
        raise ValueError(f"the short side must be at least {MULTIPLE} pixels, got {short_side}")
    shortest, longest = sorted((width, height))
    if shortest < SMALLEST_SIDE:
        raise ValueError(f"the picture is {width}x{height}; both sides need at least {SMALLEST_SIDE} pixels")
    if longest > LARGEST_ASPECT * shortest:
        raise ValueError(f"the picture is {width}x{height}; one side may be {LARGEST_ASPECT:g} times the other at most")

    def scaled(scale: float) -> tuple[int, int]:
        # Python rounds halves to even, and so does the original.
        return tuple(MULTIPLE * max(1, round(side * scale / MULTIPLE)) for side in (width, height))

    size = scaled(short_side / shortest)
    largest_area = short_side * LONG_SIDES.get(short_side, 1.5 * short_side)
    if math.prod(size) > largest_area:
        size = scaled(math.sqrt(largest_area / width / height))
    return size


def fitted(picture: Image.Image, short_side: int = SHORT_SIDE) -> Image.Image:
    """The picture upright, in RGB and at its fitted size. Face boxes are found in this one. Errors as `fitted_size`."""
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    return upright.resize(fitted_size(*upright.size, short_side), Image.Resampling.LANCZOS)


def pixels(picture: Image.Image) -> Tensor:
    """An RGB picture for the autoencoder: 3 height width in [-1, 1]."""
    return _shares(picture) * 2 - 1


def llava_pixels(fitted_picture: Image.Image) -> Tensor:
    """The fitted picture for the vision tower: 3 336 336, squeezed into a square, in CLIP's scale."""
    square = _shares(fitted_picture.resize((LLAVA_SIDE, LLAVA_SIDE), Image.Resampling.BILINEAR))
    return (square - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


def _shares(picture: Image.Image) -> Tensor:
    return rearrange(torch.from_numpy(np.array(picture)), "h w c -> c h w").float() / 255
