"""Pictures of a recording from a live model, chunk by chunk as a session would see them. Needs no GPU; writes no files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from model.audio import windows_of
from model.character import Character, load_character
from model.generator import Generator, State
from model.prepare import Order, prepare_embedded
from model.rendering.recording import Recording
from model.rendering.rows import Row
from model.rendering.sitters import portrait
from model.rendering.unfinished import Unfinished


@dataclass(frozen=True)
class StreamSettings:
    preset: str
    weights: str  # a fingerprint
    character: str | None  # for all rows; None: each row's own picture says who it is
    seed: int
    most_frames: int | None
    steps: int | None


class StreamedFilms:
    """A frame is made from the sound of its own time and the look-ahead behind it, so it is shown with that very sound."""

    def __init__(self, generator: Generator, settings: StreamSettings) -> None:
        self.generator, self.settings = generator, settings
        # Characters that are made for a film show their picture when they begin, so it must be there as long as they are.
        self._made = TemporaryDirectory()

    def prepare(self, row: Row, recording: Recording) -> Sequence[str]:
        """Raises ValueError for a row that cannot be made."""
        self._character(row)
        self._frames(recording)
        if row.fps != self.generator.preset.fps:
            raise ValueError(f"the preset {self.settings.preset} makes {self.generator.preset.fps} fps, not {row.fps:g}")
        return ()

    def pictures(
        self, row: Row, recording: Recording, unfinished: Unfinished, progress: Callable[[float], None]
    ) -> Iterator[np.ndarray]:
        """Pieces f H W 3 uint8, `progress` being told the share that is done. Nothing of a chunk is worth keeping."""
        frames, audio = self._frames(recording), self.generator.preset.audio
        state = self.generator.open(self._character(row), self.settings.seed)
        windows = windows_of(torch.from_numpy(recording.pcm_16k)[None], audio)[0]
        for first in range(0, frames, audio.frames_per_chunk):
            pictures, state = self._step(state, windows[first // audio.frames_per_chunk])
            progress(min(1.0, (first + audio.frames_per_chunk) / frames))
            yield pictures[: frames - first]

    def _step(self, state: State, window: Tensor) -> tuple[np.ndarray, State]:
        """One voice: it is the first face's, and the others listen."""
        sounds = np.zeros((len(state.character.faces), len(window)), np.float32)
        sounds[0] = window
        pictures, (after,) = self.generator.step([state], [sounds], steps=self.settings.steps)
        return pictures[0], after

    def _frames(self, recording: Recording) -> int:
        frames = len(recording.pcm_16k) // self.generator.preset.audio.samples_per_frame
        if frames == 0:
            raise ValueError(f"{recording.seconds:.3f} s of sound do not fill one picture")
        return min(frames, self.settings.most_frames or frames)

    def _character(self, row: Row) -> str:
        """The name of who speaks: of the one asked for, of the one whose picture it is, or a new one with that picture."""
        known = self.generator.characters
        if self.settings.character:
            return self.settings.character
        own = [name for name, character in known.items() if Path(character.picture).resolve() == row.image.resolve()]
        if own:
            return own[0]
        name = str(row.image)
        if name not in known:
            order = Order(f"sitter-{len(known)}", "Sitter", portrait(row.image))
            known[name] = replace(self._prepared(order), name=name)
        return name

    def _prepared(self, order: Order) -> Character:
        """Raises ValueError where the model cannot hold the picture."""
        folder = Path(self._made.name)
        prepare_embedded(order, self.generator.vae, folder, lambda stage: None, self.generator.preset)
        return load_character(folder / order.name)
