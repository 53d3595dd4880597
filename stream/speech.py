"""Speech that a bot has queued: segments in order, a stated bound. Knows nothing of clocks, pictures or connections.

A bot synthesises faster than real time. Its sound waits here, at 48 kHz, until the timeline takes it.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from stream.resample import Resampler, check_rate
from stream.timing import PLAYBACK_RATE, milliseconds, samples

HIGH_WATER_MS = 10_000  # credits are counted up to here
HARD_CAP_MS = 30_000  # what would go beyond is refused
HOLD_S = 0.5  # a segment that is open but dry keeps the floor this long before the microphone is heard again
MOST_SEGMENTS = 1_000  # waiting at once


class SpeechRefused(Exception):
    """Queued speech was not taken and nothing else changed; `code` is the word for the wire."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Piece:
    """A stretch of one segment: `length` samples from `offset` on; `last` when nothing of the segment follows."""

    segment: int
    offset: int
    length: int
    last: bool


@dataclass
class _Segment:
    id: int
    rate: int
    resampler: Resampler
    blocks: deque[np.ndarray] = field(default_factory=deque)
    waiting: int = 0  # samples
    taken: int = 0  # samples
    ended: bool = False


class SpeechQueue:
    """First in, first out. A segment is opened by its first sound and ended by `end` or by the next segment's start.

    An id that comes again after its end is a new segment.
    """

    def __init__(self) -> None:
        self._segments: deque[_Segment] = deque()
        self._waiting = 0
        self._dry = 0  # samples of silence given out since the open segment ran dry

    @property
    def buffered_ms(self) -> int:
        return milliseconds(self._waiting)

    @property
    def available_ms(self) -> int:
        """Credit: what may be sent before the high water mark."""
        return max(0, HIGH_WATER_MS - self.buffered_ms)

    @property
    def active(self) -> bool:
        """Whether `take` has anything to say."""
        return bool(self._segments)

    def push(self, pcm_s16: np.ndarray, rate: int, segment: int) -> int:
        """Append sound; returns the milliseconds now waiting. Raises SpeechRefused or ValueError and takes nothing."""
        check_rate(rate)
        adding_ms = milliseconds(len(pcm_s16), rate)
        if self.buffered_ms + adding_ms > HARD_CAP_MS:
            raise SpeechRefused(
                "buffer_overflow",
                f"{adding_ms} ms more would exceed the {HARD_CAP_MS} ms that may wait ({self.buffered_ms} ms do): "
                f"send no more than the credit says",
            )
        target = self._open(segment, rate)
        self._add(target, target.resampler.push(pcm_s16))
        return self.buffered_ms

    def end(self, segment: int) -> None:
        """No more sound will come for this segment. Ending what was never begun, or has ended, changes nothing."""
        if self._segments and self._segments[-1].id == segment:
            self._end(self._segments[-1])

    def take(self, sample_count: int) -> tuple[np.ndarray, list[Piece]]:
        """Up to `sample_count` samples from the front, with what they are; fewer when the speech runs out."""
        sound, pieces, wanted = [], [], sample_count
        while self._segments:
            front = self._segments[0]
            block = self._cut(front, wanted)
            wanted -= len(block)
            finished = front.ended and not front.waiting
            if len(block) or finished:
                pieces.append(Piece(front.id, front.taken - len(block), len(block), finished))
                sound.append(block)
            if not finished:
                break
            self._segments.popleft()
        self._dry = self._dry + wanted if self._segments and self._segments[0].taken and wanted else 0
        if 0 < self._dry <= samples(HOLD_S):
            sound.append(np.zeros(wanted, np.int16))
        return np.concatenate(sound) if sound else np.zeros(0, np.int16), pieces

    def clear(self) -> tuple[int, list[int]]:
        """Drop everything; returns the samples dropped and the ids of the segments that were waiting or open."""
        dropped, ids = self._waiting, [waiting.id for waiting in self._segments]
        self._segments.clear()
        self._waiting = self._dry = 0
        return dropped, ids

    def _open(self, segment: int, rate: int) -> _Segment:
        if self._segments and self._segments[-1].id == segment and not self._segments[-1].ended:
            current = self._segments[-1]
            if current.rate != rate:  # allowed between blocks; the filter starts anew
                self._add(current, current.resampler.flush())
                current.rate, current.resampler = rate, Resampler(rate, PLAYBACK_RATE)
            return current
        if len(self._segments) >= MOST_SEGMENTS:
            raise SpeechRefused("too_many_segments", f"{MOST_SEGMENTS} segments wait already: let some be heard first")
        if self._segments:
            self._end(self._segments[-1])
        self._segments.append(_Segment(segment, rate, Resampler(rate, PLAYBACK_RATE)))
        return self._segments[-1]

    def _end(self, segment: _Segment) -> None:
        if not segment.ended:
            self._add(segment, segment.resampler.flush())
            segment.ended = True

    def _add(self, segment: _Segment, pcm_48k: np.ndarray) -> None:
        if len(pcm_48k):
            segment.blocks.append(pcm_48k)
            segment.waiting += len(pcm_48k)
            self._waiting += len(pcm_48k)

    def _cut(self, segment: _Segment, sample_count: int) -> np.ndarray:
        parts = []
        while segment.blocks and sample_count:
            block = segment.blocks.popleft()
            if len(block) > sample_count:
                segment.blocks.appendleft(block[sample_count:])
                block = block[:sample_count]
            parts.append(block)
            sample_count -= len(block)
        cut = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        segment.waiting -= len(cut)
        segment.taken += len(cut)
        self._waiting -= len(cut)
        return cut
