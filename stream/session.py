"""One conversation: sound in, pictures with their sound out. The only file here that owns a task and an event loop.

A transport (WebRTC peer, WebSocket) attaches, pushes sound, subscribes to ticks or events, and detaches.
"""

import enum
from dataclasses import dataclass

import numpy as np

from stream.events import ClearReport, SessionEvent
from stream.messages import PresetInfo
from stream.pacer import Tick
from stream.speech import SpeechRefused  # noqa: F401 - what queue_speech raises
from stream.subscription import Subscription


class SessionState(enum.StrEnum):
    STARTING = "starting"  # no picture yet
    IDLE = "idle"
    SPEAKING = "speaking"  # the detector hears speech, or a queued segment is being heard
    CLOSING = "closing"


@dataclass(frozen=True)
class SessionOptions:
    """What the maker of a session may choose."""

    seed: int = 0
    probe: bool = False  # white square top left while the driving sound exceeds -20 dBFS
    gate: bool = True  # let only what the detector takes for speech move the mouth


class Session:
    """Made by `Sessions.create`. All methods are for the event loop's thread and return at once; none blocks."""

    id: str
    character: str
    info: PresetInfo
    options: SessionOptions
    state: SessionState
    created_at: float  # monotonic seconds
    encoders: object  # the EncoderHub made for this session; gets every tick through `push(tick)`, and `close()`

    def push_microphone(self, pcm_s16: np.ndarray, rate: int) -> None:
        """Live sound, mono int16, as it arrives. Raises ValueError for a rate that cannot be."""
        raise NotImplementedError

    def queue_speech(self, pcm_s16: np.ndarray, rate: int, segment: int) -> int:
        """Append to a segment; returns the milliseconds now queued. Raises SpeechRefused (nothing taken), ValueError."""
        raise NotImplementedError

    def end_segment(self, segment: int) -> None:
        """No more sound will come for this segment; PlaybackFinished follows once it is heard."""
        raise NotImplementedError

    def mark(self, name: str, segment: int, offset_ms: int) -> None:
        """MarkReached follows when the sound at this offset of the segment leaves. Raises SpeechRefused."""
        raise NotImplementedError

    def clear(self) -> ClearReport:
        """Drop all speech not yet heard, at every stage, now."""
        raise NotImplementedError

    def subscribe(self, size: int = 8) -> Subscription[Tick]:
        """`async for tick in session.subscribe()`; drops the oldest tick on overflow; `close()` it when done."""
        raise NotImplementedError

    def events(self, size: int = 256) -> Subscription[SessionEvent]:
        """`async for event in session.events()`; ends after Closed."""
        raise NotImplementedError

    def attach(self) -> None:
        """A transport holds the session open until it calls `detach`."""
        raise NotImplementedError

    def detach(self) -> None:
        raise NotImplementedError

    def touch(self) -> None:
        """Put the idle expiry off."""
        raise NotImplementedError

    def change_character(self, name: str) -> None:
        """Raises UnknownCharacter. The old face stays until the new one's first picture is there."""
        raise NotImplementedError

    def stats(self) -> dict:
        """Medians of the last seconds, cheap: fps, repeated, dropped, latency_s per stage, av_offset_s, headroom_s, ..."""
        raise NotImplementedError

    async def close(self, reason: str = "closed") -> None:
        """End the session and wait until all it owns is released. Idempotent."""
        raise NotImplementedError
