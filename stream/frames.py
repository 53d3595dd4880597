"""Shared memory that carries pictures from the workers to the server, in slots of one chunk each.

The server makes it, hands out the slots and copies pictures out at once; workers only write where they are told.
"""

from multiprocessing.shared_memory import SharedMemory

import numpy as np

from stream.messages import PresetInfo


class FrameRing:
    def __init__(self, info: PresetInfo, slots: int = 0, name: str | None = None) -> None:
        """With `slots`, makes the memory (the server); with `name`, opens what was made (a worker)."""
        self._shape = (info.frames_per_chunk, info.height, info.width, 3)
        size = max(1, slots * info.chunk_bytes)
        self._memory = SharedMemory(name=name, create=name is None, size=size if name is None else 0)
        self._owner = name is None
        self._chunk_bytes = info.chunk_bytes
        self._free = list(range(slots))

    @property
    def name(self) -> str:
        return self._memory.name

    @property
    def free_slots(self) -> int:
        return len(self._free)

    def take(self) -> int | None:
        """A slot for a chunk to come, or None if all are in use."""
        return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def write(self, slot: int, frames: np.ndarray) -> None:
        """frames f h w 3 uint8."""
        self._view(slot)[:] = frames

    def read(self, slot: int) -> np.ndarray:
        """A copy, the receiver's own."""
        return self._view(slot).copy()

    def close(self) -> None:
        self._memory.close()
        if self._owner:
            self._memory.unlink()

    def _view(self, slot: int) -> np.ndarray:
        return np.ndarray(self._shape, np.uint8, self._memory.buf, slot * self._chunk_bytes)
