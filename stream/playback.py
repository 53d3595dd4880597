"""What of the queued speech has really been heard: turns released positions into events. Knows nothing of the queue.

"Heard" means that the pacer has released it; a queued sentence may still be cut off, a released one has left.
"""

from collections import deque
from dataclasses import dataclass

from stream.events import MarkReached, PlaybackFinished, PlaybackProgress, PlaybackStarted, SessionEvent
from stream.speech import Piece
from stream.timing import PLAYBACK_RATE, milliseconds

MOST_MARKS = 1_000  # waiting at once


@dataclass
class _Heard:
    segment: int
    position: int = 0  # samples of it released
    reported: int = 0  # position at the last progress


class Playback:
    """Call `place` for every piece as it gets its position, `released` for every tick."""

    def __init__(self) -> None:
        self._placed: deque[tuple[int, Piece]] = deque()
        self._marks: list[tuple[int, int, str]] = []  # (segment, offset_ms, name)
        self._heard: _Heard | None = None

    @property
    def unheard_samples(self) -> int:
        """Placed on the timeline, not yet released."""
        waiting = sum(piece.length for _, piece in self._placed)
        if self._placed and self._heard and self._placed[0][1].segment == self._heard.segment:
            waiting -= max(0, self._heard.position - self._placed[0][1].offset)
        return waiting

    def place(self, position: int, piece: Piece) -> None:
        self._placed.append((position, piece))

    def mark(self, name: str, segment: int, offset_ms: int) -> bool:
        """Remember a mark; False when too many wait already, and this one will not be told."""
        if len(self._marks) >= MOST_MARKS:
            return False
        self._marks.append((segment, offset_ms, name))
        return True

    def segment_at(self, first_sample: int, end_sample: int) -> int | None:
        """The segment heard in an interval that is not yet released; the first, if there are several."""
        for position, piece in self._placed:
            if position >= end_sample:
                break
            if piece.length and position + piece.length > first_sample:
                return piece.segment
        return None

    def released(self, end_sample: int, now: float, queued_ms: int) -> list[SessionEvent]:
        """All sound before `end_sample` has left; `queued_ms` waits before the timeline."""
        events: list[SessionEvent] = []
        while self._placed:
            position, piece = self._placed[0]
            if position >= end_sample and (piece.length or position > end_sample):
                break
            if self._heard is None or self._heard.segment != piece.segment:
                self._heard = _Heard(piece.segment)
                events.append(PlaybackStarted(piece.segment, milliseconds(piece.offset), position, now))
            complete = position + piece.length <= end_sample
            self._heard.position = piece.offset + (piece.length if complete else end_sample - position)
            if complete:
                self._placed.popleft()
            events += self._reached(piece.segment, self._heard.position, everything=complete and piece.last)
            if not complete:
                break
            if piece.last:
                events.append(PlaybackFinished(piece.segment, milliseconds(self._heard.position), interrupted=False))
                self._heard = None
        if self._heard and self._heard.position - self._heard.reported >= PLAYBACK_RATE:
            self._heard.reported = self._heard.position
            buffered_ms = queued_ms + milliseconds(self.unheard_samples)
            events.append(PlaybackProgress(self._heard.segment, milliseconds(self._heard.position), buffered_ms))
        return events

    def clear(self, waiting_segments: list[int]) -> tuple[int, int, list[SessionEvent]]:
        """Forget what was placed. Returns the samples dropped, the position (ms) of the segment that was being heard
        (0: none), and the end of every segment cut off: the one heard, those placed, those still queued."""
        dropped = self.unheard_samples
        heard, self._heard = self._heard, None
        cut_off = dict.fromkeys([piece.segment for _, piece in self._placed] + waiting_segments)
        events: list[SessionEvent] = []
        position_ms = milliseconds(heard.position) if heard else 0
        if heard:
            cut_off.pop(heard.segment, None)
            events.append(PlaybackFinished(heard.segment, position_ms, interrupted=True))
        events += [PlaybackFinished(segment, 0, interrupted=True) for segment in cut_off]
        self._placed.clear()
        self._marks.clear()
        return dropped, position_ms, events

    def _reached(self, segment: int, position: int, everything: bool) -> list[SessionEvent]:
        """Marks up to a position, in the order of their offsets; at a segment's end also those set beyond it."""
        reached = [
            mark for mark in self._marks if mark[0] == segment and (everything or mark[1] <= milliseconds(position))
        ]
        if reached:
            self._marks = [mark for mark in self._marks if mark not in reached]
        return [MarkReached(name, of, offset_ms) for of, offset_ms, name in sorted(reached, key=lambda mark: mark[1])]
