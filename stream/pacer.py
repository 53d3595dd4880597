"""Decides which picture and which sound are due at an instant. Knows nothing of codecs, tracks, tasks or the model.

Frame n is due at base + n / fps. The base follows the arrivals of pictures: as early as the slowest of the last
seconds allows, and a small lead. One straggler in that time is a repeated picture, not a reason to delay all others.
Sound decides: it leaves complete and in order, at the deadline; a picture that is not there by then is replaced by
the last one, and never makes its sound wait.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from stream.mix import mix, with_voices
from stream.timing import PLAYBACK_RATE


@dataclass(frozen=True)
class Tick:
    """One frame interval of the session: a picture and the sound that drove it, released together."""

    index: int  # frame number on the sample clock
    frame: np.ndarray | None  # uint8 h w c, RGB; shared by all listeners, so read-only
    picture_index: int  # the frame number `frame` was made for: `index`, or less when it is late or repeated
    repeated: bool  # the picture of the tick before, again
    late_s: float  # how long after its deadline it left
    pcm_48k: np.ndarray  # int16, the sound of this interval, always complete: all voices together
    pts_48k: int  # index of its first sample on the session's clock
    speech_segment: int | None = None  # queued segment heard in it
    stamps: dict[str, float] = field(default_factory=dict)  # capture, chunk, pictures, pace -> monotonic seconds
    stage_s: dict[str, float] = field(default_factory=dict)  # what the picture took on its way, by stage


@dataclass(frozen=True)
class _Picture:
    frame: np.ndarray
    stamps: dict[str, float]
    stage_s: dict[str, float]


@dataclass(frozen=True)
class PacerConfig:
    lead_s: float = 0.015  # time kept between the slowest recent picture and its deadline
    window_s: float = 5.0  # what counts as recent
    slew_s: float = 0.001  # most the base moves per frame: not heard, not seen
    quick_slew_s: float = 0.008  # while nobody speaks and the base is new or far off
    far_s: float = 0.02
    settle_s: float = 1.5  # after settle() the base is new, and forgets sooner
    settle_window_s: float = 0.5
    forgive_after: int = 20  # with so many pictures in the window the slowest is forgiven
    most_stale_frames: int = 2  # an older picture than this is not worth showing
    resync_s: float = 0.5  # so far behind, ticks are skipped
    fade_s: float = 0.005  # how fast sound stops after clear()
    most_pictures: int = 16  # held at once


class Pacer:
    """Push sound and pictures as they come; call `due` at `next_deadline()` until it returns None."""

    def __init__(self, fps: int, config: PacerConfig | None = None) -> None:
        self._config = config or PacerConfig()
        self._fps = fps
        self._samples = PLAYBACK_RATE // fps
        self._base: float | None = None  # None until the first picture
        self._settling_since = 0.0
        self._required: deque[tuple[float, float]] = deque()  # (arrival, smallest base that would have served it)
        self._voices = np.zeros((1, 0), np.int16)  # sound that has not left, a row for each face
        self._sound_first = 0  # position of its first sample
        self._captures: deque[tuple[int, float]] = deque(maxlen=256)  # (frame, when its last sample came)
        self._pictures: dict[int, _Picture] = {}
        self._shown: _Picture | None = None
        self._shown_index = -1
        self.next_index = 0
        self.repeated = self.late = self.dropped = self.skipped = 0  # counts since the beginning

    @property
    def started(self) -> bool:
        return self._base is not None

    @property
    def headroom_s(self) -> float | None:
        """Smallest time that a recent picture was there before its deadline, the straggler forgiven."""
        return None if self._base is None or not self._required else self._base - self._slowest()

    def deadline(self, index: int) -> float | None:
        """When a frame is to leave, as things stand; None before the first picture."""
        return None if self._base is None else self._base + index / self._fps

    def push_sound(self, first_sample: int, voices_48k: np.ndarray, arrivals: dict[int, float]) -> None:
        """Sound of each face, in order, without gaps; `arrivals` tells when the last sample of each frame completed by
        it came."""
        assert first_sample == self._sound_end, "sound must come in order and without gaps"
        self._voices = np.concatenate([with_voices(self._voices, len(voices_48k)), voices_48k], axis=1)
        self._captures.extend(arrivals.items())
        if self._base is None:  # nothing is released yet; a picture for older sound will not come
            self._drop_sound_before(self._sound_end - PLAYBACK_RATE)

    def push_pictures(
        self,
        first_index: int,
        frames: np.ndarray,
        now: float,
        stamps: dict[str, float] | None = None,
        stage_s: dict[str, float] | None = None,
    ) -> None:
        """The pictures of one chunk, f h w c; the last two come back in the ticks that show them."""
        required = now - first_index / self._fps
        if self._base is None:
            self._base = required + self._config.lead_s
            self.settle(now)
            self.next_index = max(first_index, -(-self._sound_first // self._samples))
            self._drop_sound_before(self.next_index * self._samples)
        self._required.append((now, required))
        for index, frame in enumerate(frames, first_index):
            if index <= self._shown_index or index < self.next_index - self._config.most_stale_frames:
                self.dropped += 1
                continue
            frame.flags.writeable = False
            self._pictures[index] = _Picture(frame, {**(stamps or {}), "pictures": now}, stage_s or {})
        while len(self._pictures) > self._config.most_pictures:
            del self._pictures[min(self._pictures)]
            self.dropped += 1

    def settle(self, now: float) -> None:
        """Arrivals have a new rhythm from here on (a first picture, a microphone that begins): look at them afresh."""
        self._settling_since = now
        self._required.clear()

    def next_deadline(self) -> float | None:
        """When to call `due` next; None while nothing can leave: no picture yet, or the sound is not there."""
        return self.deadline(self.next_index) if self._base is not None and self._sound_complete() else None

    def due(self, now: float, quiet: bool = False) -> Tick | None:
        """The next tick if its deadline has passed. `quiet`: nobody speaks, so the base may move faster."""
        if self._base is None or not self._sound_complete():
            return None
        while now - self.deadline(self.next_index) > self._config.resync_s and self._sound_complete(ahead=1):
            self._skip()
        late_s = now - self.deadline(self.next_index)
        if late_s < 0:
            return None
        index, self.next_index = self.next_index, self.next_index + 1
        repeated = not self._show_newest(index)
        stamps = {**(self._shown.stamps if self._shown else {}), "pace": now}
        captured = self._captured(index)
        if captured is not None:
            stamps["capture"] = captured
        pcm_48k = mix(self._voices[:, : self._samples])
        self._drop_sound_before((index + 1) * self._samples)
        self._follow(now, quiet)
        return Tick(
            index=index,
            frame=self._shown.frame if self._shown else None,
            picture_index=self._shown_index,
            repeated=repeated,
            late_s=late_s,
            pcm_48k=pcm_48k,
            pts_48k=index * self._samples,
            stamps=stamps,
            stage_s=self._shown.stage_s if self._shown else {},
        )

    def clear(self, face: int | None = None) -> None:
        """Fade all sound that has not left into silence, or one face's. Pictures go on."""
        silenced = self._voices.copy()  # ticks that left may share the old one
        voices = silenced if face is None else silenced[face : face + 1]
        fade = min(voices.shape[1], round(self._config.fade_s * PLAYBACK_RATE))
        voices[:, :fade] = voices[:, :fade] * np.linspace(1.0, 0.0, fade, dtype=np.float32)
        voices[:, fade:] = 0
        self._voices = silenced

    def _show_newest(self, index: int) -> bool:
        """Put the newest picture that is not ahead of the sound on screen; False if none is newer than what is."""
        ready = [made_for for made_for in self._pictures if made_for <= index]
        newest = max(ready, default=-1)
        fresh = newest > self._shown_index and newest >= index - self._config.most_stale_frames
        if fresh:
            self._shown, self._shown_index = self._pictures[newest], newest
            self.late += newest < index
        else:
            self.repeated += 1
        self.dropped += len(ready) - fresh
        for made_for in ready:
            del self._pictures[made_for]
        return fresh

    def _follow(self, now: float, quiet: bool) -> None:
        """Move the base towards the earliest steady one."""
        settling = now - self._settling_since < self._config.settle_s
        window_s = self._config.settle_window_s if settling else self._config.window_s
        while self._required and self._required[0][0] < now - window_s:
            self._required.popleft()
        if not self._required:
            return
        missing_s = self._slowest() + self._config.lead_s - self._base
        quick = quiet and (settling or abs(missing_s) > self._config.far_s)
        most_s = self._config.quick_slew_s if quick else self._config.slew_s
        self._base += min(most_s, max(-most_s, missing_s))

    def _slowest(self) -> float:
        slowest = sorted((required for _, required in self._required), reverse=True)
        return slowest[1] if len(slowest) >= self._config.forgive_after else slowest[0]

    @property
    def _sound_end(self) -> int:
        return self._sound_first + self._voices.shape[1]

    def _sound_complete(self, ahead: int = 0) -> bool:
        return self._sound_end >= (self.next_index + 1 + ahead) * self._samples

    def _skip(self) -> None:
        self.next_index += 1
        self.skipped += 1
        self._drop_sound_before(self.next_index * self._samples)

    def _captured(self, index: int) -> float | None:
        while self._captures and self._captures[0][0] < index:
            self._captures.popleft()
        return self._captures[0][1] if self._captures and self._captures[0][0] == index else None

    def _drop_sound_before(self, position: int) -> None:
        gone = min(self._voices.shape[1], max(0, position - self._sound_first))
        self._voices = self._voices[:, gone:]
        self._sound_first += gone

