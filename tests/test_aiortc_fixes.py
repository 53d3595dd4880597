"""Each cure beside the stock behaviour: when a stock half fails, aiortc has changed and the cure may be dropped."""

import asyncio
import time
from fractions import Fraction
from types import SimpleNamespace

import aioice.ice
import av
import numpy as np
import pytest
from aioice.stun import TransactionTimeout
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.codecs.h264 import H264Encoder
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtcpParameters, RTCRtpSendParameters
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
)

from stream.aiortc_fixes import (
    BitratePolicy,
    ConsentConfig,
    MediaClock,
    MediaReceiver,
    MediaSender,
    PeerConnection,
    ReorderBuffer,
    watch_consent,
)
from tests.fakes_rtc import ToneTrack, until

# A. Audio receive buffer


def packet(number: int, ssrc: int = 1, data: bytes = b"x") -> RtpPacket:
    made = RtpPacket(sequence_number=number % 65536, timestamp=number * 960, ssrc=ssrc)
    made._data = data
    return made


def released(buffer, numbers) -> list[int]:
    """Packet numbers in the order in which the buffer gives them up."""
    out = []
    for number in numbers:
        _, frame = buffer.add(packet(number))
        frames = [frame] if frame else []
        frames += buffer.take_ready() if isinstance(buffer, ReorderBuffer) else []
        out += [f.timestamp // 960 for f in frames]
    return out


def delay_after(buffer, numbers: list[int]) -> int:
    """How many packets behind the newest one the last released one is."""
    return numbers[-1] - released(buffer, numbers)[-1]


def test_one_lost_packet_leaves_no_standing_delay_and_stock_keeps_one():
    whole, holed = list(range(60)), [n for n in range(60) if n != 20]
    assert delay_after(ReorderBuffer(), whole) == delay_after(ReorderBuffer(), holed) == 0
    assert delay_after(JitterBuffer(capacity=16, prefetch=4), whole) >= 3
    assert delay_after(JitterBuffer(capacity=16, prefetch=4), holed) >= 12


def test_packets_in_order_are_released_at_once():
    buffer = ReorderBuffer()
    for number in range(5):
        assert buffer.add(packet(number))[1].timestamp == number * 960
        assert buffer.take_ready() == []


def test_swapped_packets_are_put_in_order():
    assert released(ReorderBuffer(), [0, 2, 1, 3, 4]) == [0, 1, 2, 3, 4]


def test_a_hole_is_given_up_when_two_later_packets_wait():
    buffer = ReorderBuffer()
    assert released(buffer, [0, 2]) == [0]
    assert released(buffer, [3]) == [2, 3]
    assert released(buffer, [1, 4]) == [4]
    assert (buffer.lost, buffer.late) == (1, 1)


def test_several_holes_are_skipped_in_turn():
    buffer = ReorderBuffer()
    assert released(buffer, [0, 2, 5, 6, 7]) == [0, 2, 5, 6, 7]
    assert buffer.lost == 3


def test_duplicates_are_dropped():
    assert released(ReorderBuffer(), [0, 0, 2, 2, 1, 1, 3]) == [0, 1, 2, 3]


def test_sequence_numbers_wrap():
    assert released(ReorderBuffer(), [65534, 65535, 65537, 65536, 65538]) == [65534, 65535, 65536, 65537, 65538]


def test_a_sender_that_begins_anew_is_followed():
    buffer = ReorderBuffer()
    assert released(buffer, [5000, 5002, 100, 101]) == [5000, 5002, 100, 101]
    assert buffer.add(packet(90, ssrc=2))[1].timestamp == 90 * 960


def test_an_empty_packet_takes_its_place_but_yields_no_frame():
    buffer = ReorderBuffer()
    buffer.add(packet(0))
    assert buffer.add(packet(1, data=b"")) == (False, None)
    assert buffer.add(packet(2))[1].timestamp == 2 * 960


@pytest.mark.parametrize("seed", range(20))
def test_order_is_kept_and_nothing_is_lost_that_came_within_the_window(seed):
    """Random loss, and swaps of neighbours."""
    rng = np.random.default_rng(seed)
    numbers = [n for n in range(300) if n == 0 or rng.random() > 0.05]
    for i in range(1, len(numbers) - 1, 2):
        if rng.random() < 0.2:
            numbers[i], numbers[i + 1] = numbers[i + 1], numbers[i]
    buffer = ReorderBuffer()
    out = released(buffer, numbers)
    assert out == sorted(out)
    assert len(out) >= len(numbers) - buffer.late - 1
    assert buffer.late <= sum(abs(a - b) > 1 for a, b in zip(numbers, numbers[1:], strict=False))


# B. Sender reports


def test_media_clock_follows_drift_slowly_and_a_restart_at_once():
    clock = MediaClock()
    assert clock.media_s(10.0) is None
    clock.observe(0.0, 100.0)
    assert clock.media_s(101.0) == pytest.approx(1.0)
    clock.observe(1.0, 101.5)  # half a second late once: no jump
    assert clock.media_s(102.0) == pytest.approx(2.0, abs=0.001)
    for i in range(2500):  # 100 s of a media clock that runs 100 ppm slow
        clock.observe(2 + i * 0.04, 102 + i * 0.04 * 1.0001)
    assert clock.media_s(202.01) == pytest.approx(102.0, abs=0.002)
    clock.observe(500.0, 203.0)
    assert clock.media_s(203.0) == pytest.approx(500.0)


class FakeTransport:
    """Collects what a sender sends."""

    state = "connected"
    _stats_id = "transport"

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def _register_rtp_sender(self, sender, parameters) -> None: ...

    def _unregister_rtp_sender(self, sender) -> None: ...

    async def _send_rtp(self, data: bytes) -> None:
        self.sent.append(data)


class ScriptedTrack(MediaStreamTrack):
    """Gives coded packets when told to."""

    def __init__(self, kind: str, rate: int) -> None:
        super().__init__()
        self.kind = kind
        self.rate = rate
        self.waiting: asyncio.Queue[float] = asyncio.Queue()
        self.calls: list = []

    async def recv(self) -> av.Packet:
        media_s = await self.waiting.get()
        if media_s is None:
            raise MediaStreamError
        coded = av.Packet(b"\0\0\0\1\x65" + bytes(40))
        coded.pts, coded.time_base = round(media_s * self.rate), Fraction(1, self.rate)
        return coded

    def open(self, codec: str) -> None:
        self.calls.append(("open", codec))

    def request_key(self) -> None:
        self.calls.append("key")

    def set_bitrate(self, bps: int) -> None:
        self.calls.append(("bitrate", bps))


async def started(sender: RTCRtpSender) -> RTCRtpSender:
    mime = {"audio": "audio/opus", "video": "video/H264"}[sender.kind]
    codec = next(c for c in CODECS[sender.kind] if c.mimeType == mime)
    await sender.send(RTCRtpSendParameters(codecs=[codec], muxId="0", rtcp=RTCRtcpParameters(cname="c")))
    return sender


async def media_s_at_report(sender: RTCRtpSender, first_rtp_timestamp: int, rate: int) -> float:
    """The media time since the first packet that a report names for its NTP time, less that NTP time."""
    last_packet = RtcpSenderInfo(sender._RTCRtpSender__ntp_timestamp, sender._RTCRtpSender__rtp_timestamp, 2, 2)
    await sender._send_rtcp([RtcpSrPacket(ssrc=sender._ssrc, sender_info=last_packet)])  # as the stock loop calls it
    (report,) = RtcpPacket.parse(sender.transport.sent[-1])
    media_s = ((report.sender_info.rtp_timestamp - first_rtp_timestamp) & 0xFFFFFFFF) / rate
    return media_s - report.sender_info.ntp_timestamp / 2**32


async def picture_behind_sound_s(make_sender) -> float:
    """Send sound, then pictures of the same media times 150 ms later: how far apart do the reports place them?"""
    clock, places = MediaClock(), {}
    senders = {}
    for kind, rate in (("audio", 48_000), ("video", 90_000)):
        track, transport = ScriptedTrack(kind, rate), FakeTransport()
        senders[kind] = await started(make_sender(track, transport, clock))
        for i in range(2):
            clock.observe(i * 0.02, 50.0 + i * 0.02)
            track.waiting.put_nowait(i * 0.02)
        await until(lambda transport=transport: len(transport.sent) == 2)
        first = RtpPacket.parse(transport.sent[0]).timestamp
        places[kind] = (first, rate)
        if kind == "audio":
            await asyncio.sleep(0.15)
    apart = await media_s_at_report(senders["audio"], *places["audio"])
    apart -= await media_s_at_report(senders["video"], *places["video"])
    for sender in senders.values():
        await sender.stop()
    return apart


async def test_reports_place_equal_media_times_together_and_stock_reports_when_they_left():
    began = time.monotonic() - 50

    def now() -> float:  # as if the machine had just been started: a picture's timestamps wrap after half a day
        return time.monotonic() - began

    ours = await picture_behind_sound_s(lambda track, transport, clock: MediaSender(track, transport, clock, now=now))
    stock = await picture_behind_sound_s(lambda track, transport, clock: RTCRtpSender(track, transport))
    assert abs(ours) < 0.02
    assert stock > 0.1


async def test_no_report_is_sent_before_there_is_anything_to_report():
    transport = FakeTransport()
    sender = await started(MediaSender(ScriptedTrack("video", 90_000), transport, MediaClock()))
    await sender._send_rtcp([RtcpSrPacket(ssrc=1, sender_info=None)])
    assert transport.sent == []
    await sender.stop()


# C. Bit-rate policy


def settled(floor: int = 300_000, start: int = 800_000) -> BitratePolicy:
    policy = BitratePolicy(floor, start)
    policy.on_report(0.0, 0.02, 0.0)
    return policy


def test_low_estimates_on_a_clean_path_change_nothing():
    policy = settled()
    for second in range(60):
        policy.on_estimate(100_000, second)
        assert policy.on_report(0.0, 0.02, second) == 800_000


def test_loss_with_a_low_estimate_goes_down_stepwise_to_the_floor():
    policy, targets = settled(), []
    for second in range(6, 16):
        policy.on_estimate(200_000, second)
        targets.append(policy.on_report(0.1, 0.02, second))
    assert targets[:2] == [640_000, 512_000]
    assert targets[-1] == 300_000


def test_loss_on_a_path_with_room_is_left_to_retransmission():
    policy = settled()
    policy.on_estimate(2_000_000, 6.0)
    assert policy.on_report(0.2, 0.02, 7.0) == 800_000


def test_estimates_of_the_first_seconds_are_ignored():
    policy = settled()
    policy.on_estimate(2_000_000, 1.0)  # had it counted, the loss would be taken for random
    assert policy.on_report(0.2, 0.02, 7.0) == 640_000


def test_growing_round_trip_counts_as_congestion():
    policy = settled()
    assert policy.on_report(0.0, 0.5, 8.0) == 640_000


def test_recovery_is_slow_and_ends_at_the_start_rate():
    policy = settled()
    policy.on_report(0.2, 0.02, 10.0)
    targets = [policy.on_report(0.0, 0.02, 10.0 + second) for second in range(1, 11)]
    assert targets[0] == 640_000 and targets[1] == int(640_000 * 1.08)
    assert sum(a != b for a, b in zip(targets, targets[1:], strict=False)) <= 3
    assert policy.on_report(0.0, 0.02, 100.0) <= 800_000


def remb(sender: RTCRtpSender, bps: int) -> RtcpPsfbPacket:
    return RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=pack_remb_fci(bps, [sender._ssrc]))


def report(sender: RTCRtpSender, fraction_lost: int) -> RtcpRrPacket:
    info = RtcpReceiverInfo(sender._ssrc, fraction_lost, 0, 0, 0, 0, 0)
    return RtcpRrPacket(ssrc=1, reports=[info])


async def test_sender_follows_loss_and_not_estimates():
    seconds = [0.0]
    track = ScriptedTrack("video", 90_000)
    policy = BitratePolicy(300_000, 800_000)
    sender = MediaSender(track, FakeTransport(), MediaClock(), policy, now=lambda: seconds[0])
    for _ in range(20):
        seconds[0] += 1.0
        await sender._handle_rtcp_packet(remb(sender, 200_000))
        await sender._handle_rtcp_packet(report(sender, 0))
    assert track.calls == []
    await sender._handle_rtcp_packet(report(sender, 60))
    assert track.calls == [("bitrate", 640_000)]


def test_stock_encoder_makes_a_key_frame_of_an_estimate():
    encoder = H264Encoder()

    def nal_types(i: int) -> set[int]:
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8), "rgb24")
        frame.pts, frame.time_base = i * 3600, Fraction(1, 90_000)
        payloads, _ = encoder.encode(frame)
        return {p[0] & 31 for p in payloads}

    assert 24 in nal_types(0) and 24 not in nal_types(1)  # parameter sets travel in an aggregate
    encoder.target_bitrate = 500_000
    assert 24 in nal_types(2)


# D. Coded packets


@pytest.mark.parametrize("fmt", [RTCP_PSFB_PLI, RTCP_PSFB_FIR])
async def test_key_frame_requests_reach_the_source_and_stock_keeps_them(fmt):
    feedback = RtcpPsfbPacket(fmt=fmt, ssrc=1, media_ssrc=2)
    ours, stock = ScriptedTrack("video", 90_000), ScriptedTrack("video", 90_000)
    await MediaSender(ours, FakeTransport(), MediaClock())._handle_rtcp_packet(feedback)
    await RTCRtpSender(stock, FakeTransport())._handle_rtcp_packet(feedback)
    assert ours.calls == ["key"]
    assert stock.calls == []


async def test_track_is_opened_with_the_negotiated_codec_once_and_packets_go_out_unchanged():
    track, transport = ScriptedTrack("video", 90_000), FakeTransport()
    sender = await started(MediaSender(track, transport, MediaClock()))
    for i in range(3):
        track.waiting.put_nowait(i * 0.04)
    await until(lambda: len(transport.sent) == 3)
    await sender.stop()
    assert track.calls == [("open", "h264")]
    packets = [RtpPacket.parse(data) for data in transport.sent[:3]]
    assert [(p.timestamp - packets[0].timestamp) & 0xFFFFFFFF for p in packets] == [0, 3600, 7200]
    assert all(p.payload == b"\x65" + bytes(40) for p in packets)


# E. Vanished peers


class FakeIce:
    """An ICE connection whose peer answers a number of times, then no more."""

    remote_password = "secret"
    _query_consent_task: object = "running"

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.requests = 0
        self.closed = False
        self._nominated = {1: SimpleNamespace(protocol=self, remote_addr=("192.0.2.1", 9))}

    def build_request(self, pair, nominate: bool) -> str:
        assert nominate is False
        return "request"

    async def request(self, request, addr, integrity_key, retransmissions) -> None:
        self.requests += 1
        if self.requests > self.answers:
            raise TransactionTimeout

    async def close(self) -> None:
        self.closed = True


async def test_connection_is_closed_once_the_peer_has_not_answered_for_the_expiry_time():
    seconds = iter(np.arange(0, 1000, 1.0))  # every look at the clock is a second later
    connection = FakeIce(answers=5)
    await watch_consent(connection, ConsentConfig(interval_s=0.0, expiry_s=6.0), now=lambda: next(seconds))
    assert connection.closed and connection._query_consent_task is None
    assert 5 + 4 <= connection.requests <= 5 + 8


def test_stock_consent_takes_longer_than_ours():
    ours = ConsentConfig()
    assert ours.expiry_s + ours.interval_s * 1.2 + 1.5 < 10  # 1.5 s: one request and its repetition
    assert aioice.ice.CONSENT_FAILURES * aioice.ice.CONSENT_INTERVAL > 10


# F. Bad packets, and all of them on a real connection


async def connected(answerer: RTCPeerConnection) -> RTCPeerConnection:
    """A stock client that speaks to the answerer."""
    client = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    client.addTrack(ToneTrack())
    await client.setLocalDescription(await client.createOffer())
    await answerer.setRemoteDescription(client.localDescription)
    await answerer.setLocalDescription(await answerer.createAnswer())
    answer = answerer.localDescription
    await client.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
    await until(lambda: answerer.connectionState == client.connectionState == "connected")
    return client


async def packets_heard_after_an_error(answerer: RTCPeerConnection) -> int:
    heard = []
    client = await connected(answerer)
    receiver = answerer.getReceivers()[0]
    handle = receiver._handle_rtp_packet

    async def failing(packet, arrival_time_ms):
        heard.append(packet)
        if len(heard) == 2:
            raise RuntimeError("a packet that nobody expected")
        await handle(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = failing
    await until(lambda: len(heard) > 5 or answerer.connectionState == "closed")
    await client.close()
    await answerer.close()
    return len(heard)


async def test_an_error_in_one_packet_does_not_end_reception_and_ends_it_in_stock(caplog):
    assert await packets_heard_after_an_error(PeerConnection(RTCConfiguration(iceServers=[]))) > 5
    assert "could not be handled" in caplog.text
    assert await packets_heard_after_an_error(RTCPeerConnection(RTCConfiguration(iceServers=[]))) == 2


async def test_every_transceiver_and_transport_has_the_cures():
    """Also those that aiortc makes by itself for sections of an offer."""
    answerer = PeerConnection(RTCConfiguration(iceServers=[]), consent=ConsentConfig(interval_s=0.01))
    client = await connected(answerer)
    (transceiver,) = answerer.getTransceivers()
    assert isinstance(transceiver.sender, MediaSender)
    assert isinstance(transceiver.receiver, MediaReceiver)
    assert transceiver.receiver._RTCRtpReceiver__jitter_buffer is transceiver.receiver.reorder
    connection = transceiver.receiver.transport.transport._connection
    task = connection._query_consent_task
    assert task.get_coro().__name__ == "watch_consent"
    client_ice = client.getSenders()[0].transport.transport._connection
    asked = client_ice.request_received
    requests = []
    client_ice.request_received = lambda *a: (requests.append(a), asked(*a))
    await until(lambda: len(requests) > 3)
    assert not task.done()
    await client.close()
    await answerer.close()


async def test_silent_peer_is_noticed_and_its_connection_fails():
    answerer = PeerConnection(RTCConfiguration(iceServers=[]), consent=ConsentConfig(interval_s=0.05, expiry_s=0.2))
    client = await connected(answerer)
    client_ice = client.getSenders()[0].transport.transport._connection
    client_ice.request_received = lambda *a: None
    started_at = time.monotonic()
    await until(lambda: answerer.connectionState in ("failed", "closed"))
    assert time.monotonic() - started_at > 0.2
    await client.close()
    await answerer.close()
