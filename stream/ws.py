"""One bot on a WebSocket, speaking `avatar.v1` to a session. Knows nothing of HTTP routes or of how sessions are made.

Each connection is one task group: a receiver, a sender, and a reader each for events, ticks and encoded pictures.
Readers never wait for the socket: they fill an Outbox, which leaves out what a slow client cannot take.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import time
from collections import defaultdict
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image
from starlette.websockets import WebSocket, WebSocketDisconnect

from stream import events, protocol
from stream.expression import NotThere
from stream.outbox import Outbox, OutboxConfig
from stream.protocol import Codec, Flag, Kind, MediaFrame, ProtocolError
from stream.session import Session
from stream.speech import HARD_CAP_MS, HIGH_WATER_MS, SpeechRefused

log = logging.getLogger(__name__)

CONFIGURE_TIMEOUT_S = 10.0
MAX_ERRORS_IN_A_ROW = 50
MOST_GIVEN_SEGMENTS = 1_000  # whose face is remembered
STATS_INTERVAL_S = 1.0
JPEG_QUALITY = 85
NORMAL, POLICY_VIOLATION = 1000, 1008


class Seats:
    """Who speaks for each face of a session: the first connection to send speech, until it leaves. Others listen."""

    def __init__(self) -> None:
        self._speakers: WeakKeyDictionary[Session, dict[int, Connection]] = WeakKeyDictionary()

    def take(self, session: Session, connection: Connection, face: int) -> None:
        self.require(session, connection, face)
        self._speakers.setdefault(session, {})[face] = connection

    def require(self, session: Session, connection: Connection, face: int) -> None:
        """Raises ProtocolError where somebody else sits."""
        if self._speakers.get(session, {}).get(face, connection) is not connection:
            taken = f"another connection speaks for {session.faces[face]} in this session"
            raise ProtocolError("speaker_taken", f"{taken}; this one can listen", True)

    def leave(self, session: Session, connection: Connection) -> None:
        seats = self._speakers.get(session, {})
        for face in [face for face, speaker in seats.items() if speaker is connection]:
            del seats[face]


class CutOff:
    """Segments that `clear` cut in the middle: late sound of a sentence nobody wants any more must not start to play.

    Such a segment is refused until its end comes. Segment 0 is what bots send that do not number their speech: it
    may go on after a clear.
    """

    def __init__(self) -> None:
        self._open: int | None = None
        self._cut: set[int] = set()

    def admit(self, segment: int) -> None:
        if segment in self._cut:
            raise SpeechRefused("segment_cleared", f"segment {segment} was cleared; end it, or speak under a new id")
        self._open = segment

    def end(self, segment: int) -> None:
        self._cut.discard(segment)
        if segment == self._open:
            self._open = None

    def clear(self) -> None:
        if self._open:
            self._cut = {self._open}  # a bot speaks one segment at a time: what was cut before is over
        self._open = None


class _Gone(Exception):
    """The connection is over; ends its task group."""


class Connection:
    """One accepted socket attached to one session, from `session.configure` until either of them ends."""

    def __init__(self, socket: WebSocket, session: Session, seats: Seats) -> None:
        self._socket = socket
        self._session = session
        self._seats = seats
        self._outbox = Outbox()
        self._filled = asyncio.Event()
        self._configured: protocol.Configure | None = None
        self._pts_us = 0  # media clock of the last tick
        self._face = 0  # who says what comes, unless its segment was given to another
        self._faces: dict[int, int] = {}  # segment -> face
        self._received_ms: defaultdict[int, float] = defaultdict(float)  # by face, as the next
        self._cut_offs: defaultdict[int, CutOff] = defaultdict(CutOff)
        self._refused: tuple[str, int] | None = None  # code and segment of the sound refused last
        self._errors_in_a_row = 0
        self._close: tuple[int, str] | None = None

    async def run(self) -> None:
        """Serves the connection; returns when it is closed, whoever closed it."""
        self._session.attach()
        try:
            await self._first_configure()
            self._outbox = Outbox(OutboxConfig(has_video=self._configured.output.video != "none"))
            self._say(self._ready())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._send())
                tasks.create_task(self._relay_events())
                tasks.create_task(self._relay_ticks())
                if self._configured.output.video == "h264":
                    tasks.create_task(self._relay_h264())
        except* _Gone:
            pass
        finally:
            self._seats.leave(self._session, self)
            self._session.detach()

    # From the client ---------------------------------------------------------------------------------------------

    async def _first_configure(self) -> None:
        try:
            async with asyncio.timeout(CONFIGURE_TIMEOUT_S):
                while True:
                    text, frame = await self._next_frame()
                    try:
                        if text is None:
                            protocol.decode_pcm_in(frame)
                            raise ProtocolError("not_configured", "send session.configure before sound", True)
                        message = protocol.decode_control(text)
                        if isinstance(message, protocol.Configure):
                            return self._configure(message)
                        raise ProtocolError("not_configured", f"send session.configure before {message.type}", True)
                    except ProtocolError as error:
                        await self._transmit(protocol.encode_control(self._counted(error)))
        except TimeoutError:
            await self._close_socket(POLICY_VIOLATION, f"no session.configure within {CONFIGURE_TIMEOUT_S:.0f} s")
            raise _Gone from None

    async def _receive(self) -> None:
        while True:
            text, frame = await self._next_frame()
            try:
                if text is None:
                    self._hear(protocol.decode_pcm_in(frame))
                else:
                    await self._obey(protocol.decode_control(text))
                self._errors_in_a_row = 0
            except ProtocolError as error:
                self._say(self._counted(error))

    async def _next_frame(self) -> tuple[str | None, bytes]:
        try:
            message = await self._socket.receive()
        except RuntimeError:  # the sender closed the socket while we waited
            raise _Gone from None
        if message["type"] == "websocket.disconnect":
            raise _Gone
        return message.get("text"), message.get("bytes") or b""

    def _counted(self, error: ProtocolError) -> protocol.Error:
        self._errors_in_a_row += 1
        if self._errors_in_a_row > MAX_ERRORS_IN_A_ROW:
            self._finish(POLICY_VIOLATION, f"{MAX_ERRORS_IN_A_ROW} errors in a row, the last one: {error.code}")
        return error.event()

    def _configure(self, message: protocol.Configure) -> None:
        self._face = self._named(message.face)
        self._configured = message

    def _named(self, face: int | str | None) -> int:
        try:
            return self._session.face(face)
        except NotThere as error:
            raise ProtocolError(error.code, str(error)) from None

    def _face_of(self, segment: int) -> int:
        """Checked anew each time: the character may have changed."""
        return self._named(self._faces.get(segment, self._face))

    def _hear(self, media: MediaFrame) -> None:
        live = self._configured.mode == "live"
        face = self._named(self._face) if live else self._face_of(media.segment_id)
        self._seats.take(self._session, self, face)
        samples = np.frombuffer(media.payload, dtype="<i2")
        self._received_ms[face] += samples.size * 1000 / self._configured.input_rate
        if live:
            self._session.push_microphone(samples, self._configured.input_rate, face, source=self)
            return
        if samples.size:
            self._queue(samples, media.segment_id, face)
        if Flag.SEGMENT_END in media.flags:
            self._end_segment(media.segment_id)

    def _queue(self, samples: np.ndarray, segment: int, face: int) -> None:
        try:
            self._cut_offs[face].admit(segment)
            self._session.queue_speech(samples, self._configured.input_rate, segment, face)
            self._refused = None
        except SpeechRefused as refusal:
            # A bot sends on for a while until it hears of it; one word for all that it sends meanwhile.
            told, self._refused = self._refused, (refusal.code, segment)
            if told != self._refused:
                raise ProtocolError(refusal.code, str(refusal), retryable=True) from None

    async def _obey(self, message: protocol.ClientMessage) -> None:
        session = self._session
        match message:
            case protocol.Ping():
                self._say(protocol.Pong(t=message.t, t_server=time.time(), pts_us=self._pts_us))
            case protocol.Configure():
                if message.output != self._configured.output:
                    raise ProtocolError("already_configured", "the output cannot change; open another connection")
                self._configure(message)
                self._say(self._ready())
            case protocol.CloseSession():
                await session.close("closed by the client")
            case protocol.SegmentStart():
                self._give_segment(message.segment_id, self._named(message.face))
            case protocol.SegmentEnd():
                self._seats.take(session, self, self._face_of(message.segment_id))
                self._end_segment(message.segment_id)
            case protocol.Mark():
                self._seats.take(session, self, self._face_of(message.segment_id))
                session.mark(message.name, message.segment_id, message.offset_ms, self._face_of(message.segment_id))
            case protocol.Clear():
                self._clear(None if message.face is None else self._named(message.face))
            case protocol.Emotion():
                self._show_emotion(message)

    def _give_segment(self, segment: int, face: int) -> None:
        self._faces.pop(segment, None)
        self._faces[segment] = face
        if len(self._faces) > MOST_GIVEN_SEGMENTS:
            del self._faces[next(iter(self._faces))]

    def _end_segment(self, segment: int) -> None:
        face = self._face_of(segment)
        self._cut_offs[face].end(segment)
        self._session.end_segment(segment, face)

    def _clear(self, face: int | None) -> None:
        faces = range(len(self._session.faces)) if face is None else [face]
        for one in faces:
            self._seats.require(self._session, self, one)
        for one in faces:
            self._cut_offs[one].clear()
        report = self._session.clear(face)
        self._say(protocol.Cleared(epoch=report.epoch, position_ms=report.position_ms, dropped_ms=report.dropped_ms))

    def _show_emotion(self, wish: protocol.Emotion) -> None:
        face = None if wish.face is None else self._named(wish.face)
        try:
            self._session.show_emotion(wish.name, wish.intensity, face)
        except NotThere as error:
            raise ProtocolError(error.code, str(error)) from None

    # To the client -----------------------------------------------------------------------------------------------

    def _ready(self) -> protocol.Ready:
        info, wanted = self._session.info, self._configured
        chunk_ms = info.chunk_s * 1000
        lookahead_ms = info.lookahead_samples * 1000 / info.model_rate
        return protocol.Ready(
            session=self._session.id,
            character=self._session.character,
            faces=list(self._session.faces),
            emotions=list(info.emotions),
            input_rate=wanted.input_rate,
            mode=wanted.mode,
            face=self._face,
            output=protocol.Media(
                video=wanted.output.video,
                width=info.width,
                height=info.height,
                fps=info.fps,
                audio_rate=info.playback_samples_per_frame * info.fps if wanted.output.audio else 0,
            ),
            limits=protocol.Limits(high_water_ms=HIGH_WATER_MS, hard_cap_ms=HARD_CAP_MS),
            latency=protocol.Latency(
                chunk_ms=chunk_ms,
                lookahead_ms=lookahead_ms,
                # A chunk may take its own duration to generate before it is late.
                est_first_frame_ms=2 * chunk_ms + lookahead_ms,
            ),
            pts_us=self._pts_us,
            t_server=time.time(),
        )

    def _say(self, message: protocol.Message) -> None:
        self._outbox.push_control(protocol.encode_control(message))
        self._filled.set()

    def _warn(self, code: str, message: str) -> None:
        self._say(protocol.Warning(code=code, message=message))

    def _put(self, frame: MediaFrame) -> None:
        dropped_before_us = self._outbox.dropped_us
        self._outbox.push(frame)
        self._filled.set()
        if dropped_us := self._outbox.dropped_us - dropped_before_us:
            self._warn("slow_reader", f"{dropped_us // 1000} ms of picture and sound left out: read faster")

    def _finish(self, code: int, reason: str) -> None:
        """Sends what is to be said, then closes."""
        self._close = self._close or (code, reason)
        self._outbox.drop_media()
        self._filled.set()

    async def _send(self) -> None:
        while True:
            item = self._outbox.pop()
            if item is not None:
                await self._transmit(item)
            elif self._close:
                await self._close_socket(*self._close)
                raise _Gone
            else:
                self._filled.clear()
                await self._filled.wait()
            if self._outbox.hopeless:
                log.warning("client does not read, connection dropped", extra={"session": self._session.id})
                raise _Gone

    async def _transmit(self, item: str | bytes) -> None:
        try:
            if isinstance(item, str):
                await self._socket.send_text(item)
            else:
                await self._socket.send_bytes(item)
        except (RuntimeError, WebSocketDisconnect):  # Starlette's words for a client that went away
            raise _Gone from None

    async def _close_socket(self, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code, reason)

    async def _relay_events(self) -> None:
        session_events = self._session.events()
        try:
            async for event in session_events:
                if isinstance(event, events.Closed):
                    self._say(protocol.Closed(reason=event.reason))
                    break
                self._say(self._worded(event))
        finally:
            session_events.close()
        self._finish(NORMAL, "session closed")

    def _worded(self, event: events.SessionEvent) -> protocol.Message:
        match event:
            case events.SpeechStarted(t_s=t_s):
                return protocol.VadStart(pts_us=round(t_s * 1e6), face=event.face)
            case events.SpeechStopped(t_s=t_s):
                return protocol.VadEnd(pts_us=round(t_s * 1e6), face=event.face)
            case events.PlaybackStarted():
                return protocol.PlaybackStarted(
                    segment_id=event.segment,
                    pts_us=us_of_48k(event.pts_48k),
                    t_server=time.time(),
                    face=event.face,
                )
            case events.PlaybackProgress():
                return protocol.PlaybackProgress(
                    segment_id=event.segment,
                    position_ms=event.position_ms,
                    buffered_ms=event.buffered_ms,
                    face=event.face,
                )
            case events.PlaybackFinished():
                return protocol.PlaybackFinished(
                    segment_id=event.segment,
                    pts_us=self._pts_us,
                    position_ms=event.position_ms,
                    interrupted=event.interrupted,
                    face=event.face,
                )
            case events.MarkReached():
                return protocol.MarkReached(name=event.name, segment_id=event.segment, pts_us=self._pts_us, face=event.face)
            case events.Credit():
                return protocol.Credit(
                    received_ms=self._received_ms[event.face],
                    buffered_ms=event.buffered_ms,
                    free_ms=event.available_ms,
                    face=event.face,
                )
            case events.Warning():
                return protocol.Warning(code=event.code, message=event.message)
        raise AssertionError(f"no words for {event}")

    async def _relay_ticks(self) -> None:
        """The media clock, sound, JPEG pictures and statistics, from the ticks of the pacer."""
        output = self._configured.output
        stats_due_us = 0
        ticks = self._session.subscribe()
        try:
            async for tick in ticks:
                self._pts_us = us_of_48k(tick.pts_48k)
                if output.video == "jpeg" and tick.frame is not None and (not tick.repeated or self._outbox.awaits_key):
                    jpeg = await asyncio.to_thread(encode_jpeg, tick.frame)
                    self._put(MediaFrame(Kind.VIDEO_OUT, jpeg, 0, self._pts_us, Flag.KEY, Codec.JPEG))
                if output.audio:
                    pcm = tick.pcm_48k.astype("<i2", copy=False).tobytes()
                    self._put(MediaFrame(Kind.AUDIO_OUT, pcm, tick.speech_segment or 0, self._pts_us))
                if self._pts_us >= stats_due_us:
                    stats_due_us = self._pts_us + round(STATS_INTERVAL_S * 1e6)
                    self._say(protocol.Stats(stats=self._session.stats()))
        finally:
            ticks.close()

    async def _relay_h264(self) -> None:
        pictures = self._session.encoders.subscribe("h264")
        try:
            async for picture in pictures:
                flags = Flag.KEY if picture.key else Flag.NONE
                self._put(MediaFrame(Kind.VIDEO_OUT, picture.data, 0, us_of_90k(picture.pts_90k), flags, Codec.H264))
                if self._outbox.awaits_key:
                    pictures.request_key()
        finally:
            pictures.close()


def us_of_48k(ticks: int) -> int:
    return ticks * 1_000_000 // 48_000


def us_of_90k(ticks: int) -> int:
    return ticks * 1_000_000 // 90_000


def encode_jpeg(frame_rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame_rgb).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
