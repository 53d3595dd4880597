"""The session's one sample clock at 48 kHz: which sound stands at which position. Knows nothing of chunks' contents,
pictures or tasks, and keeps no sound itself.

Sound comes from the microphone as it arrives, else from the server's clock as silence; the sources put what else is
said beside it or in its place. Position and time hang together by the *anchor*: sample n is expected at anchor + n / 48000.
While a microphone is live the anchor is the smallest that recent arrivals allow, so it follows a clock that drifts.

Sound that is late beyond a tolerance is replaced by silence, and as many late samples are discarded when they come:
what follows then stands where it would have stood, and is heard no later than before.
"""

from collections import deque
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from stream.sources import Sources
from stream.speech import Piece
from stream.timing import PLAYBACK_RATE

SHORTEST_PACKET = 480  # samples; blocks without a common measure of at least this are not taken for packets


@dataclass(frozen=True)
class TimelineConfig:
    tolerance_s: float = 0.060  # how late a live sample may be before silence takes its place
    gone_s: float = 0.5  # a microphone silent for this long is gone; its next sample is a new beginning
    patience_s: float = 0.15  # how long late samples are discarded before we accept that the rest was never made
    excuse_s: float = 0.03  # time given to sound that may be waiting unread because we were not listening
    ahead_s: float = 0.1  # a burst that would run this far ahead of its time is old sound: discarded
    start_s: float = 1.0  # so long after a microphone's first sample …
    start_ahead_s: float = 0.03  # … bursts are what waited while the connection was made: less is kept
    anchor_window_s: float = 5.0  # the anchor is the smallest of this long


@dataclass(frozen=True)
class Appended:
    """Sound that now has its place."""

    first_sample: int
    voices_48k: np.ndarray  # int16, a row for each face
    pieces: tuple[tuple[int, int, Piece], ...]  # queued speech in it: (face, position, what)
    arrived_at: float  # when its last sample came
    clocked: bool  # made by the server's clock: sample by sample, not all at once
    attached: bool = False  # a microphone begins here: arrivals have a new rhythm

    @property
    def end_sample(self) -> int:
        return self.first_sample + self.voices_48k.shape[1]

    def arrival_of(self, position: int) -> float:
        """When the sample before `position` came."""
        waited = (self.end_sample - position) / PLAYBACK_RATE if self.clocked else 0.0
        return self.arrived_at - waited


@dataclass
class _Second:
    """The anchors that the arrivals of one second ask for."""

    second: int
    first: float
    smallest: float


class Timeline:
    """Call `push` with each block of the microphone and `advance` at `deadline(need)`; positions never move back."""

    def __init__(
        self, sources: Sources, chunk: int, lookahead: int, now: float, config: TimelineConfig | None = None
    ) -> None:
        """`chunk` and `lookahead` tell where chunks complete; a microphone's packets are laid on these positions."""
        self.head = 0  # the next position to fill
        self.live = False  # a microphone drives the clock
        self.filled = self.discarded = 0  # samples, since the beginning
        self._config = config or TimelineConfig()
        self._sources = sources
        self._chunk, self._lookahead = chunk, lookahead
        self._seconds: deque[_Second] = deque()  # of the window; empty while no microphone is live
        self._anchor = now
        self._owed = 0  # late samples to discard: silence has taken their place
        self._stalled = False
        self._resumed_at: float | None = None
        self._attached_at = self._last_arrival = now
        self._excused_until = now

    def deadline(self, need: int) -> float:
        """When `advance` will fill up to position `need` if nothing arrives until then."""
        expected = self._anchor + need / PLAYBACK_RATE
        if self.live and not self._stalled:
            return max(expected + self._config.tolerance_s, self._excused_until)
        return expected

    def excuse(self, now: float) -> None:
        """This process was held up: what seems late may only be unread. Call before `advance`."""
        self._excused_until = now + self._config.excuse_s

    def push(self, pcm_48k: np.ndarray, now: float) -> Appended | None:
        """A block of the microphone. None: it was too late, or empty."""
        if not len(pcm_48k):
            return None
        gone = not self.live or now - self._last_arrival > self._config.gone_s
        self._last_arrival = now
        if gone or self._lost_for_good(now):
            return self._attach(pcm_48k, now)
        late = min(self._owed, len(pcm_48k))
        self._owed -= late
        ahead_s = self._seconds[0].first - self._anchor_of(self.head + len(pcm_48k) - late, now)
        starting = now - self._attached_at < self._config.start_s
        if late == len(pcm_48k) or ahead_s > (self._config.start_ahead_s if starting else self._config.ahead_s):
            self.discarded += len(pcm_48k)
            return None
        self.discarded += late
        self._stalled, self._resumed_at = False, None
        return self._live_append(pcm_48k[late:], now)

    def advance(self, now: float, need: int) -> Appended | None:
        """Fill up to `need` if its deadline has passed."""
        if self.head >= need or now < self.deadline(need):
            return None
        if self.live and now - self._last_arrival > self._config.gone_s:
            self.live, self._owed, self._stalled = False, 0, False
        missing = need - self.head
        if self.live:
            self._stalled = True
            self._owed += missing
            self.filled += missing
        return self._append(np.zeros(missing, np.int16), now, clocked=True)

    def _lost_for_good(self, now: float) -> bool:
        """Late samples should come in a burst. When they keep coming late at their usual pace, the gap is no delay."""
        if not self._owed:
            return False
        if self._resumed_at is None:
            self._resumed_at = now
        return now - self._resumed_at > self._config.patience_s

    def _attach(self, pcm_48k: np.ndarray, now: float) -> Appended:
        """Begin to follow a microphone, at the position the clock has reached.

        Packets are laid so that a chunk completes with the last sample of one: then no chunk waits for the rest of a
        packet that it does not need. They may come to lie a fraction of a packet early for that.
        """
        length = len(pcm_48k)
        step = gcd(length, self._chunk)
        if step < SHORTEST_PACKET:
            step = 1
        reached = max(self.head + 1, int((now - self._anchor) * PLAYBACK_RATE))
        start = reached + (self._lookahead - reached) % step - length
        silence = np.zeros(max(0, start - self.head), np.int16)
        kept = pcm_48k[max(0, self.head - start) :]
        self.live, self._stalled, self._owed, self._resumed_at = True, False, 0, None
        self._attached_at = now
        self._seconds.clear()
        return replace(self._live_append(np.concatenate([silence, kept]), now), attached=True)

    def _live_append(self, pcm_48k: np.ndarray, now: float) -> Appended:
        appended = self._append(pcm_48k, now, clocked=False)
        anchor, second = self._anchor_of(self.head, now), int(now)
        if not self._seconds or self._seconds[-1].second != second:
            self._seconds.append(_Second(second, anchor, anchor))
        self._seconds[-1].smallest = min(anchor, self._seconds[-1].smallest)
        while self._seconds[0].second < second - self._config.anchor_window_s:
            self._seconds.popleft()
        self._anchor = min(one.smallest for one in self._seconds)
        return appended

    def _append(self, pcm_48k: np.ndarray, now: float, clocked: bool) -> Appended:
        first = self.head
        voices, placed = self._sources.take(pcm_48k)
        self.head += len(pcm_48k)
        pieces = tuple((face, first + offset, piece) for face, offset, piece in placed)
        return Appended(first, voices, pieces, now, clocked)

    @staticmethod
    def _anchor_of(position: int, now: float) -> float:
        return now - position / PLAYBACK_RATE

