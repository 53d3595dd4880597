"""Where the faces are: a detector's boxes become masks of pixels, then of latent cells. Finds no faces itself.

Each face has a mask of its own, so that each can be given its own sound. The transformer turns the mask of latent cells
into one value per token (model/adapter.py, `mask_per_token`).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# A mask stands still while the head moves: it covers nine times the face. Of two faces side by side, 1.25 keeps them apart.
ALONE, SIDE_BY_SIDE = 3.0, 1.25

Box = Sequence[float]  # left, top, width, height in pixels, as detectors give it


def pixel_masks(boxes: Sequence[Box], height: int, width: int, enlargement: float | None = None) -> Tensor:
    """1 inside of each enlarged box and 0 outside, n height width. Without a box, one mask of the whole picture.

    Raises ValueError for a box with no area or none of it in the picture."""
    if len(boxes) == 0:
        return torch.ones(1, height, width)
    enlargement = enlargement or (ALONE if len(boxes) == 1 else SIDE_BY_SIDE)
    masks = torch.zeros(len(boxes), height, width)
    for mask, box in zip(masks, boxes, strict=True):
        left, top, box_width, box_height = box
        if not (all(map(math.isfinite, box)) and box_width > 0 and box_height > 0):
            raise ValueError(f"a face box is left, top, width and height in pixels, got {tuple(box)}")
        rows = _enlarged(top, box_height, enlargement, height)
        columns = _enlarged(left, box_width, enlargement, width)
        mask[rows, columns] = 1
        if not mask.any():
            raise ValueError(f"face box {tuple(box)}, {enlargement} times as large, has no pixel in {width}x{height}")
    return masks


def latent_masks(masks: Tensor, rows: int, columns: int) -> Tensor:
    """n height width -> n 1 1 rows columns, bilinear: cells at an edge are partly covered."""
    return F.interpolate(masks[:, None], (rows, columns), mode="bilinear")[:, :, None]


def _enlarged(start: float, length: float, enlargement: float, end: int) -> slice:
    """A side of the box, enlarged around its centre and cut at the picture's edge, in the original's whole pixels."""
    stop = start + length
    centre, half = (start + stop) // 2, (stop - start) * enlargement // 2
    return slice(int(max(centre - half, 0)), int(max(min(centre + half, end), 0)))
