"""Cuts the session's sound into chunks for the model: one per chunk of the sample clock, each with its context and
look-ahead. Knows nothing of time, of the speech detector's reasons or of who generates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stream.messages import PresetInfo
from stream.mix import mix, with_voices
from stream.resample import Resampler
from stream.timing import PLAYBACK_RATE, rescale

Gains = Callable[[int, int], np.ndarray]  # (first, end) at the model's rate -> gain of each sample, 0 to 1


@dataclass(frozen=True)
class AudioChunk:
    """What the model needs to draw one chunk of frames."""

    index: int
    windows_s16: bytes  # for each face int16 at the model's rate, ends at the chunk's end + look-ahead
    pcm_48k: bytes  # int16, the chunk's own sound: all voices together
    first_sample_48k: int
    epoch: int
    completed_at: float


class Chunker:
    """`push` sound in order; a chunk comes out at the moment its last needed sample is there.

    Each face is heard by itself, all at the same positions. A window's last millisecond is filtered as if silence
    followed it: the true filter would have to wait.
    """

    def __init__(self, info: PresetInfo, faces: int = 1) -> None:
        self._info = info
        self._chunk = rescale(info.samples_per_chunk, info.model_rate, PLAYBACK_RATE)
        self._lookahead = rescale(info.lookahead_samples, info.model_rate, PLAYBACK_RATE)
        self._resamplers = [Resampler(PLAYBACK_RATE, info.model_rate)]
        self._voices_48k = np.zeros((1, 0), np.int16)  # from the next chunk's first sample on, a row for each face
        self._voices_model = np.zeros((1, info.window_samples), np.int16)  # a window before the next sample, no more
        self.model_end = 0  # samples that have come out of the filter, at the model's rate
        self.index = 0  # of the next chunk
        self.epoch = 0
        self.change_faces(faces)

    def change_faces(self, count: int) -> None:
        """So many faces from here on; those that are new have heard silence."""
        added = [self._resamplers[0].silent_twin() for _ in range(count - len(self._resamplers))]
        self._resamplers = self._resamplers[:count] + added
        self._voices_48k = with_voices(self._voices_48k, count)
        self._voices_model = with_voices(self._voices_model, count)

    @property
    def boundary(self) -> int:
        """First sample, at 48 kHz, that belongs to no finished chunk."""
        return self.index * self._chunk

    @property
    def need(self) -> int:
        """Position at 48 kHz that the timeline must reach to finish the next chunk."""
        return self.boundary + self._chunk + self._lookahead

    def push(self, voices_48k: np.ndarray) -> np.ndarray:
        """Take n samples, a row for each face, up to `need` at most (cut longer blocks there); returns the same at the
        model's rate."""
        assert self._end + voices_48k.shape[1] <= self.need, "take the finished chunk first"
        self._voices_48k = np.concatenate([self._voices_48k, voices_48k], axis=1)
        pairs = zip(self._resamplers, voices_48k, strict=True)
        new = np.array([resampler.push(voice) for resampler, voice in pairs])
        self._voices_model = np.concatenate([self._voices_model, new], axis=1)[:, -self._info.window_samples :]
        self.model_end += new.shape[1]
        return new

    def take(self, gains: Sequence[Gains] | None, now: float) -> AudioChunk | None:
        """The next chunk if it is finished; each face's window weighed by its `gains` (None: as they are)."""
        if self._end < self.need:
            return None
        tail = np.array([resampler.tail() for resampler in self._resamplers])
        windows = np.concatenate([self._voices_model, tail], axis=1)[:, -self._info.window_samples :]
        if gains is not None:
            end = self.model_end + tail.shape[1]
            weights = np.array([of_face(end - windows.shape[1], end) for of_face in gains])
            windows = np.rint(windows * weights).astype(np.int16)
        chunk = AudioChunk(
            index=self.index,
            windows_s16=windows.tobytes(),
            pcm_48k=mix(self._voices_48k[:, : self._chunk]).tobytes(),
            first_sample_48k=self.boundary,
            epoch=self.epoch,
            completed_at=now,
        )
        self._voices_48k = self._voices_48k[:, self._chunk :]
        self.index += 1
        return chunk

    def clear(self, face: int | None = None) -> None:
        """Turn all sound that is in no finished chunk into silence, and let the model forget what it heard before; of
        one face, or of all.

        A word that breaks off in its window leaves the mouth open for about a second; in a silent window it closes with
        the next chunk (measured on the embedded preset). Begins a new epoch."""
        self.epoch += 1
        for one in range(len(self._resamplers)) if face is None else [face]:
            self._voices_48k[one] = 0
            self._voices_model[one] = 0
            self._resamplers[one].silence()

    @property
    def _end(self) -> int:
        """Position at 48 kHz that the sound has reached."""
        return self.boundary + self._voices_48k.shape[1]
