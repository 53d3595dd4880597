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
from weakref import WeakKeyDictionary

import numpy as np

from stream.chunker import AudioChunk, Chunker
from stream.clock import Clock
from stream.events import ClearReport, Closed, SessionEvent, Warning
from stream.expression import expression, face_index
from stream.latency import LatencyLog
from stream.messages import CharacterInfo, Emotion, PresetInfo
from stream.metrics import Metrics
from stream.pacer import Pacer, Tick
from stream.resample import Resampler, check_rate
from stream.sources import Sources
from stream.speech import HARD_CAP_MS, HIGH_WATER_MS, SpeechRefused
from stream.subscription import Subscription
from stream.timeline import Appended, Timeline
from stream.timing import PLAYBACK_RATE, milliseconds, rescale
from stream.voice import Voice

log = logging.getLogger(__name__)

PROBE_PEAK = 3277  # -20 dBFS
PROBE_SIZE = 32  # pixels
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

    characters: dict[str, CharacterInfo]

    def open(self, session: int, character: str, seed: int, chunk_index: int) -> None: ...
    def submit(self, session: int, chunk: AudioChunk, emotions: tuple[Emotion, ...], due: float) -> None: ...
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
        self.faces = pool.characters[character].faces  # titles; other methods name a face by its place among them
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
        self._voices = [Voice() for _ in self.faces]
        self._sources = Sources(voice.speech for voice in self._voices)
        self._timeline = Timeline(self._sources, chunk, lookahead, now)
        self._chunker = Chunker(info, len(self.faces))
        self._pacer = Pacer(info.fps)
        self._log = LatencyLog()
        self._microphones: WeakKeyDictionary[object, tuple[int, Resampler]] = WeakKeyDictionary()  # rate, its filter
        self._driver: object = None  # the microphone that the clock follows
        self._awaited: dict[int, _Awaited] = {}
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

    def face(self, named: int | str | None) -> int:
        """A face by its index or title; None is the first. Raises NotThere."""
        return face_index(self.faces, named)

    def push_microphone(self, pcm_s16: np.ndarray, rate: int, face: int = 0, source: object = None) -> None:
        """Live sound, mono int16, as it arrives. Raises ValueError for a rate that cannot be.

        `source` stands for the microphone where there may be several: the clock follows one, the others fall in. A face
        that the character does not have (any more) is taken for the first."""
        check_rate(rate)
        if self.state is SessionState.CLOSING:
            return
        source = self if source is None else source
        if self._microphones.get(source, (None,))[0] != rate:
            self._microphones[source] = rate, Resampler(rate, PLAYBACK_RATE)
        try:
            pcm_48k = self._microphones[source][1].push(pcm_s16)
            if self._timeline.live and source is not self._driver:
                self._sources.push_beside(face, pcm_48k)
                return
            if source is not self._driver:
                self._driver = source
                self._sources.forget_beside()
            self._sources.face = face
            self._place(self._timeline.push(pcm_48k, self._clock.now()))
        except Exception as error:
            self._fail(error)

    def queue_speech(self, pcm_s16: np.ndarray, rate: int, segment: int, face: int = 0) -> int:
        """Append to a segment; returns the milliseconds now queued for the face. On SpeechRefused, NotThere, ValueError
        nothing is taken."""
        if self.state is SessionState.CLOSING:
            raise SpeechRefused("session_closed", "the session has ended: make a new one")
        return self._voices[self.face(face)].speech.push(pcm_s16, rate, segment)

    def end_segment(self, segment: int, face: int = 0) -> None:
        """No more sound will come for this segment; PlaybackFinished follows once it is heard. Raises NotThere."""
        self._voices[self.face(face)].speech.end(segment)

    def mark(self, name: str, segment: int, offset_ms: int, face: int = 0) -> None:
        """MarkReached follows when the sound at this offset of the segment leaves; a Warning if too many wait. Raises
        NotThere."""
        if not self._voices[self.face(face)].playback.mark(name, segment, offset_ms):
            self._tell(Warning("too_many_marks", f"mark {name!r} is ignored: too many wait already"))

    def clear(self, face: int | None = None) -> ClearReport:
        """Drop all speech not yet heard, at every stage, now; of one face, or of all. Raises NotThere."""
        dropped = position_ms = 0
        for one in self._meant(face):
            unheard, heard_ms, events = self._voices[one].clear()
            dropped, position_ms = dropped + unheard, position_ms or heard_ms
            for event in events:
                self._tell(event, one)
        self._chunker.clear(face)
        self._pacer.clear(face)
        self._tell_credit()
        return ClearReport(milliseconds(dropped), position_ms, self._chunker.epoch)

    def show_emotion(self, name: str, intensity: float = 1.0, face: int | None = None) -> None:
        """How one face, or all, look from the next chunk on. Raises NotThere."""
        emotion = expression(self.info.emotions, name, intensity)
        for one in self._meant(face):
            self._voices[one].emotion = emotion

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
            "queued_ms": sum(voice.speech.buffered_ms for voice in self._voices),
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
        """Raises UnknownCharacter. The old face stays until the new one's first picture is there; who is not in the new
        picture falls silent."""
        require_character(self._pool, name)
        if self.state is SessionState.CLOSING:
            return
        self._pool.close(self.key)
        self.key = next(self._keys)
        self.character = name
        self._change_faces(self._pool.characters[name].faces)
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
        for face, position, piece in appended.pieces:
            self._voices[face].playback.place(position, piece)
        frames = range(appended.first_sample // self._frame, appended.end_sample // self._frame)
        arrivals = {index: appended.arrival_of((index + 1) * self._frame) for index in frames}
        self._pacer.push_sound(appended.first_sample, appended.voices_48k, arrivals)
        gains = [voice.vad.gains for voice in self._voices] if self.options.gate else None
        at = appended.first_sample
        while at < appended.end_sample:
            room = self._chunker.need - at
            heard = self._chunker.push(appended.voices_48k[:, at - appended.first_sample :][:, :room])
            for face, voice in enumerate(self._voices):
                for event in voice.vad.push(heard[face]):
                    self._metrics.vad_event(event)
                    self._tell(event, face)
            at += room
            if chunk := self._chunker.take(gains, self._clock.now()):
                self._submit(chunk)
        self._wake_if_due()

    def _submit(self, chunk: AudioChunk) -> None:
        pcm_48k = np.frombuffer(chunk.pcm_48k, np.int16).reshape(self.info.frames_per_chunk, self._frame)
        peaks = np.abs(pcm_48k.astype(np.int32)).max(axis=1)
        self._awaited[chunk.index] = _Awaited(chunk.completed_at, tuple(peaks.tolist()))
        while len(self._awaited) > AWAITED_CHUNKS:
            del self._awaited[next(iter(self._awaited))]
        due = self._pacer.deadline(chunk.index * self.info.frames_per_chunk)
        emotions = tuple(voice.emotion for voice in self._voices)
        self._pool.submit(self.key, chunk, emotions, chunk.completed_at + self.info.chunk_s if due is None else due)

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
        segments = (voice.playback.segment_at(tick.pts_48k, end_sample) for voice in self._voices)
        tick = replace(tick, speech_segment=next((one for one in segments if one is not None), None))
        for face, voice in enumerate(self._voices):
            for event in voice.playback.released(end_sample, now, voice.speech.buffered_ms):
                self._tell(event, face)
        self._tell_credit()
        speaking = tick.speech_segment is not None or any(voice.vad.speaking for voice in self._voices)
        self._enter(SessionState.SPEAKING if speaking else SessionState.IDLE)
        self.encoders.push(tick)
        for listener in self._listeners:
            listener.put(tick)
        self._log.add(tick)
        self._metrics.tick(tick, self.info.fps)
        if dropped := self._pacer.dropped - self._counted_dropped:
            self._metrics.chunk_dropped(dropped)
            self._counted_dropped += dropped

    def _meant(self, face: int | None) -> range:
        """One face, or all; raises NotThere."""
        return range(len(self.faces)) if face is None else range(self.face(face), self.face(face) + 1)

    def _change_faces(self, faces: tuple[str, ...]) -> None:
        for gone in range(len(faces), len(self.faces)):
            self.clear(gone)
        added = [Voice(heard_from=self._chunker.model_end) for _ in faces[len(self.faces) :]]
        self._voices = self._voices[: len(faces)] + added
        self._sources.queues = [voice.speech for voice in self._voices]
        self._chunker.change_faces(len(faces))
        self.faces = faces

    def _tell(self, event: SessionEvent, face: int = 0) -> None:
        event = replace(event, face=face) if face else event
        for watcher in self._watchers:
            watcher.put(event)

    def _tell_credit(self) -> None:
        for face, voice in enumerate(self._voices):
            if credit := voice.credit():
                self._tell(credit, face)

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
