"""Between the processor and the device that computes, without either waiting for the other. Knows no networks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def onto(device: torch.device, x: Tensor) -> Tensor:
    """A small tensor of the processor's on the device. From pinned memory, which a GPU fetches when it gets there."""
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def fetched(x: Tensor) -> Tensor:
    """The tensor on the processor: here, and here only, a GPU's work is waited for."""
    if not x.is_cuda:
        return x.cpu()
    there = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    there.copy_(x, non_blocking=True)
    torch.cuda.current_stream(x.device).synchronize()
    return there


class Stages:
    """What the stages of a chunk take. A GPU stamps its own time: its work is not done when the call returns."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: dict[str, tuple] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = self._mark()
        yield
        self._marks[stage] = (started, self._mark())

    def seconds(self) -> dict[str, float]:
        """To be asked for when the chunk has been fetched."""
        if self._on_gpu:
            torch.cuda.current_stream().synchronize()
            return {stage: started.elapsed_time(ended) / 1000 for stage, (started, ended) in self._marks.items()}
        return {stage: ended - started for stage, (started, ended) in self._marks.items()}

    def _mark(self):
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
