"""One WebRTC connection of a session: offer in, answer out, candidates, and its end. Knows nothing of HTTP.

Directions are the client's: "duplex" speaks and watches, "whip" (RFC 9725) only speaks, "whep" only watches.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceCandidate,
    RTCIceServer,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamTrack
from aiortc.sdp import SessionDescription

from stream import events, protocol
from stream.aiortc_fixes import BitratePolicy, ConsentConfig, PeerConnection
from stream.config import IceServer
from stream.encoder import EncoderHub
from stream.expression import NotThere
from stream.messages import PresetInfo
from stream.offer import (
    MAX_CANDIDATES,
    BadOffer,
    Direction,
    Section,
    WrongDirection,  # noqa: F401 - what `answer` raises
    parse_fragment,
    parse_offer,
    plan_answer,
    preferred_codecs,
    without_candidates,
)
from stream.subscription import Subscription
from stream.tracks import AvatarTrack, Microphone

logger = logging.getLogger(__name__)

CHANNEL_LABEL = "visavis"
MAX_CHANNEL_MESSAGE = 1024
MAX_CHANNEL_BACKLOG = 64 * 1024  # bytes; a listener this far behind misses read-outs, not events


class PeerClosed(Exception):
    """The connection has ended."""


@dataclass(frozen=True)
class PeerConfig:
    connect_timeout_s: float = 15.0
    close_timeout_s: float = 5.0
    stats_interval_s: float = 1.0
    consent: ConsentConfig = field(default_factory=ConsentConfig)


class Conversation(Protocol):
    """What a peer needs of a session."""

    character: str
    faces: tuple[str, ...]
    info: PresetInfo
    encoders: EncoderHub

    def attach(self) -> None: ...
    def detach(self) -> None: ...
    def face(self, named: int | str | None) -> int: ...
    def push_microphone(self, pcm_s16: np.ndarray, rate: int, face: int = 0, source: object = None) -> None: ...
    def show_emotion(self, name: str, intensity: float = 1.0, face: int | None = None) -> None: ...
    def events(self) -> Subscription[events.SessionEvent]: ...
    def stats(self) -> dict: ...


class Peer:
    """One client's connection to a session, from its offer to its end.

    Call `answer` once. Whatever ends the connection (the client, the network, the session, `close`), everything it
    holds is released and `on_closed` is called once.
    """

    def __init__(
        self,
        session: Conversation,
        direction: Direction,
        ice_servers: Iterable[IceServer] = (),
        *,
        config: PeerConfig | None = None,
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        self.session = session
        self.direction = direction
        self.on_closed = on_closed
        self.created_at = time.monotonic()
        self.connected_at: float | None = None
        self._config = config or PeerConfig()
        rates = session.encoders.bitrate_range
        self._connection = PeerConnection(
            # An explicit list, even if empty: the default asks a public server, and stalls where there is no way out.
            RTCConfiguration([RTCIceServer(s.url, s.username, s.credential) for s in ice_servers]),
            make_policy=lambda: BitratePolicy(rates.floor, rates.start),
            consent=self._config.consent,
        )
        self._tracks: dict[str, AvatarTrack] = {}
        self._microphone: Microphone | None = None
        self._face = 0  # whom it speaks for
        self._offer: SessionDescription | None = None
        self._candidate_count = 0
        self._pending_candidates: asyncio.Queue[RTCIceCandidate | None] = asyncio.Queue(MAX_CANDIDATES + 8)
        self._channel: RTCDataChannel | None = None
        self._connected = asyncio.Event()
        self._channel_opened = asyncio.Event()
        self._ending = asyncio.Event()
        self._task: asyncio.Task | None = None
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.on("datachannel", self._on_channel)

    @property
    def state(self) -> str:
        """new, connecting, connected, failed or closed."""
        return "closed" if self._ending.is_set() else self._connection.connectionState

    async def answer(self, offer_sdp: str) -> str:
        """The SDP answer, with all candidates in it. Raises BadOffer; the peer is closed then."""
        if self._task or self._ending.is_set():
            raise PeerClosed("this connection has already been answered or closed")
        try:
            offer = parse_offer(offer_sdp)
            sections = plan_answer(offer, self.direction)
        except BadOffer:
            await self.close()
            raise
        self._offer = offer
        self.session.attach()
        self._task = asyncio.create_task(self._run(), name=f"peer-{self.direction}")
        try:
            self._prepare(sections)
            await self._connection.setRemoteDescription(RTCSessionDescription(without_candidates(offer_sdp), "offer"))
            await self._connection.setLocalDescription()
            for section in offer.media:
                offered = [_with_mid(candidate, section.rtp.muxId) for candidate in section.ice_candidates]
                self._queue_candidates(offered, section.ice_candidates_complete)
        except (ValueError, OperationError) as error:
            await self.close()
            raise BadOffer(f"the offer cannot be answered: {error}") from error
        except BaseException:
            await self.close()
            raise
        return self._connection.localDescription.sdp

    async def add_candidates(self, sdpfrag: str) -> None:
        """Candidates that the client found after its offer. Raises BadOffer, or PeerClosed once it has ended."""
        if self._offer is None or self._ending.is_set():
            raise PeerClosed("this connection has ended")
        fragment = parse_fragment(sdpfrag)
        known = {section.ice.usernameFragment for section in self._offer.media}
        if not fragment.ufrags <= known:
            raise BadOffer("a=ice-ufrag is not that of the offer: ICE restarts are not supported, connect anew")
        mids = {section.rtp.muxId for section in self._offer.media}
        for candidate in fragment.candidates:
            if candidate.sdpMid not in mids:
                raise BadOffer(f"a=mid:{candidate.sdpMid} is not in the offer, which has {', '.join(sorted(mids))}")
        self._queue_candidates(fragment.candidates, fragment.complete)

    async def close(self) -> None:
        """End the connection and wait until everything is released. Idempotent; never call it from `on_closed`."""
        first = not self._ending.is_set()
        self._ending.set()
        if self._task is None:
            await self._close_connection()
            if first:
                self._tell_closed()
            return
        await asyncio.wait([self._task])

    def stats(self) -> dict:
        """What this connection knows of itself, cheap and JSON-ready."""
        senders = {s.kind: s for s in self._connection.getSenders() if s.track is not None}
        rtt_s = next((s.rtt_s for s in senders.values() if s.rtt_s is not None), None)
        reorder = next((r.reorder for r in self._connection.getReceivers() if r.reorder is not None), None)
        video = self._tracks.get("video")
        return {
            "direction": self.direction,
            "state": self.state,
            "connect_ms": round((self.connected_at - self.created_at) * 1000) if self.connected_at else None,
            "video_codec": video.codec if video else None,
            "round_trip_ms": round(rtt_s * 1000, 1) if rtt_s is not None else None,
            "microphone_packets_lost": reorder.lost if reorder else 0,
            "microphone_silence_ms": self._microphone.filled_samples // 48 if self._microphone else 0,
            "packets_dropped": sum(track.dropped for track in self._tracks.values()),
        }

    # negotiation

    def _prepare(self, sections: list[Section]) -> None:
        """Transceivers must exist before the offer is applied: preferences set later are ignored by aiortc."""
        for section in sections:
            track = None
            if section.sends:
                track = AvatarTrack(section.kind, self.session.encoders, self._connection.media_clock)
                self._tracks[section.kind] = track
            transceiver = self._connection.addTransceiver(track or section.kind, direction=section.direction)
            transceiver.setCodecPreferences(preferred_codecs(section.kind))
        if any(section.receives for section in sections):
            self._connection.on("track", self._on_track)

    def _queue_candidates(self, candidates: Iterable[RTCIceCandidate], complete: bool) -> None:
        # A name costs a look-up of up to a second: addresses first.
        for candidate in sorted(candidates, key=lambda candidate: candidate.ip.endswith(".local")):
            self._candidate_count += 1
            if self._candidate_count > MAX_CANDIDATES:
                raise BadOffer(f"more than {MAX_CANDIDATES} ICE candidates")
            if candidate.protocol.lower() == "udp":
                self._pending_candidates.put_nowait(candidate)
        if complete and not self._pending_candidates.full():
            self._pending_candidates.put_nowait(None)

    # events of the connection

    def _on_state(self) -> None:
        match self._connection.connectionState:
            case "connected":
                self.connected_at = self.connected_at or time.monotonic()
                self._connected.set()
            case "failed" | "closed":
                self._ending.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._microphone is None:
            self._microphone = Microphone(track, self._push_microphone)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label == CHANNEL_LABEL and self._channel is None:
            self._channel = channel
            channel.on("message", self._on_message)
            self._channel_opened.set()
            session = self.session
            faces, emotions = list(session.faces), list(session.info.emotions)
            self._say({"type": "ready", "character": session.character, "faces": faces, "emotions": emotions})

    def _on_message(self, message: str | bytes) -> None:
        if len(message) > MAX_CHANNEL_MESSAGE:
            return
        try:
            word = json.loads(message)
        except ValueError:
            return
        if isinstance(word, dict) and isinstance(word.get("ping"), (int, float)):
            self._say({"pong": word["ping"]})
        elif isinstance(word, dict) and "type" in word:
            try:
                self._obey(protocol.decode_channel(message))
            except (protocol.ProtocolError, NotThere) as error:
                self._say({"type": "error", "code": error.code, "message": str(error)})

    def _obey(self, message: protocol.ChannelMessage) -> None:
        if self.direction == "whep":
            raise protocol.ProtocolError("only_watching", "this connection only watches; speak through /rtc or /whip")
        face = None if message.face is None else self.session.face(message.face)
        match message:
            case protocol.Voice():
                self._face = face
            case protocol.Emotion():
                self.session.show_emotion(message.name, message.intensity, face)

    def _push_microphone(self, pcm_s16: np.ndarray, rate: int) -> None:
        self.session.push_microphone(pcm_s16, rate, self._face, source=self)

    # life

    async def _run(self) -> None:
        """The connection's one task: ends when anything in it ends, and releases everything."""
        works = []
        try:
            parts = (self._live(), self._follow(), self._read_out(), self._add_candidates(), self._ending.wait())
            works = [asyncio.create_task(part, name=f"peer-{part.__name__}") for part in parts]
            done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            for work in done:
                if work.exception() is not None:
                    logger.error("connection ended by an error", exc_info=work.exception())
        finally:
            self._ending.set()
            for work in works:
                work.cancel()
            try:
                await asyncio.gather(*works, return_exceptions=True)
                await self._close_connection()
            finally:
                for track in self._tracks.values():
                    track.stop()
                self.session.detach()
                self._tell_closed()

    async def _close_connection(self) -> None:
        """Bounded: aiortc also closes by itself, and if that is cancelled half-way, waiting for it never ends."""
        try:
            async with asyncio.timeout(self._config.close_timeout_s):
                await self._connection.close()
        except TimeoutError:
            logger.warning("a connection did not close within %.0f s", self._config.close_timeout_s)

    async def _live(self) -> None:
        """Connects in time or gives up, then listens; ends with the client's sound if that is all it is here for."""
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                await self._connected.wait()
        except TimeoutError:
            logger.info("no connection within %.0f s, giving up", self._config.connect_timeout_s)
            return
        if self._microphone:
            await self._microphone.run()
        if self.direction != "whip":
            await self._ending.wait()

    async def _add_candidates(self) -> None:
        while True:
            candidate = await self._pending_candidates.get()
            try:
                await self._connection.addIceCandidate(candidate)
            except (ValueError, OSError) as error:
                logger.info("a remote candidate was not taken: %s", error)

    async def _follow(self) -> None:
        """Passes the session's events on at once, to a client that opened the data channel; ends with the session."""
        subscription = self.session.events()
        try:
            async for event in subscription:
                self._say(event_message(event))
                if isinstance(event, events.Closed):
                    return
        finally:
            subscription.close()

    async def _read_out(self) -> None:
        await self._channel_opened.wait()
        while True:
            if self._channel.bufferedAmount < MAX_CHANNEL_BACKLOG:
                self._say({"type": "stats", **self.session.stats(), "rtc": self.stats()})
            await asyncio.sleep(self._config.stats_interval_s)

    def _say(self, message: dict) -> None:
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(json.dumps(message, default=float))

    def _tell_closed(self) -> None:
        if self.on_closed:
            self.on_closed()


def event_message(event: events.SessionEvent) -> dict:
    """A session event as the data channel carries it; the voice detector's two are one message with a state."""
    match event:
        case events.SpeechStarted(t_s, face):
            return {"type": "vad", "speaking": True, "t_s": t_s, "face": face}
        case events.SpeechStopped(t_s, face):
            return {"type": "vad", "speaking": False, "t_s": t_s, "face": face}
        case _:
            return {"type": type(event).__name__.lower(), **asdict(event)}


def _with_mid(candidate: RTCIceCandidate, mid: str) -> RTCIceCandidate:
    candidate.sdpMid = mid
    return candidate
