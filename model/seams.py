"""How much pictures change where chunks meet, against how much they change inside of chunks. Makes no pictures.

What is measured may be pictures or latents, and the change between two of them is their root mean square difference.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Seams:
    """Steps between neighbouring frames: from the last of a chunk to the first of the next, and all others."""

    at_seams: Tensor  # n
    inside: Tensor  # m

    @property
    def ratio(self) -> float:
        """Of the means. 1 where nobody could tell a seam; less where chunks meet more softly than frames do."""
        return _ratio(self.at_seams.mean(), self.inside.mean())

    @property
    def largest_ratio(self) -> float:
        """Of the largest steps."""
        return _ratio(self.at_seams.max(), self.inside.max())


def seams(frames: Tensor, chunk: int) -> Seams:
    """Frames t … of whole chunks, the first of them being the first of a chunk. Raises ValueError for less than two chunks,
    and for chunks of a single frame, which have no inside."""
    if chunk < 2 or len(frames) < 2 * chunk or len(frames) % chunk:
        raise ValueError(f"needs two or more whole chunks of two or more frames, got {len(frames)} frames, {chunk} a chunk")
    steps = frames.float().diff(dim=0).flatten(1).square().mean(1).sqrt()
    at_seam = (torch.arange(1, len(frames)) % chunk == 0).to(steps.device)
    return Seams(steps[at_seam], steps[~at_seam])


def _ratio(one: Tensor, other: Tensor) -> float:
    return (one / other.clamp(min=torch.finfo(other.dtype).tiny)).item() if one > 0 else 0.0
