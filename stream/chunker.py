"""Cuts the session's sound into chunks for the model: one per chunk of the sample clock, each with its context and
look-ahead. Knows nothing of time, of the speech detector's reasons or of who generates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stream.messages import PresetInfo
from stream.resample import Resampler
from stream.timing import PLAYBACK_RATE, rescale

Gains = Callable[[int, int], np.ndarray]  # (first, end) at the model's rate -> gain of each sample, 0 to 1


@dataclass(frozen=True)
class AudioChunk:
    """What the model needs to draw one chunk of frames."""

    index: int
    window_s16: bytes  # int16 at the model's rate, ends at the chunk's end + look-ahead
    pcm_48k: bytes  # int16, the chunk's own sound
    first_sample_48k: int
    epoch: int
    completed_at: float


class Chunker:
    """`push` sound in order; a chunk comes out at the moment its last needed sample is there.

    The window's last millisecond is filtered as if silence followed it: the true filter would have to wait.
    """

    def __init__(self, info: PresetInfo) -> None:
        self._info = info
        self._chunk = rescale(info.samples_per_chunk, info.model_rate, PLAYBACK_RATE)
        self._lookahead = rescale(info.lookahead_samples, info.model_rate, PLAYBACK_RATE)
        self._resampler = Resampler(PLAYBACK_RATE, info.model_rate)
        self._pcm_48k = np.zeros(0, np.int16)  # from the next chunk's first sample on
        self._pcm_model = np.zeros(info.window_samples, np.int16)  # one window before the next sample, and no more
        self._model_end = 0  # samples that have come out of the filter
        self.index = 0  # of the next chunk
        self.epoch = 0

    @property
    def boundary(self) -> int:
        """First sample, at 48 kHz, that belongs to no finished chunk."""
        return self.index * self._chunk

    @property
    def need(self) -> int:
        """Position at 48 kHz that the timeline must reach to finish the next chunk."""
        return self.boundary + self._chunk + self._lookahead

    def push(self, pcm_48k: np.ndarray) -> np.ndarray:
        """Take sound up to `need` at most (cut longer blocks there); returns the same at the model's rate."""
        assert self.boundary + len(self._pcm_48k) + len(pcm_48k) <= self.need, "take the finished chunk first"
        self._pcm_48k = np.concatenate([self._pcm_48k, pcm_48k])
        new = self._resampler.push(pcm_48k)
        self._pcm_model = np.concatenate([self._pcm_model, new])[-self._info.window_samples :]
        self._model_end += len(new)
        return new

    def take(self, gains: Gains | None, now: float) -> AudioChunk | None:
        """The next chunk if it is finished; its window weighed by `gains` (None: as it is)."""
        if self.boundary + len(self._pcm_48k) < self.need:
            return None
        tail = self._resampler.tail()
        window = np.concatenate([self._pcm_model, tail])[-self._info.window_samples :]
        if gains is not None:
            end = self._model_end + len(tail)
            window = np.rint(window * gains(end - len(window), end)).astype(np.int16)
        chunk = AudioChunk(
            index=self.index,
            window_s16=window.tobytes(),
            pcm_48k=self._pcm_48k[: self._chunk].tobytes(),
            first_sample_48k=self.boundary,
            epoch=self.epoch,
            completed_at=now,
        )
        self._pcm_48k = self._pcm_48k[self._chunk :]
        self.index += 1
        return chunk

    def clear(self) -> None:
        """Turn all sound that is in no finished chunk into silence, and let the model forget what it heard before.

        A word that breaks off in its window leaves the mouth open for about a second; in a silent window it closes with
        the next chunk (measured on the embedded preset). Begins a new epoch."""
        self.epoch += 1
        self._pcm_48k = np.zeros_like(self._pcm_48k)
        self._pcm_model = np.zeros_like(self._pcm_model)
        self._resampler.silence()
