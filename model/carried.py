"""A portrait carried along: where each pixel of a moving picture comes from in the still one, and what is painted anew.

A small decoder paints soft hair and no freckles. Most of a talking portrait is the portrait itself, a little displaced; so
the decoder says how far everything has moved and how much of each pixel to take from there, and paints the rest: mouths,
lids, and what the head uncovers. The portrait may be larger than what the decoder paints, and then so is the picture.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLOW_GRAIN = 2  # pixels of the painted picture that share one displacement
FLOW_SCALE = 16.0  # pixels that an output of 1 stands for


@dataclass(frozen=True)
class Still:
    """What a moving picture begins from: its latents b c h w and its pixels b 3 H W in [0, 1]."""

    latents: Tensor
    picture: Tensor


@dataclass(frozen=True)
class Painting:
    """What the decoder says of frames: paint b f 3 h w; share b f 1 h w of the portrait, 0 … 1; and flow b f 2 h/2 w/2, how
    far to the right and down in the still picture a pixel comes from, in pixels of the painted one."""

    paint: Tensor
    share: Tensor
    flow: Tensor


def channels(patch: int) -> int:
    """Outputs of a decoder for each of its cells of patch x patch pixels."""
    return 3 * patch**2 + patch**2 + 2 * (patch // FLOW_GRAIN) ** 2


def painting(raw: Tensor, patch: int) -> Painting:
    """b f channels rows columns -> what they mean."""
    paint, share, flow = raw.split((3 * patch**2, patch**2, 2 * (patch // FLOW_GRAIN) ** 2), 2)
    return Painting(
        F.pixel_shuffle(paint, patch),
        F.pixel_shuffle(share, patch).sigmoid(),
        F.pixel_shuffle(flow, patch // FLOW_GRAIN).float() * FLOW_SCALE,
    )


def carried(flow: Tensor, picture: Tensor, corner: Tensor | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """The picture b 3 H W displaced by flow b f 2 h w -> b f 3 H W. A crop of it where `corner` b 2 (left, top) and `size`
    (height, width) of the painted part are given; the painted picture then is as large as the portrait."""
    batch, frames = flow.shape[:2]
    height, width = picture.shape[2:]
    rows, columns = size or (height, width)
    unit = rows / (flow.shape[3] * FLOW_GRAIN)  # pixels of the portrait to one of the painted picture
    flow = F.interpolate(flow.flatten(0, 1), size=(rows, columns), mode="bilinear", align_corners=False) * unit
    x = torch.arange(columns, device=flow.device) + 0.5
    y = torch.arange(rows, device=flow.device)[:, None] + 0.5
    left, top = (0, 0) if corner is None else corner.repeat_interleave(frames, 0)[:, :, None, None].unbind(1)
    grid = torch.stack(((flow[:, 0] + x + left) * (2 / width) - 1, (flow[:, 1] + y + top) * (2 / height) - 1), -1)
    # All frames of a picture are one tall grid: the picture need not be copied for each of them.
    tall = grid.view(batch, frames * rows, columns, 2)
    moved = F.grid_sample(picture.float(), tall, mode="bilinear", padding_mode="border", align_corners=False)
    return moved.unflatten(2, (frames, rows)).transpose(1, 2)


def composed(painted: Painting, picture: Tensor) -> Tensor:
    """Frames b f 3 H W, as large as the portrait."""
    paint, share = painted.paint.float(), painted.share.float()
    size = picture.shape[2:]
    if size != paint.shape[3:]:
        paint, share = (_enlarged(part, size) for part in (paint, share))
    return torch.lerp(paint, carried(painted.flow, picture), share)


def _enlarged(part: Tensor, size: torch.Size) -> Tensor:
    whole = F.interpolate(part.flatten(0, 1), size=size, mode="bilinear", align_corners=False)
    return whole.unflatten(0, part.shape[:2])
