"""What each face says in the next stretch of the clock: its queued speech, else the microphones that speak for it, else
silence. Knows neither time nor positions, and nothing of what is made of the sound.

One microphone drives the session's clock, so its sound fits by itself. Others run on clocks of their own: they wait in
a short queue, whose surplus is dropped and whose lack is silence.
"""

from collections.abc import Iterable

import numpy as np

from stream.mix import mix
from stream.speech import Piece, SpeechQueue
from stream.timing import PLAYBACK_RATE

MOST_WAITING = PLAYBACK_RATE // 8  # of a microphone beside the clock: 125 ms, a chunk and a packet


class Sources:
    """Add or remove queues to change the number of faces; there is always at least one."""

    def __init__(self, queues: Iterable[SpeechQueue]) -> None:
        self.queues = list(queues)
        self.face = 0  # whom the microphone on the clock speaks for
        self._beside: dict[int, np.ndarray] = {}  # face -> sound of another microphone that waits

    def push_beside(self, face: int, pcm_48k: np.ndarray) -> None:
        """Sound of a microphone that does not drive the clock. What has waited too long gives way to it."""
        waiting = self._beside.get(face, pcm_48k[:0])
        self._beside[face] = np.concatenate([waiting, pcm_48k])[-MOST_WAITING:]

    def forget_beside(self) -> None:
        """Another microphone drives the clock from here on: what of it has waited is late."""
        self._beside.clear()

    def take(self, microphone_48k: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, Piece]]]:
        """n samples, a row for each face, and the queued speech in them: (face, offset of its first sample, what).

        `microphone_48k` is what the clock's microphone said, or silence; it sets the length."""
        voices = np.zeros((len(self.queues), len(microphone_48k)), np.int16)
        voices[self._present(self.face)] = microphone_48k
        for face in list(self._beside):
            self._add_beside(voices[self._present(face)], face)
        placed = []
        for face, queue in enumerate(self.queues):
            if queue.active:
                spoken, pieces = queue.take(len(microphone_48k))
                voices[face, : len(spoken)] = spoken
                offset = 0
                for piece in pieces:
                    placed.append((face, offset, piece))
                    offset += piece.length
        return voices, placed

    def _present(self, face: int) -> int:
        """Of a character with fewer faces, the first takes what was meant for another."""
        return face if face < len(self.queues) else 0

    def _add_beside(self, voice: np.ndarray, face: int) -> None:
        waiting = self._beside.pop(face)
        said, rest = waiting[: len(voice)], waiting[len(voice) :]
        voice[: len(said)] = mix(np.stack([voice[: len(said)], said]))
        if len(rest):
            self._beside[face] = rest
