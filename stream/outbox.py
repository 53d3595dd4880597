"""What waits to be sent to one WebSocket client, and what is left out when the client reads too slowly. No sockets.

Sound and pictures of the same instant go, or are left out, together: after an overflow the queue continues at a
picture that can be decoded alone, and with the sound that belongs to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from stream.protocol import Flag, Kind, MediaFrame


@dataclass(frozen=True)
class OutboxConfig:
    max_lag_us: int = 1_000_000  # of media waiting; beyond it, something is left out
    max_controls: int = 512  # messages are small; a client this far behind on them is gone
    has_video: bool = True


class Outbox:
    """Bounded queue; overflow policy: drop to the last key frame, or to the next where none waits."""

    def __init__(self, config: OutboxConfig | None = None) -> None:
        self.config = config or OutboxConfig()
        self.dropped_us = 0  # media left out since the start
        self._controls: deque[str] = deque()
        self._media: deque[MediaFrame] = deque()
        self._held: deque[MediaFrame] = deque(maxlen=50)  # sound since the overflow, for the key frame to come
        self._awaits_key = self.config.has_video
        self._discontinuity = False

    @property
    def awaits_key(self) -> bool:
        """True while nothing can go out before the encoder makes a key frame."""
        return self._awaits_key

    @property
    def hopeless(self) -> bool:
        return len(self._controls) > self.config.max_controls

    def push_control(self, text: str) -> None:
        self._controls.append(text)

    def push(self, frame: MediaFrame) -> None:
        is_video = frame.kind is Kind.VIDEO_OUT
        if not self._awaits_key:
            self._media.append(frame)
        elif not is_video:
            self._held.append(frame)
            return
        elif Flag.KEY in frame.flags:
            self._resume(frame)
        else:
            return
        if self._lag_us() > self.config.max_lag_us:
            self._overflow()

    def pop(self) -> str | bytes | None:
        """The next text or binary frame to send; messages overtake media. None: nothing waits."""
        if self._controls:
            return self._controls.popleft()
        if not self._media:
            return None
        frame = self._media.popleft()
        if self._discontinuity:
            self._discontinuity = False
            frame = replace(frame, flags=frame.flags | Flag.DISCONTINUITY)
        return frame.encode()

    def drop_media(self) -> None:
        """Only messages go out from here on; used when the session is over."""
        self._media.clear()
        self._held.clear()
        self._awaits_key = True

    def _lag_us(self) -> int:
        return self._media[-1].pts_us - self._media[0].pts_us if self._media else 0

    def _resume(self, key: MediaFrame) -> None:
        self._awaits_key = False
        self._media.append(key)
        self._media.extend(sound for sound in self._held if sound.pts_us >= key.pts_us)
        self._held.clear()

    def _overflow(self) -> None:
        newest_us = self._media[-1].pts_us
        start_us = self._last_start_us(oldest_us=newest_us - self.config.max_lag_us // 2)
        kept = [] if start_us is None else [frame for frame in self._media if frame.pts_us >= start_us]
        self.dropped_us += (newest_us if start_us is None else start_us) - self._media[0].pts_us
        if start_us is None:
            self._awaits_key = True
            self._held.extend(frame for frame in self._media if frame.kind is Kind.AUDIO_OUT)
        self._media = deque(kept)
        self._discontinuity = True

    def _last_start_us(self, oldest_us: int) -> int | None:
        """Media time of the last queued frame that a reader can start at and that leaves room in the queue."""
        for frame in reversed(self._media):
            can_start = Flag.KEY in frame.flags if self.config.has_video else frame.pts_us <= oldest_us
            if can_start and frame.pts_us > self._media[0].pts_us:
                return frame.pts_us if frame.pts_us >= oldest_us or not self.config.has_video else None
        return None
