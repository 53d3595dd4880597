"""Blocks live in the host's memory and visit the GPU one after another: the next is on its way while one computes.

Applied from outside to a finished transformer, whose forward pass does not change. The device has room for two blocks,
taken once, which they fill in turn; the rest of the weights stay there. The host's copies are pinned, so that the copy
engine works beside the processors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.dit import DiT

ALIGNED_BYTES = 256  # where a weight may begin: what kernels that read many numbers at once count on


def offload(dit: DiT, device: torch.device) -> None:
    """For a transformer whose weights are on the host. All but its blocks moves to the device for good; where the device is
    the host itself, all is in its place already."""
    if device.type == "cpu":
        return
    blocks = [*dit.double_blocks, *dit.single_blocks]
    visiting = {id(weight) for block in blocks for weight in block.parameters()}
    for weight in dit.parameters():
        if id(weight) not in visiting:
            weight.data = weight.data.to(device)
    for buffer in dit.buffers():
        buffer.data = buffer.data.to(device)
    Visits(blocks, device)


class Visits:
    """Which blocks are on the device, kept by hooks on them. A pass calls blocks in their order, and may begin anywhere."""

    def __init__(self, blocks: Sequence[nn.Module], device: torch.device) -> None:
        self.blocks, self.device = blocks, device
        self.on_device: dict[int, int] = {}  # place of a block -> the room it is in
        on_gpu = device.type == "cuda"
        self._copying = torch.cuda.Stream(device) if on_gpu else None
        self._arrived = [torch.cuda.Event(), torch.cuda.Event()] if on_gpu else []
        self._home = [_packed(block, pinned=on_gpu) for block in blocks]
        size = max(len(home) for home in self._home)
        self._rooms = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2)]
        for place, block in enumerate(blocks):
            _point(block, self._home[place])
            block.register_forward_pre_hook(lambda module, inputs, place=place: self._enter(place))

    def _enter(self, place: int) -> None:
        """The block computes next: the device waits for its weights, the host does not; the block after it is called."""
        if place not in self.on_device:
            self._call(place, room=0)
        room = self.on_device[place]
        if self._copying:
            torch.cuda.current_stream(self.device).wait_event(self._arrived[room])
        following = (place + 1) % len(self.blocks)
        if following not in self.on_device:
            self._call(following, room=1 - room)

    def _call(self, place: int, room: int) -> None:
        """Into the room, once whoever is there has been computed with. Weights do not change, so nothing is copied back."""
        for other, taken in list(self.on_device.items()):
            if taken == room:
                del self.on_device[other]
                _point(self.blocks[other], self._home[other])
        home = self._home[place]
        there = self._rooms[room][: len(home)]
        if self._copying:
            self._copying.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copying):
            there.copy_(home, non_blocking=True)
            if self._copying:
                self._arrived[room].record()
        _point(self.blocks[place], there)
        self.on_device[place] = room


def _packed(block: nn.Module, pinned: bool) -> Tensor:
    """A block's weights in one piece of memory, bytes, so that one copy takes them all."""
    packed = torch.empty(sum(map(_room, block.parameters())), dtype=torch.uint8, pin_memory=pinned)
    start = 0
    for weight in block.parameters():
        packed[start : start + weight.nbytes].view(weight.dtype).view(weight.shape).copy_(weight.data)
        start += _room(weight)
    return packed


def _point(block: nn.Module, packed: Tensor) -> None:
    """The block's weights are now those in the piece of memory."""
    start = 0
    for weight in block.parameters():
        weight.data = packed[start : start + weight.nbytes].view(weight.dtype).view(weight.shape)
        start += _room(weight)


def _room(weight: Tensor) -> int:
    return -(-weight.nbytes // ALIGNED_BYTES) * ALIGNED_BYTES
