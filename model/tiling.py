"""A network over a video that is too large for it: in overlapping tiles, one after another, blended where they overlap.

Knows nothing of the network, which is a callable, nor of which way it goes. The seams are the released program's: a tile
is blended with its neighbour as that one was after its own blending, above before left. Layout: b c t h w.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from model.parallel import ALONE, Group
from model.vae_parallel import divided


@dataclass(frozen=True)
class Tiling:
    """Sizes of the tiles that go in and of what comes out of them, and the share of a tile that the next one covers.

    A tile in time has one frame more, which goes first: the network treats the first frame of a video apart. Only the
    first tile keeps it."""

    side: int
    frames: int
    side_out: int
    frames_out: int
    overlap: float = 0.25

    def step(self, size: int) -> int:
        return int(size * (1 - self.overlap))

    def seam(self, size_out: int) -> int:
        return int(size_out * self.overlap)


def tiled(network: Callable[[Tensor], Tensor], x: Tensor, tiling: Tiling, group: Group = ALONE) -> Tensor:
    """The network over all of x; what fits into one tile is one. The ranks of a group share the tiles."""
    return torch.cat(list(tiled_in_time(network, x, tiling, group)), 2)


def tiled_in_time(
    network: Callable[[Tensor], Tensor], x: Tensor, tiling: Tiling, group: Group = ALONE
) -> Iterator[Tensor]:
    """The same, piece by piece in time, in the memory of two pieces."""
    if x.shape[2] <= tiling.frames:
        yield _over_space(network, x, tiling, group)
        return
    seam = tiling.seam(tiling.frames_out)
    kept = tiling.frames_out - seam
    before: Tensor | None = None
    for start in range(0, x.shape[2], tiling.step(tiling.frames)):
        tile = _over_space(network, x[:, :, start : start + tiling.frames + 1], tiling, group)
        if before is None:
            yield tile[:, :, : kept + 1]
        else:
            tile = _blend(before, tile[:, :, 1:], 2, seam)
            yield tile[:, :, :kept]
        before = tile


def _over_space(network: Callable[[Tensor], Tensor], x: Tensor, tiling: Tiling, group: Group) -> Tensor:
    if max(x.shape[3:]) <= tiling.side:
        return network(x)
    step, seam = tiling.step(tiling.side), tiling.seam(tiling.side_out)
    kept, rows = tiling.side_out - seam, []
    tops, lefts = (range(0, length, step) for length in x.shape[3:])
    cuts = [x[:, :, :, top : top + tiling.side, left : left + tiling.side] for top in tops for left in lefts]
    made = iter(divided(network, cuts, group))
    above: list[Tensor] = []
    for _ in tops:
        row: list[Tensor] = []
        for tile in islice(made, len(lefts)):
            if above:
                tile = _blend(above[len(row)], tile, 3, seam)
            if row:
                tile = _blend(row[-1], tile, 4, seam)
            row.append(tile)
        rows.append(torch.cat([tile[:, :, :, :kept, :kept] for tile in row], 4))
        above = row
    return torch.cat(rows, 3)


def _blend(before: Tensor, after: Tensor, axis: int, seam: int) -> Tensor:
    """`after`, whose beginning is faded in over the end of `before`."""
    seam = min(seam, before.shape[axis], after.shape[axis])
    fade_in = (torch.arange(seam, device=after.device) / max(seam, 1)).to(after.dtype)
    fade_in = fade_in.view(-1, *(1,) * (after.ndim - 1 - axis))
    leaving = before.narrow(axis, before.shape[axis] - seam, seam)
    entering, rest = after.split((seam, after.shape[axis] - seam), axis)
    return torch.cat((leaving * (1 - fade_in) + entering * fade_in, rest), axis)
