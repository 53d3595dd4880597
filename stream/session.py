"""One conversation: sound in, pictures with their sound out. The only file here that owns a task and an event loop.

A transport (WebRTC peer, WebSocket) attaches, pushes sound, subscribes to ticks or events, and detaches. All rules
live in the plain objects this file connects; it reads the clock, waits for what is due next and passes results on.
"""

import asyncio
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import numpy as np

from stream.chunker import AudioChunk, Chunker
from stream.clock import Clock
from stream.events import ClearReport, Closed, Credit, SessionEvent, Warning
from stream.latency import LatencyLog
from stream.messages import PresetInfo
from stream.metrics import Metrics
from stream.pacer import Pacer, Tick
from stream.playback import Playback
from stream.resample import Resampler, check_rate
from stream.speech import HARD_CAP_MS, HIGH_WATER_MS, SpeechQueue, SpeechRefused
from stream.subscription import Subscription
from stream.timeline import Appended, Timeline
from stream.timing import PLAYBACK_RATE, milliseconds, rescale
from stream.vad import Vad

log = logging.getLogger(__name__)

PROBE_PEAK = 3277  # -20 dBFS
PROBE_SIZE = 32  # pixels
CREDIT_STEP_MS = 250  # a credit is worth telling when it has grown by this much
OVERSLEPT_S = 0.01  # waking so much later than asked means that nobody was served meanwhile
AWAITED_CHUNKS = 64  # chunks whose pictures may still come
LINGER_S = 5.0  # most that a session outlives its last listener; noticing that one vanished takes up to 9 s before that


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


class UnknownCharacter(Exception):
    """No character of that name; the message lists the names there are."""


class Generation(Protocol):
    """What a session needs of the pool. Pictures come back through `Session.on_pictures`."""

    characters: dict

    def open(self, session: int, character: str, seed: int, chunk_index: int) -> None: ...
    def submit(self, session: int, chunk: AudioChunk, due: float) -> None: ...
    def close(self, session: int) -> None: ...


class Encoders(Protocol):
    """What a session needs of its EncoderHub; transports use more of it."""

    def push(self, tick: Tick) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True)
class _Awaited:
    completed_at: float
    peaks: tuple[int, ...]  # of the sound of each frame


class Session:
    """Made by `Sessions.create`, runs until closed. All methods are for the event loop's thread; none blocks."""

    high_water_ms = HIGH_WATER_MS
    hard_cap_ms = HARD_CAP_MS
    _keys = count(1)  # one for each character a session has had: late pictures of another one find nobody

    def __init__(
        self,
        id: str,
        character: str,
        info: PresetInfo,
        pool: Generation,
        encoders: Encoders,
        metrics: Metrics,
        on_closed: Callable[["Session"], None],
        options: SessionOptions | None = None,
        idle_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.id = id
        self.character = character
        self.info = info
        self.options = options or SessionOptions()
        self.encoders = encoders
        self.state = SessionState.STARTING
        self.key = next(self._keys)  # what the pool calls this session
        self._pool = pool
        self._metrics = metrics
        self._on_closed = on_closed
        self._clock = clock or Clock()
        self.created_at = now = self._clock.now()

        self._frame = PLAYBACK_RATE // info.fps
        chunk = rescale(info.samples_per_chunk, info.model_rate, PLAYBACK_RATE)
        lookahead = rescale(info.lookahead_samples, info.model_rate, PLAYBACK_RATE)
        self._speech = SpeechQueue()
        self._playback = Playback()
        self._timeline = Timeline(self._speech, chunk, lookahead, now)
        self._vad = Vad()
        self._chunker = Chunker(info)
        self._pacer = Pacer(info.fps)
        self._log = LatencyLog()
        self._microphone: tuple[int, Resampler] | None = None  # its rate, and the filter of that stream
        self._awaited: dict[int, _Awaited] = {}
        self._told_credit_ms = HIGH_WATER_MS
        self._counted_dropped = 0

        self._listeners: list[Subscription] = []
        self._watchers: list[Subscription] = []
        self._attached = 0
        self._patience_s = idle_s  # with nobody attached
        self._alone_since = now
        self._wake = asyncio.Event()
        self._asleep_until: float | None = None
        self.reason: str | None = None  # why it ended, or is about to
        pool.open(self.key, character, self.options.seed, self._chunker.index)
        self._task = asyncio.create_task(self._main(), name=f"session-{id}")

    # sound in

    def push_microphone(self, pcm_s16: np.ndarray, rate: int) -> None:
        """Live sound, mono int16, as it arrives. Raises ValueError for a rate that cannot be."""
        check_rate(rate)
        if self.state is SessionState.CLOSING:
            return
        if self._microphone is None or self._microphone[0] != rate:
            self._microphone = rate, Resampler(rate, PLAYBACK_RATE)
        try:
            self._place(self._timeline.push(self._microphone[1].push(pcm_s16), self._clock.now()))
        except Exception as error:
            self._fail(error)

    def queue_speech(self, pcm_s16: np.ndarray, rate: int, segment: int) -> int:
        """Append to a segment; returns the milliseconds now queued. On SpeechRefused, ValueError nothing is taken."""
        if self.state is SessionState.CLOSING:
            raise SpeechRefused("session_closed", "the session has ended: make a new one")
        return self._speech.push(pcm_s16, rate, segment)

    def end_segment(self, segment: int) -> None:
        """No more sound will come for this segment; PlaybackFinished follows once it is heard."""
        self._speech.end(segment)

    def mark(self, name: str, segment: int, offset_ms: int) -> None:
        """MarkReached follows when the sound at this offset of the segment leaves; a Warning if too many wait."""
        if not self._playback.mark(name, segment, offset_ms):
            self._tell(Warning("too_many_marks", f"mark {name!r} is ignored: too many wait already"))

    def clear(self) -> ClearReport:
        """Drop all speech not yet heard, at every stage, now."""
        queued, segments = self._speech.clear()
        placed, position_ms, events = self._playback.clear(segments)
        self._chunker.clear()
        self._pacer.clear()
        for event in events:
            self._tell(event)
        self._tell_credit()
        return ClearReport(milliseconds(queued + placed), position_ms, self._chunker.epoch)

    # pictures in

    def on_pictures(self, index: int, frames: np.ndarray, stage_s: dict[str, float]) -> None:
        """The pool's answer for a chunk: its frames (ours from now on), and the seconds each stage took."""
        if self.state is SessionState.CLOSING:
            return
        try:
            self._show(index, frames, stage_s, self._clock.now())
        except Exception as error:
            self._fail(error)

    def on_model_failure(self) -> None:
        """The pool has given this session up: it ends, rather than hold its last picture for ever."""
        self._end("internal error: the model failed on this session")

    # out

    def subscribe(self, size: int = 8) -> Subscription[Tick]:
        """`async for tick in session.subscribe()`; drops the oldest tick on overflow; `close()` it when done."""
        return self._subscription(self._listeners, size)

    def events(self, size: int = 256) -> Subscription[SessionEvent]:
        """`async for event in session.events()`; ends after Closed."""
        return self._subscription(self._watchers, size)

    def stats(self) -> dict:
        """The last seconds in numbers, ready for JSON; medians unless named otherwise, None where nothing is known."""
        headroom_s = self._pacer.headroom_s
        return {
            "state": self.state.value,
            "character": self.character,
            **self._log.summary(),
            "headroom_ms": None if headroom_s is None else round(headroom_s * 1000, 1),
            "repeated": self._pacer.repeated,
            "late": self._pacer.late,
            "dropped": self._pacer.dropped,
            "skipped": self._pacer.skipped,
            "microphone": self._timeline.live,
            "filled_ms": milliseconds(self._timeline.filled),
            "discarded_ms": milliseconds(self._timeline.discarded),
            "queued_ms": self._speech.buffered_ms,
        }

    # life

    def attach(self) -> None:
        """A transport holds the session open until it calls `detach`."""
        self._attached += 1

    def detach(self) -> None:
        assert self._attached, "detach without attach"
        self._attached -= 1
        self._patience_s = min(self._patience_s, LINGER_S)
        self.touch()

    def touch(self) -> None:
        """Put the idle expiry off."""
        self._alone_since = self._clock.now()
        self._wake_if_due()

    def change_character(self, name: str) -> None:
        """Raises UnknownCharacter. The old face stays until the new one's first picture is there."""
        require_character(self._pool, name)
        if self.state is SessionState.CLOSING:
            return
        self._pool.close(self.key)
        self.key = next(self._keys)
        self.character = name
        self._pool.open(self.key, name, self.options.seed, self._chunker.index)

    async def close(self, reason: str = "closed") -> None:
        """End the session and wait until all it owns is released. Idempotent; the first reason counts."""
        self._end(reason)
        await asyncio.wait([self._task])

    # the task

    async def _main(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:  # not by us, who end by saying why: the loop itself is going down
            self.reason = self.reason or "cancelled"
        except Exception as error:
            self._note_failure(error)
        finally:
            await self._release_all()

    async def _run(self) -> None:
        while self.reason is None:
            self._wake.clear()
            now = self._clock.now()
            if self._asleep_until is not None and now - self._asleep_until > OVERSLEPT_S:
                self._timeline.excuse(now)
            self._asleep_until = None
            while appended := self._timeline.advance(now, self._chunker.need):
                self._place(appended)
            while tick := self._pacer.due(now, quiet=self.state is not SessionState.SPEAKING):
                self._send(tick, now)
            if self._expiry() is not None and now >= self._expiry():
                self.reason = "idle: nobody was attached"
                return
            self._asleep_until = self._next_deadline()
            await self._clock.wait(self._wake, self._asleep_until)

    async def _release_all(self) -> None:
        self._enter(SessionState.CLOSING)
        self._pool.close(self.key)
        self._tell(Closed(self.reason or "closed"))
        for subscription in self._listeners + self._watchers:
            subscription.end()
        self._on_closed(self)
        await self.encoders.close()

    def _end(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            self._wake.set()

    def _fail(self, error: Exception) -> None:
        """An error of ours, met on a caller's path: it ends this session and is none of the caller's business."""
        if self.reason is None:
            self._note_failure(error)
            self._wake.set()

    def _note_failure(self, error: Exception) -> None:
        log.error("session ended by an error", exc_info=error, extra={"session": self.id})
        self.reason = f"internal error: {type(error).__name__}"

    def _expiry(self) -> float | None:
        return None if self._attached else self._alone_since + self._patience_s

    def _next_deadline(self) -> float:
        deadlines = (self._pacer.next_deadline(), self._expiry(), self._timeline.deadline(self._chunker.need))
        return min(deadline for deadline in deadlines if deadline is not None)

    def _wake_if_due(self) -> None:
        """Something moved a deadline: wake the task only if it would oversleep."""
        if self._asleep_until is not None and self._next_deadline() < self._asleep_until:
            self._wake.set()

    # between the parts

    def _place(self, appended: Appended | None) -> None:
        """Sound has its position: to the pacer, the detector, and chunk by chunk to the pool."""
        if appended is None:
            return
        if appended.attached:
            self._pacer.settle(self._clock.now())
        for position, piece in appended.pieces:
            self._playback.place(position, piece)
        frames = range(appended.first_sample // self._frame, appended.end_sample // self._frame)
        arrivals = {index: appended.arrival_of((index + 1) * self._frame) for index in frames}
        self._pacer.push_sound(appended.first_sample, appended.pcm_48k, arrivals)
        taken = 0
        while taken < len(appended.pcm_48k):
            room = self._chunker.need - (appended.first_sample + taken)
            for event in self._vad.push(self._chunker.push(appended.pcm_48k[taken : taken + room])):
                self._metrics.vad_event(event)
                self._tell(event)
            taken += room
            if chunk := self._chunker.take(self._vad.gains if self.options.gate else None, self._clock.now()):
                self._submit(chunk)
        self._wake_if_due()

    def _submit(self, chunk: AudioChunk) -> None:
        pcm_48k = np.frombuffer(chunk.pcm_48k, np.int16).reshape(self.info.frames_per_chunk, self._frame)
        peaks = np.abs(pcm_48k.astype(np.int32)).max(axis=1)
        self._awaited[chunk.index] = _Awaited(chunk.completed_at, tuple(peaks.tolist()))
        while len(self._awaited) > AWAITED_CHUNKS:
            del self._awaited[next(iter(self._awaited))]
        due = self._pacer.deadline(chunk.index * self.info.frames_per_chunk)
        self._pool.submit(self.key, chunk, chunk.completed_at + self.info.chunk_s if due is None else due)

    def _show(self, index: int, frames: np.ndarray, stage_s: dict[str, float], now: float) -> None:
        awaited = self._awaited.pop(index, None)
        if awaited is None:  # answered twice, or so late that we have forgotten it
            return
        first = index * self.info.frames_per_chunk
        if self.options.probe:
            for frame, peak in zip(frames, awaited.peaks, strict=True):
                if peak > PROBE_PEAK:
                    frame[:PROBE_SIZE, :PROBE_SIZE] = 255
        due = self._pacer.deadline(first)
        if due is not None:
            self._metrics.chunk_headroom(due - now)
        self._pacer.push_pictures(first, frames, now, {"chunk": awaited.completed_at}, stage_s)
        if self.state is SessionState.STARTING:
            self._enter(SessionState.IDLE)
        self._wake_if_due()

    def _send(self, tick: Tick, now: float) -> None:
        end_sample = tick.pts_48k + len(tick.pcm_48k)
        tick = replace(tick, speech_segment=self._playback.segment_at(tick.pts_48k, end_sample))
        for event in self._playback.released(end_sample, now, self._speech.buffered_ms):
            self._tell(event)
        self._tell_credit()
        speaking = self._vad.speaking or tick.speech_segment is not None
        self._enter(SessionState.SPEAKING if speaking else SessionState.IDLE)
        self.encoders.push(tick)
        for listener in self._listeners:
            listener.put(tick)
        self._log.add(tick)
        self._metrics.tick(tick, self.info.fps)
        if dropped := self._pacer.dropped - self._counted_dropped:
            self._metrics.chunk_dropped(dropped)
            self._counted_dropped += dropped

    def _tell(self, event: SessionEvent) -> None:
        for watcher in self._watchers:
            watcher.put(event)

    def _tell_credit(self) -> None:
        available_ms = self._speech.available_ms
        grown_ms = available_ms - self._told_credit_ms
        if grown_ms >= CREDIT_STEP_MS or (grown_ms and available_ms == HIGH_WATER_MS):
            self._tell(Credit(self._speech.buffered_ms, available_ms))
        if grown_ms < 0 or grown_ms >= CREDIT_STEP_MS or available_ms == HIGH_WATER_MS:
            self._told_credit_ms = available_ms

    def _enter(self, state: SessionState) -> None:
        if state is not self.state:
            log.debug("%s -> %s", self.state.value, state.value, extra={"session": self.id})
            self.state = state

    def _subscription(self, among: list[Subscription], size: int) -> Subscription:
        def forget(subscription: Subscription) -> None:
            if subscription in among:
                among.remove(subscription)

        subscription = Subscription(size, forget)
        among.append(subscription)
        if self._task.done():
            subscription.end()
        return subscription


def require_character(pool: Generation, name: str) -> None:
    """Raises UnknownCharacter."""
    if name not in pool.characters:
        raise UnknownCharacter(f"no character {name!r}; there are {', '.join(pool.characters)}")
