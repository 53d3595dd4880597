"""The bot protocol `avatar.v1`: what travels on the WebSocket, as values. Knows neither sockets nor sessions.

Text frames are JSON control messages. Binary frames are media: a 16-byte little-endian header, then the payload.

    u8 version (1)   u8 kind   u8 flags   u8 codec   u32 segment id   u64 media time in microseconds

Media time is the session's own clock: microseconds of sound since the session began, the same for pictures and sound.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

SUBPROTOCOL = "avatar.v1"
VERSION = 1
HEADER = struct.Struct("<BBBBIQ")
MAX_FRAME_BYTES = 200_000  # a second of 48 kHz sound is 96 000; the socket itself gives up at 256 KiB
MAX_TEXT_BYTES = 64 * 1024
MIN_RATE, MAX_RATE = 8_000, 48_000


class Kind(IntEnum):
    PCM_IN = 1
    VIDEO_OUT = 2
    AUDIO_OUT = 3


class Flag(IntFlag):
    NONE = 0
    KEY = 1  # a picture that can be decoded without the ones before it
    SEGMENT_END = 2  # the last sound of its segment
    DISCONTINUITY = 4  # something before this frame was left out


class Codec(IntEnum):
    PCM_S16LE = 0
    H264 = 1  # Annex-B access unit
    JPEG = 2


class ProtocolError(Exception):
    """Input that breaks the protocol. The session goes on; the client is told code and message."""

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable

    def event(self) -> Error:
        return Error(code=self.code, message=self.message, retryable=self.retryable)


@dataclass(frozen=True)
class MediaFrame:
    """One binary frame. `payload` of PCM is little-endian 16-bit mono."""

    kind: Kind
    payload: bytes
    segment_id: int = 0
    pts_us: int = 0
    flags: Flag = Flag.NONE
    codec: Codec = Codec.PCM_S16LE

    def encode(self) -> bytes:
        header = HEADER.pack(VERSION, self.kind, self.flags, self.codec, self.segment_id, self.pts_us)
        return header + self.payload


def decode_media(frame: bytes) -> MediaFrame:
    """A binary frame as a value; raises ProtocolError that says what is wrong with it."""
    if len(frame) > MAX_FRAME_BYTES:
        raise ProtocolError(
            "frame_too_large", f"frame of {len(frame)} bytes; send at most {MAX_FRAME_BYTES} bytes in one frame"
        )
    if len(frame) < HEADER.size:
        raise ProtocolError("bad_frame", f"frame of {len(frame)} bytes is shorter than its {HEADER.size}-byte header")
    version, kind, flags, codec, segment_id, pts_us = HEADER.unpack_from(frame)
    if version != VERSION:
        raise ProtocolError("unsupported_version", f"frame version {version}; this server speaks version {VERSION}")
    try:
        kind, codec = Kind(kind), Codec(codec)
    except ValueError as error:
        raise ProtocolError("bad_frame", f"frame header: {error}") from None
    return MediaFrame(kind, frame[HEADER.size :], segment_id, pts_us, Flag(flags), codec)


def decode_pcm_in(frame: bytes) -> MediaFrame:
    """A client's sound; raises ProtocolError for every other frame."""
    media = decode_media(frame)
    if media.kind is not Kind.PCM_IN:
        raise ProtocolError("bad_frame", f"frame kind {int(media.kind)}; clients send kind {int(Kind.PCM_IN)} only")
    if media.codec is not Codec.PCM_S16LE:
        raise ProtocolError("bad_frame", f"frame codec {int(media.codec)}; sound is codec 0, signed 16-bit PCM")
    if len(media.payload) % 2:
        raise ProtocolError(
            "odd_length", f"{len(media.payload)} bytes of sound; 16-bit samples need an even number of bytes"
        )
    return media


class Message(BaseModel):
    """A control message. A client ignores fields it does not know, so that newer servers can say more."""


class Request(Message):
    """What a client sends. What it misspells is an error, not something silently ignored."""

    model_config = ConfigDict(extra="forbid")


# What a client sends -------------------------------------------------------------------------------------------------


Face = Annotated[int, Field(strict=True, ge=0)] | Annotated[str, Field(strict=True, min_length=1)]  # index or title


class Output(Request):
    """What this connection wants back. `none` and `false` make it a remote control that only hears events."""

    video: Literal["h264", "jpeg", "none"] = "h264"
    audio: bool = True


class Configure(Request):
    """First message of a connection, answered by `session.ready`. Sent again, it may change the input only.

    `face` says what this connection sends; `session.ready` lists the faces, and without it the first one speaks.
    """

    type: Literal["session.configure"] = "session.configure"
    input_rate: Annotated[int, Field(strict=True, ge=MIN_RATE, le=MAX_RATE)] = 16_000
    mode: Literal["speech", "live"] = "speech"  # speech: queued, any pace; live: a microphone, as it happens
    face: Face | None = None
    output: Output = Output()


class SegmentStart(Request):
    """Gives a segment to another face than the connection's, ahead of its sound; the number stays that face's."""

    type: Literal["segment.start"] = "segment.start"
    segment_id: Annotated[int, Field(ge=0, lt=2**32)]
    face: Face


class SegmentEnd(Request):
    type: Literal["segment.end"] = "segment.end"
    segment_id: Annotated[int, Field(ge=0, lt=2**32)]


class Clear(Request):
    """Stop speaking now: drops everything not yet spoken, at every stage; of one face, or of all."""

    type: Literal["clear"] = "clear"
    face: Face | None = None


class Emotion(Request):
    """How one face, or all, look from the next chunk on. `session.ready` lists the emotions; anyone attached may ask."""

    type: Literal["emotion"] = "emotion"
    name: Annotated[str, Field(min_length=1, max_length=100)]
    intensity: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    face: Face | None = None


class Mark(Request):
    """Asks for `mark.reached` when the sound `offset_ms` into the segment is played."""

    type: Literal["mark"] = "mark"
    name: Annotated[str, Field(min_length=1, max_length=200)]
    segment_id: Annotated[int, Field(ge=0, lt=2**32)] = 0
    offset_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 0


class Voice(Request):
    """On the data channel of a WebRTC connection: whom its microphone speaks for from now on."""

    type: Literal["voice"] = "voice"
    face: Face


class Ping(Request):
    type: Literal["ping"] = "ping"
    t: float = 0.0


class CloseSession(Request):
    """Ends the session for everybody attached to it. To leave alone, just close the socket."""

    type: Literal["session.close"] = "session.close"


ClientMessage = Annotated[
    Configure | SegmentStart | SegmentEnd | Clear | Mark | Emotion | Ping | CloseSession, Field(discriminator="type")
]
_client_message: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
ChannelMessage = Annotated[Emotion | Voice, Field(discriminator="type")]
_channel_message: TypeAdapter[ChannelMessage] = TypeAdapter(ChannelMessage)


def decode_control(text: str) -> ClientMessage:
    """A client's text frame as a message; raises ProtocolError that says what is wrong with it."""
    return _decoded(text, _client_message)


def decode_channel(text: str) -> ChannelMessage:
    """The same for the data channel of a WebRTC connection."""
    return _decoded(text, _channel_message)


def _decoded(text: str, known: TypeAdapter) -> Request:
    if len(text) > MAX_TEXT_BYTES:
        raise ProtocolError("frame_too_large", f"text of {len(text)} characters; at most {MAX_TEXT_BYTES}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(
            "bad_json", "text frames carry JSON control messages and this one is not JSON; sound goes in binary frames"
        ) from None
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise ProtocolError("bad_json", 'a control message is a JSON object with a "type"')
    try:
        return known.validate_python(fields)
    except ValidationError as error:
        raise _explained(fields["type"], error) from None


def _explained(kind: str, error: ValidationError) -> ProtocolError:
    first = error.errors()[0]
    if first["type"] == "union_tag_invalid":
        known = first["ctx"]["expected_tags"].replace("'", "")
        return ProtocolError("unknown_message", f"message type {kind[:80]!r} is not known; known: {known}")
    where = ".".join(str(part) for part in first["loc"][1:])
    if where == "input_rate":
        return ProtocolError(
            "bad_rate", f"input_rate must be a whole number from {MIN_RATE} to {MAX_RATE}: {first['msg']}"
        )
    if where.partition(".")[0] == "face":  # one of two types: pydantic's words are about the first
        return ProtocolError("bad_message", f"{kind}: face: an index from 0 or a title, as in session.ready")
    return ProtocolError("bad_message", f"{kind}: {where}: {first['msg']}")


# What the server sends -----------------------------------------------------------------------------------------------


class Limits(Message):
    max_frame_bytes: int = MAX_FRAME_BYTES
    min_rate: int = MIN_RATE
    max_rate: int = MAX_RATE
    high_water_ms: int  # send freely up to here
    hard_cap_ms: int  # beyond here sound is refused


class Latency(Message):
    chunk_ms: float
    lookahead_ms: float
    est_first_frame_ms: float


class Media(Message):
    video: Literal["h264", "jpeg", "none"]
    width: int
    height: int
    fps: int
    audio_rate: int  # 0: no sound on this connection


class Ready(Message):
    type: Literal["session.ready"] = "session.ready"
    protocol: str = SUBPROTOCOL
    session: str
    character: str
    faces: list[str]  # titles of the people in the picture, one or more
    emotions: list[str]  # empty where the model shows none
    input_rate: int
    mode: str
    face: int  # who says what this connection sends
    output: Media
    limits: Limits
    latency: Latency
    pts_us: int  # the media clock now
    t_server: float  # the server's wall clock now, seconds since 1970


class PlaybackStarted(Message):
    type: Literal["playback.started"] = "playback.started"
    segment_id: int
    pts_us: int
    t_server: float
    face: int = 0


class PlaybackProgress(Message):
    type: Literal["playback.progress"] = "playback.progress"
    segment_id: int
    position_ms: float
    buffered_ms: float
    face: int = 0


class PlaybackFinished(Message):
    type: Literal["playback.finished"] = "playback.finished"
    segment_id: int
    pts_us: int
    position_ms: float
    interrupted: bool
    face: int = 0


class Cleared(Message):
    type: Literal["cleared"] = "cleared"
    epoch: int
    position_ms: float
    dropped_ms: float


class MarkReached(Message):
    type: Literal["mark.reached"] = "mark.reached"
    name: str
    segment_id: int
    pts_us: int
    face: int = 0


class Credit(Message):
    """How much is queued for a face and how much more may be sent before the high-water mark.

    `received_ms` is all sound this connection had sent for it by then, so that a sender can account for what is on its way.
    """

    type: Literal["credit"] = "credit"
    received_ms: float
    buffered_ms: float
    free_ms: float
    face: int = 0


class VadStart(Message):
    type: Literal["vad.start"] = "vad.start"
    pts_us: int
    face: int = 0


class VadEnd(Message):
    type: Literal["vad.end"] = "vad.end"
    pts_us: int
    face: int = 0


class Pong(Message):
    type: Literal["pong"] = "pong"
    t: float
    t_server: float
    pts_us: int


class Stats(Message):
    type: Literal["stats"] = "stats"
    stats: dict[str, Any]


class Warning(Message):
    type: Literal["warning"] = "warning"
    code: str
    message: str


class Error(Message):
    type: Literal["error"] = "error"
    code: str
    message: str
    retryable: bool = False


class Closed(Message):
    type: Literal["session.closed"] = "session.closed"
    reason: str


ServerMessage = (
    Ready | PlaybackStarted | PlaybackProgress | PlaybackFinished | Cleared | MarkReached | Credit
    | VadStart | VadEnd | Pong | Stats | Warning | Error | Closed
)  # fmt: skip
_server_message: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def encode_control(message: Message) -> str:
    return message.model_dump_json()


def decode_server(text: str | bytes) -> ServerMessage:
    """A server's text frame as a message, for clients; raises ProtocolError."""
    try:
        return _server_message.validate_json(text)
    except ValidationError as error:
        raise ProtocolError("bad_message", f"the server sent a message that is not understood: {error}") from None
