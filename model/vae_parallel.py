"""Tiles of a picture shared between ranks: each computes some of them, and all get all.

Blending stays where it is (model/tiling.py), and every rank does it, so the result is to the last bit what one rank makes.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from model.parallel import Group


def divided(network: Callable[[Tensor], Tensor], tiles: Sequence[Tensor], group: Group) -> list[Tensor]:
    """The network over every tile (b c t h w, of one type): each rank takes every size-th one.

    What a rank made goes to all others, once."""
    if group.size == 1:
        return [network(tile) for tile in tiles]
    own = [network(tile) for tile in tiles[group.rank :: group.size]]
    counts = [len(tiles[rank :: group.size]) for rank in range(group.size)]
    ours = torch.tensor([tile.shape for tile in own], device=tiles[0].device).reshape(len(own), tiles[0].ndim)
    shapes = group.exchange([ours] * group.size, [(count, tiles[0].ndim) for count in counts])
    shapes = [list(map(tuple, theirs.tolist())) for theirs in shapes]
    packed = torch.cat([tile.reshape(-1) for tile in own] or [tiles[0].new_empty(0)])
    arrived = group.exchange([packed] * group.size, [(sum(map(prod, theirs)),) for theirs in shapes])
    made: list[Tensor] = [packed] * len(tiles)
    for rank, (flat, theirs) in enumerate(zip(arrived, shapes, strict=True)):
        for place, (part, shape) in enumerate(zip(flat.split([prod(s) for s in theirs]), theirs, strict=True)):
            made[rank + place * group.size] = part.view(shape)
    return made
