"""What to do where a GPU's memory does not suffice for a clip: computed by model/planning, nothing is tried."""

from dataclasses import dataclass

from model.picture import LONG_SIDES, fitted_size
from model.planning.budget import MODES, Machine, Subject, shown
from model.planning.budget_clip import Clip


@dataclass(frozen=True)
class Attempt:
    """What was asked of each GPU, and how many bytes it has."""

    subject: Subject
    width: int
    height: int
    frames: int
    gpus: int
    mode: str
    gpu_bytes: int

    def advice(self) -> str:
        """A sentence that says what would fit."""
        asked = f"{self.frames} frames of {self.width}x{self.height} in mode {self.mode}"
        have = f"the memory of {'the GPU' if self.gpus == 1 else f'{self.gpus} GPUs'} ({shown(self.gpu_bytes, 'B')} each)"
        return f"{have} does not suffice for {asked}; {self._remedy()}"

    def _remedy(self) -> str:
        sizes = {f"--mode {mode}": (self.width, self.height, mode) for mode in MODES if mode != self.mode}
        for side in sorted(LONG_SIDES, reverse=True):
            if side < min(self.width, self.height):
                sizes[f"--image-size {side}"] = (*fitted_size(self.width, self.height, side), self.mode)
        needs = {option: self._bytes(*size) for option, size in sizes.items()}
        fitting = [f"{option} ({shown(size, 'B')})" for option, size in needs.items() if size <= self.gpu_bytes]
        if not fitting:
            return "by the plan neither another mode nor a smaller picture would fit: make fewer frames (--n-frames)"
        return "by the plan would fit: " + ", ".join(fitting)

    def _bytes(self, width: int, height: int, mode: str) -> int:
        return Clip(self.subject, width, height, Machine(self.gpus, mode), self.frames).most_bytes(mode)
