"""The latents of a clip between two of its steps, on disk beside the film to be, so that a killed run loses one step.

They are read again for the very same film only: its note tells.
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.rendering.problems import writing

LATENTS, NOTE, STEP = "latents", "note", "step"


@dataclass(frozen=True)
class Unfinished:
    path: Path
    note: str

    def keep(self, step: int, latents: Tensor) -> None:
        """The latents before that step, in place of earlier ones. Raises CannotGoOn."""
        part = self.path.with_name(self.path.name + ".part")
        with writing(self.path):
            try:
                save_file({LATENTS: latents.contiguous()}, part, {NOTE: self.note, STEP: str(step)})
                part.replace(self.path)
            except SafetensorError as problem:
                raise OSError(str(problem)) from problem
            finally:
                part.unlink(missing_ok=True)

    def found(self) -> tuple[int, Tensor] | None:
        """The step to go on with and its latents; None where there are none, or of another film."""
        try:
            with safe_open(self.path, "pt") as file:
                about = file.metadata() or {}
                return (int(about[STEP]), file.get_tensor(LATENTS)) if about.get(NOTE) == self.note else None
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
