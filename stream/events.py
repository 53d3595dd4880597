"""What a session tells its listeners, as frozen dataclasses. Knows nothing of how a listener is reached.

`face` is the index of the face that an event is about.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class SpeechStarted:
    """The voice detector heard speech begin; `t_s` is the media position, in seconds since the session began."""

    t_s: float
    face: int = 0


@dataclass(frozen=True)
class SpeechStopped:
    """The voice detector heard speech end at media position `t_s`."""

    t_s: float
    face: int = 0


@dataclass(frozen=True)
class PlaybackStarted:
    """The first sample of a queued segment has left the pacer, `position_ms` into the segment (0 unless it resumed)."""

    segment: int
    position_ms: int
    pts_48k: int
    released_at: float  # monotonic seconds
    face: int = 0


@dataclass(frozen=True)
class PlaybackProgress:
    """Once a second while a segment is heard: how much of it has left the pacer, and how much waits behind it."""

    segment: int
    position_ms: int
    buffered_ms: int
    face: int = 0


@dataclass(frozen=True)
class PlaybackFinished:
    """A segment was heard to its end, or was cut off by `clear` after `position_ms`."""

    segment: int
    position_ms: int
    interrupted: bool
    face: int = 0


@dataclass(frozen=True)
class MarkReached:
    """The sound at a mark has left the pacer."""

    name: str
    segment: int
    offset_ms: int
    face: int = 0


@dataclass(frozen=True)
class Credit:
    """How many milliseconds of speech are queued, and how many more may be sent before the high water mark."""

    buffered_ms: int
    available_ms: int
    face: int = 0


@dataclass(frozen=True)
class Warning:  # noqa: A001 - named as on the wire
    """Something went wrong that the session survives."""

    code: str
    message: str


@dataclass(frozen=True)
class Closed:
    """The last event of every session."""

    reason: str


SessionEvent = (
    SpeechStarted
    | SpeechStopped
    | PlaybackStarted
    | PlaybackProgress
    | PlaybackFinished
    | MarkReached
    | Credit
    | Warning
    | Closed
)


@dataclass(frozen=True)
class ClearReport:
    """Answer to `clear`: speech dropped before it was heard, where the cut fell in the segment then heard (0: none),
    and the new epoch; sound tagged with an older epoch is never heard again."""

    dropped_ms: int
    position_ms: int
    epoch: int
