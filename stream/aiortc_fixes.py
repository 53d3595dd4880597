"""What stock aiortc does that hurts a live conversation, each cured on the objects of one connection.

A  Its audio buffer waits for packets that are lost for good      -> `ReorderBuffer`
B  Its sender reports tell when a packet left, not what it shows  -> `MediaClock`
C  It follows every bandwidth estimate, by rebuilding the encoder -> `BitratePolicy`
D  It encodes per viewer, with settings of its own                -> `MediaSender` takes coded packets and passes key
                                                                     frame requests and bit rates back to their source
E  It notices a vanished peer after half a minute                 -> `watch_consent`
F  One packet that raises an error ends reception                 -> `survive_bad_packets`

`PeerConnection` applies them all; nothing is patched globally. Private names of aiortc are used, and the tests guard
them: each also shows the stock behaviour, so that a cure no longer needed is noticed. Knows nothing of sessions,
of what the tracks carry, or of signalling.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aioice
from aioice.stun import TransactionError
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, clock
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtcrtptransceiver import RTCRtpTransceiver
from aiortc.rtp import (
    RTCP_PSFB_APP,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)
from aiortc.utils import uint16_add

logger = logging.getLogger(__name__)

Now = Callable[[], float]


# A. Audio receive buffer ----------------------------------------------------------------------------------------------


class ReorderBuffer:
    """Hands audio packets on in order, at once; a missing one is given up when `window` later ones have come.

    Stock: 80 ms of standing delay, and 240 ms more after the first loss, for the rest of the call. Holes show as gaps
    in the frames' timestamps; filling them is the reader's matter. Every packet is one frame.
    """

    RESTART = 1000  # a jump this far is a sender that began anew, not a loss

    def __init__(self, window: int = 2) -> None:
        self._window = window
        self._next: int | None = None
        self._ssrc: int | None = None
        self._held: dict[int, RtpPacket] = {}  # by distance from _next
        self._ready: deque[JitterFrame] = deque()
        self.lost = 0
        self.late = 0

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """The receiver's call: (never ask for a key frame, first frame to decode); the rest is in `take_ready`."""
        ahead = _signed_distance(self._next, packet.sequence_number) if self._next is not None else 0
        if packet.ssrc != self._ssrc or abs(ahead) >= self.RESTART:
            self._release_held()
            self._ssrc, self._next, ahead = packet.ssrc, packet.sequence_number, 0
        if ahead < 0:
            self.late += 1
        elif ahead not in self._held:
            self._held[ahead] = packet
            self._release_run()
            while len(self._held) >= self._window:
                self._skip(min(self._held))
                self._release_run()
        return False, self._ready.popleft() if self._ready else None

    def take_ready(self) -> list[JitterFrame]:
        frames = list(self._ready)
        self._ready.clear()
        return frames

    def _release_run(self) -> None:
        while 0 in self._held:
            self._emit(self._held[0])
            self._advance(1)

    def _release_held(self) -> None:
        for ahead in sorted(self._held):
            self._emit(self._held[ahead])
        self._held.clear()

    def _skip(self, count: int) -> None:
        self.lost += count
        self._advance(count)

    def _advance(self, count: int) -> None:
        self._next = uint16_add(self._next, count)
        self._held = {ahead - count: packet for ahead, packet in self._held.items() if ahead >= count}

    def _emit(self, packet: RtpPacket) -> None:
        if packet._data:  # an empty packet would put the decoder into its drained state
            self._ready.append(JitterFrame(data=packet._data, timestamp=packet.timestamp))


def _signed_distance(origin: int, sequence_number: int) -> int:
    distance = uint16_add(sequence_number, -origin)
    return distance - 65536 if distance >= 32768 else distance


class MediaReceiver(RTCRtpReceiver):
    """A receiver whose audio goes through a `ReorderBuffer`."""

    def __init__(self, kind: str, transport: RTCDtlsTransport) -> None:
        super().__init__(kind, transport)
        self.reorder = ReorderBuffer() if kind == "audio" else None
        if self.reorder:
            self._RTCRtpReceiver__jitter_buffer = self.reorder

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        await super()._handle_rtp_packet(packet, arrival_time_ms=arrival_time_ms)
        if self.reorder is None or self._RTCRtpReceiver__decoder_thread is None:
            return
        codec = self._RTCRtpReceiver__codecs.get(packet.payload_type)
        for frame in self.reorder.take_ready():  # the stock receiver decodes one frame per packet
            frame.timestamp = self._RTCRtpReceiver__timestamp_mapper.map(frame.timestamp)
            self._RTCRtpReceiver__decoder_queue.put((codec, frame))


# B. Sender reports on the media clock ---------------------------------------------------------------------------------


class MediaClock:
    """When media time zero was on the monotonic clock: one for all tracks of a connection.

    Each track's sender reports map its RTP clock through it, so that a browser aligns them by what they show. It
    follows slow drift (5 ms a second at 25 observations a second), so that two reports a second apart still agree.
    """

    SLEW_S = 0.0002
    JUMP_S = 1.0

    def __init__(self) -> None:
        self._epoch_s: float | None = None

    def observe(self, media_s: float, now: float) -> None:
        """Media of this time was ready to leave at `now`."""
        error_s = now - media_s - (self._epoch_s or 0.0)
        if self._epoch_s is None or abs(error_s) > self.JUMP_S:
            self._epoch_s = now - media_s
        else:
            self._epoch_s += max(-self.SLEW_S, min(self.SLEW_S, error_s))

    def media_s(self, now: float) -> float | None:
        """The media time that belongs to `now`; None before the first observation."""
        return None if self._epoch_s is None else now - self._epoch_s


# C. Bit-rate policy ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BitratePolicyConfig:
    settle_s: float = 5.0  # a browser's first estimates grow from nearly nothing on any path
    loss_limit: float = 0.05
    rtt_growth_s: float = 0.15
    down_every_s: float = 1.0
    down_factor: float = 0.8
    up_every_s: float = 2.0
    up_factor: float = 1.08


class BitratePolicy:
    """Goes down only while the path shows congestion (loss, or a growing round trip), and comes back slowly.

    A bandwidth estimate alone changes nothing: it is bounded by what we send, so following it is a spiral downwards.
    """

    def __init__(self, floor_bps: int, start_bps: int, config: BitratePolicyConfig | None = None) -> None:
        self._floor_bps, self._start_bps = floor_bps, start_bps
        self._config = config or BitratePolicyConfig()
        self.target_bps = start_bps
        self._estimate_bps: int | None = None
        self._began_at: float | None = None
        self._changed_at = float("-inf")
        self._least_rtt_s = float("inf")

    def on_estimate(self, bps: int, now: float) -> None:
        """A REMB."""
        self._begin(now)
        if now - self._began_at >= self._config.settle_s:
            self._estimate_bps = bps

    def on_report(self, loss: float, rtt_s: float | None, now: float) -> int:
        """A receiver report: fraction lost since the last one, smoothed round trip. Returns the new target."""
        self._begin(now)
        if rtt_s is not None:
            self._least_rtt_s = min(self._least_rtt_s, rtt_s)
        growing = rtt_s is not None and rtt_s - self._least_rtt_s > self._config.rtt_growth_s
        if loss > self._config.loss_limit or growing:
            self._go_down(now)
        elif now - self._changed_at >= self._config.up_every_s:
            self._go_up(now)
        return self.target_bps

    def _begin(self, now: float) -> None:
        if self._began_at is None:
            self._began_at = now

    def _go_down(self, now: float) -> None:
        carries_more = self._estimate_bps is not None and self._estimate_bps >= self.target_bps
        if carries_more or now - self._changed_at < self._config.down_every_s:
            return  # random loss on a path with room is for retransmission to mend
        wanted = max(self._estimate_bps or 0, int(self.target_bps * self._config.down_factor))
        self._set(wanted, now)

    def _go_up(self, now: float) -> None:
        self._set(int(self.target_bps * self._config.up_factor), now)

    def _set(self, bps: int, now: float) -> None:
        bps = max(self._floor_bps, min(self._start_bps, bps))
        if bps != self.target_bps:
            self.target_bps, self._changed_at = bps, now


# D. Coded packets in, feedback out ------------------------------------------------------------------------------------


class CodedTrack(Protocol):
    """What `MediaSender` asks of a track whose `recv` returns coded `av.Packet`s."""

    def open(self, codec: str) -> None: ...  # "opus", "h264", "vp8": what was negotiated
    def request_key(self) -> None: ...
    def set_bitrate(self, bps: int) -> None: ...


class MediaSender(RTCRtpSender):
    """Sends a `CodedTrack`. Sender reports follow `media_clock` (B), reports from the other side the policy (C)."""

    def __init__(
        self,
        track_or_kind: object,
        transport: RTCDtlsTransport,
        media_clock: MediaClock,
        policy: BitratePolicy | None = None,
        now: Now = time.monotonic,
    ) -> None:
        super().__init__(track_or_kind, transport)
        self._media_clock = media_clock
        self._policy = policy if self.kind == "video" else None
        self._now = now
        self._opened: object = None
        self._clock_rate = 0
        self._last_timestamp: int | None = None
        self._rtp_origin: int | None = None  # what aiortc adds to our timestamps, known once a packet has left

    @property
    def rtt_s(self) -> float | None:
        return self._RTCRtpSender__rtt

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        if self._opened is not self.track:
            self._opened = self.track
            self._clock_rate = codec.clockRate
            self.track.open(codec.name.lower())
        if self._rtp_origin is None and self._last_timestamp is not None:
            self._rtp_origin = (self._RTCRtpSender__rtp_timestamp - self._last_timestamp) & 0xFFFFFFFF
        frame = await super()._next_encoded_frame(codec)
        if frame is not None:
            self._last_timestamp = frame.timestamp
        return frame

    def _send_keyframe(self) -> None:
        if self.track is not None:
            self.track.request_key()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        await super()._handle_rtcp_packet(packet)
        if self._policy is None or self.track is None:
            return
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                bps, ssrcs = unpack_remb_fci(packet.fci)
            except ValueError:
                return  # another application's feedback
            if self._ssrc in ssrcs:
                self._policy.on_estimate(bps, self._now())
        elif isinstance(packet, (RtcpRrPacket, RtcpSrPacket)):
            for report in packet.reports:
                if report.ssrc == self._ssrc:
                    before = self._policy.target_bps
                    target = self._policy.on_report(report.fraction_lost / 256, self.rtt_s, self._now())
                    if target != before:
                        self.track.set_bitrate(target)

    async def _send_rtcp(self, packets: list[AnyRtcpPacket]) -> None:
        if not any(isinstance(packet, RtcpByePacket) for packet in packets):
            sender_info = self._sender_info()
            if sender_info is None:
                return  # nothing has been sent that a report could be about
            for packet in packets:
                if isinstance(packet, RtcpSrPacket):
                    sender_info.packet_count = packet.sender_info.packet_count
                    sender_info.octet_count = packet.sender_info.octet_count
                    packet.sender_info = sender_info
        await super()._send_rtcp(packets)

    def _sender_info(self) -> RtcpSenderInfo | None:
        media_s = self._media_clock.media_s(self._now())
        if media_s is None or self._rtp_origin is None:
            return None
        ntp_timestamp = clock.current_ntp_time()
        # What the receiver will echo for the round trip.
        self._RTCRtpSender__lsr = (ntp_timestamp >> 16) & 0xFFFFFFFF
        self._RTCRtpSender__lsr_time = time.time()
        rtp_timestamp = (self._rtp_origin + round(media_s * self._clock_rate)) & 0xFFFFFFFF
        return RtcpSenderInfo(ntp_timestamp, rtp_timestamp, packet_count=0, octet_count=0)


# E. Vanished peers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConsentConfig:
    """Defaults notice a vanished peer 6 to 9 s after its last answer, over up to eight unanswered requests."""

    interval_s: float = 1.0
    expiry_s: float = 6.0


async def watch_consent(connection: aioice.Connection, config: ConsentConfig, now: Now = time.monotonic) -> None:
    """Asks the other side for consent (RFC 7675), and closes the connection once it has not answered for too long."""
    answered_at = now()
    while now() - answered_at < config.expiry_s:
        await asyncio.sleep(config.interval_s * random.uniform(0.8, 1.2))
        for pair in list(connection._nominated.values()):
            try:
                await pair.protocol.request(
                    connection.build_request(pair, nominate=False),
                    pair.remote_addr,
                    integrity_key=connection.remote_password.encode(),
                    retransmissions=1,
                )
                answered_at = now()
            except TransactionError:
                pass
    logger.info("no answer from the peer for %.0f s, closing its connection", config.expiry_s)
    connection._query_consent_task = None  # it is this task: close() would cancel and await it
    await connection.close()


# F. Bad packets -------------------------------------------------------------------------------------------------------

MAX_BAD_IN_A_ROW = 200


def survive_bad_packets(transport: RTCDtlsTransport) -> None:
    """An error in handling one datagram is logged, once per run of them, and reception goes on."""
    receive = transport._recv_next
    in_a_row = 0

    async def recv_next() -> None:
        nonlocal in_a_row
        try:
            await receive()
            in_a_row = 0
        except ConnectionError:
            raise  # the other side closed, or the path is gone
        except Exception:
            in_a_row += 1
            if in_a_row == 1:
                logger.exception("a received packet could not be handled")
            if in_a_row >= MAX_BAD_IN_A_ROW:
                raise

    transport._recv_next = recv_next


# All of them on one connection ----------------------------------------------------------------------------------------


class PeerConnection(RTCPeerConnection):
    """An RTCPeerConnection with the cures above. Its outgoing tracks must be `CodedTrack`s."""

    def __init__(
        self,
        configuration: RTCConfiguration,
        *,
        make_policy: Callable[[], BitratePolicy] | None = None,
        consent: ConsentConfig | None = None,
        now: Now = time.monotonic,
    ) -> None:
        super().__init__(configuration)
        self.media_clock = MediaClock()
        self._make_policy = make_policy or (lambda: None)
        self._consent = consent or ConsentConfig()
        self._now = now

    def _RTCPeerConnection__createDtlsTransport(self) -> RTCDtlsTransport:  # noqa: N802 - the private name it overrides
        transport = super()._RTCPeerConnection__createDtlsTransport()
        survive_bad_packets(transport)
        connection = transport.transport._connection
        connection.query_consent = lambda: watch_consent(connection, self._consent, self._now)
        return transport

    def _RTCPeerConnection__createTransceiver(  # noqa: N802
        self, direction: str, kind: str, sender_track: object = None
    ) -> RTCRtpTransceiver:
        transceiver = super()._RTCPeerConnection__createTransceiver(direction, kind, sender_track)
        transport = transceiver.receiver.transport
        receiver = MediaReceiver(kind, transport)
        sender = MediaSender(sender_track or kind, transport, self.media_clock, self._make_policy(), self._now)
        sender._stream_id = transceiver.sender._stream_id
        receiver._set_rtcp_ssrc(sender._ssrc)
        transceiver._RTCRtpTransceiver__receiver = receiver
        transceiver._RTCRtpTransceiver__sender = sender
        return transceiver
