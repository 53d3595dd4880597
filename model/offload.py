"""Blocks live in the host's memory and visit the GPU one after another: the next is on its way while one computes.

Applied from outside to a finished transformer, whose forward pass does not change. At most two blocks are on the device;
the rest of the weights stay there. The host's copies are pinned, so that the copy engine works beside the processors. On a
device that is the host itself nothing moves, and the order of visits is the same.
"""

import torch
from torch import Tensor, nn

from model.dit import DiT


def offload(dit: DiT, device: torch.device) -> "Visits":
    """For a transformer whose weights are on the host. All but its blocks moves to the device for good."""
    visits = Visits([*dit.double_blocks, *dit.single_blocks], device)
    blocks = {id(weight) for block in visits.blocks for weight in block.parameters()}
    for weight in dit.parameters():
        if id(weight) not in blocks:
            weight.data = weight.data.to(device)
    for buffer in dit.buffers():
        buffer.data = buffer.data.to(device)
    return visits


class Visits:
    """Which blocks are on the device. A pass calls blocks in their order, and may begin anywhere."""

    def __init__(self, blocks: list[nn.Module], device: torch.device) -> None:
        self.blocks, self.device = blocks, device
        self.on_device: dict[int, torch.cuda.Event | None] = {}  # place -> when its weights are all there
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._home: list[list[Tensor]] = []
        for place, block in enumerate(blocks):
            self._home.append([weight.data.pin_memory() if self._copies else weight.data for weight in block.parameters()])
            self._send_home(place)
            block.register_forward_pre_hook(lambda module, inputs, place=place: self._enter(place))

    def _enter(self, place: int) -> None:
        """The block computes next: wait for its weights on the device, not here, and call for those of the one after it."""
        following = (place + 1) % len(self.blocks)
        for other in list(self.on_device):
            if other not in (place, following):
                self._send_home(other)
        self._call(place)
        if (arrived := self.on_device[place]) is not None:
            torch.cuda.current_stream(self.device).wait_event(arrived)
        self._call(following)

    def _call(self, place: int) -> None:
        if place in self.on_device:
            return
        if self._copies is None:
            self.on_device[place] = None
            return
        # What was freed just now may still be computed with: the copies wait for what has been asked of the device so far.
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            for weight, home in zip(self.blocks[place].parameters(), self._home[place], strict=True):
                weight.data = home.to(self.device, non_blocking=True)
            self.on_device[place] = self._copies.record_event()
        for weight in self.blocks[place].parameters():
            weight.data.record_stream(torch.cuda.current_stream(self.device))  # who computes with it and must be done first

    def _send_home(self, place: int) -> None:
        """Weights do not change, so nothing is copied back."""
        self.on_device.pop(place, None)
        for weight, home in zip(self.blocks[place].parameters(), self._home[place], strict=True):
            weight.data = home
