"""Ranks that make one picture together: which part is whose, and what they tell one another.

Every rank holds its share of the tokens of every frame. Around attention they change places (Ulysses): a rank gives away
all heads but its own and receives those for all tokens; afterwards the reverse. One process is one rank of one group.
Knows nothing of blocks, masks and caches. A group of one is the identity. Only forward: no gradient crosses ranks.
Letters: r ranks, b batch, f frames, p tokens of a frame, l tokens, n heads, d head width.
"""

from collections.abc import Sequence
from datetime import timedelta
from math import prod

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor

QKV = tuple[Tensor, Tensor, Tensor]


class Group:
    """One rank's place among `size`. Every rank must make the same calls in the same order."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"rank must be 0 … {size - 1} in a group of {size}, got {rank}")
        self.rank, self.size = rank, size
        self.sent_bytes = 0  # what has left this rank, not counting what it kept for itself

    @classmethod
    def join(cls, rank: int, size: int, meeting: str, device: torch.device, timeout_s: float = 60.0) -> "Group":
        """Meet the other ranks: NCCL where `device` is a GPU (with its index), else gloo. Call `leave` at the end.

        `meeting` is a place that all ranks know and no other group has used: file:///path or tcp://host:port. Nothing here
        waits longer than `timeout_s`: then gloo raises RuntimeError, NCCL ends the process."""
        group = cls(rank, size)
        if size > 1:
            on_gpu = device.type == "cuda"
            dist.init_process_group(
                "nccl" if on_gpu else "gloo", init_method=meeting, rank=rank, world_size=size,
                timeout=timedelta(seconds=timeout_s), device_id=device if on_gpu else None,
            )  # fmt: skip
        return group

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()

    # --- whose is what -----------------------------------------------------------------------------------------

    def share(self, heads: int) -> int:
        """How many heads a rank holds. Raises ValueError where they cannot be divided evenly."""
        if heads % self.size:
            sizes = ", ".join(str(size) for size in range(1, heads + 1) if heads % size == 0)
            raise ValueError(f"{heads} heads cannot be divided over {self.size} ranks; they can over {sizes}")
        return heads // self.size

    def sizes(self, total: int) -> list[int]:
        """The length of each rank's part of `total` places: as even as can be, the longer ones first."""
        return [(total + self.size - 1 - rank) // self.size for rank in range(self.size)]

    def own(self, x: Tensor, dim: int) -> Tensor:
        """This rank's part, as a view."""
        return x if self.size == 1 else x.split(self.sizes(x.shape[dim]), dim)[self.rank]

    # --- what ranks tell one another ---------------------------------------------------------------------------

    def exchange(self, outgoing: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """One tensor for each rank, one of the given shape from each; all of one type, empty ones allowed."""
        if self.size == 1:
            return list(outgoing)
        sent, received = [x.numel() for x in outgoing], [prod(shape) for shape in shapes]
        # One flat tensor each way: gloo refuses lists whose parts differ in size.
        packed = torch.cat([x.reshape(-1) for x in outgoing])
        arrived = packed.new_empty(sum(received))
        dist.all_to_all_single(arrived, packed, received, sent)
        self.sent_bytes += (sum(sent) - sent[self.rank]) * packed.itemsize
        return [part.view(shape) for part, shape in zip(arrived.split(received), shapes, strict=True)]

    def gather(self, own: Tensor, dim: int, total: int) -> Tensor:
        """Every rank's part of an axis (counted from the front) with `total` places -> all of it, on every rank."""
        if self.size == 1:
            return own
        shapes = [(*own.shape[:dim], part, *own.shape[dim + 1 :]) for part in self.sizes(total)]
        return torch.cat(self.exchange([own] * self.size, shapes), dim)

    def agreed(self, number: int) -> int:
        """The first rank's number, on every rank of a group on processors."""
        return int(self.gather(torch.tensor([number]), 0, self.size)[0])

    def to_heads(self, image: QKV, frames: int, frame_tokens: int) -> QKV:
        """All heads of own tokens, b (f own-p) n d each -> own heads of all tokens, b (f p) own-n d, frame by frame."""
        if self.size == 1:
            return image
        by_rank = [rearrange(x, "b l (r n) d -> r b l n d", r=self.size) for x in image]
        outgoing = torch.stack(by_rank, 1)
        _, three, batch, _, heads, width = outgoing.shape
        shapes = [(three, batch, frames, part, heads, width) for part in self.sizes(frame_tokens)]
        q, k, v = torch.cat(self.exchange(outgoing.unbind(), shapes), 3).flatten(2, 3)
        return q, k, v

    def to_tokens(self, attended: Tensor, frames: int, frame_tokens: int) -> Tensor:
        """The way back: own heads of [all image tokens, text] -> all heads of [own image tokens, text].

        Text is everybody's, so it travels to every rank together with the tokens that are the rank's own."""
        if self.size == 1:
            return attended
        image, text = attended[:, : frames * frame_tokens], attended[:, frames * frame_tokens :]
        parts = image.unflatten(1, (frames, frame_tokens)).split(self.sizes(frame_tokens), 2)
        outgoing = [torch.cat((part.flatten(1, 2), text), 1) for part in parts]
        return torch.cat(self.exchange(outgoing, [outgoing[self.rank].shape] * self.size), 2)


ALONE = Group()
