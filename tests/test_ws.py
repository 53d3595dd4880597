"""A bot's connection: what it may say, what it hears, and that its mistakes cost it nothing but a word."""

import asyncio
import json
from contextlib import asynccontextmanager

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from stream import events, protocol, ws
from stream.config import ServerConfig
from stream.protocol import Codec, Flag, Kind, MediaFrame
from stream.speech import SpeechRefused
from tests.fakes_session import RunningApi


@pytest.fixture
async def api():
    async with RunningApi(ServerConfig()) as running:
        yield running


class Client:
    """Reads what a test waits for and keeps the rest in order."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self.heard: list[dict | MediaFrame] = []

    async def say(self, kind: str, **fields) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def sound(self, samples, segment: int = 1, flags: Flag = Flag.NONE) -> None:
        pcm = np.array(samples, "<i2").tobytes()
        await self.socket.send(MediaFrame(Kind.PCM_IN, pcm, segment, flags=flags).encode())

    async def next(self) -> dict | MediaFrame:
        frame = await asyncio.wait_for(self.socket.recv(), 5)
        self.heard.append(protocol.decode_media(frame) if isinstance(frame, bytes) else json.loads(frame))
        return self.heard[-1]

    async def until(self, kind: str) -> dict:
        while True:
            heard = await self.next()
            if isinstance(heard, dict) and heard["type"] == kind:
                return heard

    async def media(self, count: int) -> list[MediaFrame]:
        found = []
        while len(found) < count:
            heard = await self.next()
            if isinstance(heard, MediaFrame):
                found.append(heard)
        return found


@asynccontextmanager
async def attached(api, session, configure: dict | None = None, **connecting):
    url = api.url.replace("http", "ws") + f"/v1/sessions/{session.id}/ws"
    connecting = {"subprotocols": [protocol.SUBPROTOCOL], "compression": None} | connecting
    async with connect(url, **connecting) as socket:
        client = Client(socket)
        if configure is not None:
            await client.say("session.configure", **configure)
            client.ready = await client.until("session.ready")
        yield client


async def eventually(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


NO_MEDIA = {"output": {"video": "none", "audio": False}}


async def test_ready_tells_limits_latency_and_output(api):
    session = api.sessions.create("ada")
    async with attached(api, session, {"input_rate": 24_000}) as client:
        ready = client.ready
        assert (ready["session"], ready["character"], ready["input_rate"]) == (session.id, "ada", 24_000)
        assert ready["output"] == {"video": "h264", "width": 64, "height": 64, "fps": 25, "audio_rate": 48_000}
        assert ready["limits"]["high_water_ms"] == 10_000
        assert ready["limits"]["hard_cap_ms"] == 30_000
        assert (ready["latency"]["chunk_ms"], ready["latency"]["lookahead_ms"]) == (80, 60)
        assert client.socket.subprotocol == "avatar.v1"


async def test_speech_reaches_the_session_in_order(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.sound([1, -2], segment=5)
        await client.say("mark", name="half", segment_id=5, offset_ms=20)
        await client.sound([3], segment=5, flags=Flag.SEGMENT_END)
        await client.say("segment.end", segment_id=6)
        await eventually(lambda: len(session.calls) == 5)
    assert session.calls == [
        ("queue_speech", [1, -2], 16_000, 5, 0),
        ("mark", "half", 5, 20, 0),
        ("queue_speech", [3], 16_000, 5, 0),
        ("end_segment", 5, 0),
        ("end_segment", 6, 0),
    ]


async def test_live_mode_is_a_microphone(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA | {"mode": "live", "input_rate": 8_000}) as client:
        await client.sound([7, 8])
        await eventually(lambda: session.calls)
    assert session.calls == [("push_microphone", [7, 8], 8_000, 0)]


async def test_clear_answers_with_what_was_dropped(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.say("clear")
        assert await client.until("cleared") == {
            "type": "cleared", "epoch": 1, "position_ms": 80.0, "dropped_ms": 120.0,
        }  # fmt: skip


async def test_late_sound_of_a_cleared_segment_is_refused_until_its_end(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.sound([1], segment=4)
        await client.say("clear")
        await client.sound([2], segment=4)
        await client.sound([3], segment=4)
        await client.sound([4], segment=5)
        await client.say("segment.end", segment_id=4)
        await client.sound([5], segment=4)
        await client.say("ping", t=0)
        await client.until("pong")
    errors = [heard["code"] for heard in client.heard if heard["type"] == "error"]
    assert errors == ["segment_cleared"]
    spoken = [call for call in session.calls if call[0] == "queue_speech"]
    assert [(samples, segment) for _, samples, _, segment, _ in spoken] == [([1], 4), ([4], 5), ([5], 4)]


async def test_speech_without_numbers_goes_on_after_a_clear(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.sound([1], segment=0)
        await client.say("clear")
        await client.sound([2], segment=0)
        await eventually(lambda: len(session.calls) == 3)


async def test_ping_returns_its_own_time(api):
    async with attached(api, api.sessions.create(), NO_MEDIA) as client:
        await client.say("ping", t=12.5)
        assert (await client.until("pong"))["t"] == 12.5


async def test_h264_and_sound_come_with_the_same_media_times(api):
    session = api.sessions.create()
    async with attached(api, session, {}) as client:
        await eventually(lambda: session.encoders.stats())
        pictures, sounds = [], []
        for _ in range(5):
            session.tick()
            for media in await client.media(2):
                (pictures if media.kind is Kind.VIDEO_OUT else sounds).append(media)
    assert pictures[0].codec is Codec.H264
    assert Flag.KEY in pictures[0].flags
    assert pictures[0].payload.startswith(b"\x00\x00\x00\x01")
    assert [one.pts_us for one in pictures] == [one.pts_us for one in sounds] == [0, 40_000, 80_000, 120_000, 160_000]
    assert np.frombuffer(sounds[2].payload, "<i2").tolist() == [2] * 1920
    assert sounds[0].segment_id == 3


async def test_jpeg_pictures_on_request(api):
    session = api.sessions.create()
    async with attached(api, session, {"output": {"video": "jpeg", "audio": False}}) as client:
        await eventually(lambda: session._ticks)
        session.tick()
        [picture] = await client.media(1)
    assert picture.codec is Codec.JPEG
    assert picture.payload.startswith(b"\xff\xd8")


async def test_events_are_worded(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await eventually(lambda: session._events)
        session.tell(events.SpeechStarted(1.5))
        session.tell(events.PlaybackStarted(4, 0, 48_000, 0.0))
        session.tell(events.PlaybackProgress(4, 1000, 500))
        session.tell(events.MarkReached("half", 4, 20))
        session.tell(events.PlaybackFinished(4, 1500, False))
        session.tell(events.SpeechStopped(3.0))
        session.tell(events.Credit(0, 10_000))
        await client.until("credit")
    told = {message["type"]: message for message in client.heard}
    assert told["vad.start"]["pts_us"] == 1_500_000
    assert told["playback.started"]["pts_us"] == 1_000_000
    assert told["playback.progress"]["buffered_ms"] == 500
    assert told["mark.reached"]["name"] == "half"
    assert told["playback.finished"] | {"pts_us": 0} == {
        "type": "playback.finished", "segment_id": 4, "pts_us": 0, "position_ms": 1500.0, "interrupted": False,
        "face": 0,
    }  # fmt: skip
    assert told["vad.end"]["pts_us"] == 3_000_000
    assert told["credit"]["free_ms"] == 10_000


async def test_credit_says_how_much_had_arrived(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.sound([0] * 1600)
        await eventually(lambda: session.calls)
        session.tell(events.Credit(40, 9_960))
        credit = await client.until("credit")
    assert (credit["received_ms"], credit["buffered_ms"]) == (100.0, 40.0)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (MediaFrame(Kind.PCM_IN, b"odd").encode(), "odd_length"),
        (b"short", "bad_frame"),
        (bytes([9]) + bytes(15), "unsupported_version"),
        (MediaFrame(Kind.PCM_IN, bytes(protocol.MAX_FRAME_BYTES)).encode(), "frame_too_large"),
        ("AAAA", "bad_json"),
        ('{"type": "sing"}', "unknown_message"),
        ('{"type": "session.configure", "input_rate": 3}', "bad_rate"),
        ('{"type": "session.configure"}', "already_configured"),
    ],
)
async def test_a_mistake_is_named_and_the_session_goes_on(api, frame, code):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.socket.send(frame)
        assert (await client.until("error"))["code"] == code
        await client.sound([1])
        await eventually(lambda: session.calls)


async def test_sound_before_configure_is_refused_with_what_to_do(api):
    async with attached(api, api.sessions.create()) as client:
        await client.sound([1])
        error = await client.until("error")
        assert error["code"] == "not_configured"
        assert "session.configure" in error["message"]
        await client.say("session.configure")
        await client.until("session.ready")


async def test_a_connection_that_never_configures_is_closed(api, monkeypatch):
    monkeypatch.setattr(ws, "CONFIGURE_TIMEOUT_S", 0.05)
    session = api.sessions.create()
    async with attached(api, session) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.next()
        assert closed.value.rcvd.code == 1008
    await eventually(lambda: session.attached == 0)


async def test_the_input_rate_may_change_on_the_way(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.say("session.configure", input_rate=48_000, **NO_MEDIA)
        await client.until("session.ready")
        await client.sound([1])
        await eventually(lambda: session.calls)
    assert session.calls[0][2] == 48_000


async def test_a_full_buffer_is_told_once_and_the_session_goes_on(api):
    session = api.sessions.create()
    session.refusal = SpeechRefused("buffer_overflow", "30 s wait already")
    async with attached(api, session, NO_MEDIA) as client:
        for _ in range(3 * ws.MAX_ERRORS_IN_A_ROW):
            await client.sound([1])
        await client.say("ping", t=1)
        await client.until("pong")
        errors = [heard for heard in client.heard if heard["type"] == "error"]
        assert [(error["code"], error["retryable"]) for error in errors] == [("buffer_overflow", True)]
        session.refusal = None
        await client.sound([1])
        await eventually(lambda: session.calls)


async def test_a_client_that_talks_only_nonsense_is_shown_out(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(ws.MAX_ERRORS_IN_A_ROW + 1):
                await client.socket.send("nonsense")
            while True:
                await client.next()
        assert closed.value.rcvd.code == 1008


async def test_a_frame_beyond_the_socket_limit_closes_with_1009_and_the_session_stays(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.socket.send(bytes(300_000))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await client.next()
        assert closed.value.rcvd.code == 1009
    async with attached(api, session, NO_MEDIA):
        pass


async def test_ready_tells_faces_and_emotions(api):
    async with attached(api, api.sessions.create("duo"), NO_MEDIA | {"face": "vito"}) as client:
        assert client.ready["faces"] == ["Uma", "Vito"]
        assert client.ready["emotions"] == ["neutral", "happy", "sad"]
        assert client.ready["face"] == 1


async def test_a_connection_or_a_segment_speaks_for_a_face(api):
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA | {"face": 1}) as client:
        await client.sound([1], segment=1)
        await client.say("segment.start", segment_id=2, face="Uma")
        await client.sound([2], segment=2)
        await client.sound([3], segment=1)
        await client.say("mark", name="half", segment_id=2, offset_ms=20)
        await client.say("segment.end", segment_id=2)
        await client.say("segment.end", segment_id=1)
        await eventually(lambda: len(session.calls) == 6)
    assert [call[-1] for call in session.calls] == [1, 0, 1, 0, 0, 1]


async def test_a_microphone_speaks_for_the_face_it_is_configured_for(api):
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA | {"mode": "live", "face": 1}) as client:
        await client.sound([7])
        await eventually(lambda: session.calls)
        await client.say("session.configure", **NO_MEDIA, mode="live", face=0)
        await client.sound([8])
        await eventually(lambda: len(session.calls) == 2)
    assert [call[-1] for call in session.calls] == [1, 0]


@pytest.mark.parametrize("face", [2, "Nobody"])
@pytest.mark.parametrize("kind", ["segment.start", "clear", "emotion"])
async def test_a_face_that_is_not_there_is_answered_with_those_that_are(api, kind, face):
    fields = {"segment.start": {"segment_id": 1}, "emotion": {"name": "happy"}, "clear": {}}[kind]
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA) as client:
        await client.say(kind, face=face, **fields)
        error = await client.until("error")
    assert error["code"] == "unknown_face"
    assert "0 Uma, 1 Vito" in error["message"]
    assert session.calls == []


async def test_a_configuration_for_a_face_that_is_not_there_is_refused_and_may_be_sent_again(api):
    async with attached(api, api.sessions.create()) as client:
        await client.say("session.configure", face=1, **NO_MEDIA)
        assert (await client.until("error"))["code"] == "unknown_face"
        await client.say("session.configure", **NO_MEDIA)
        await client.until("session.ready")


async def test_a_face_that_left_with_its_character_is_told_when_it_should_speak(api):
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA | {"face": 1}) as client:
        session.change_character("ada")
        await client.sound([1])
        assert (await client.until("error"))["code"] == "unknown_face"


async def test_emotions_reach_the_session_for_one_face_or_all(api):
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA) as client:
        await client.say("emotion", name="happy")
        await client.say("emotion", name="sad", intensity=0.5, face="Vito")
        await eventually(lambda: len(session.calls) == 2)
    assert session.calls == [("show_emotion", "happy", 1.0, None), ("show_emotion", "sad", 0.5, 1)]


async def test_an_unknown_emotion_is_answered_with_the_known_ones(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.say("emotion", name="bored")
        error = await client.until("error")
    assert error["code"] == "unknown_emotion"
    assert "neutral, happy, sad" in error["message"]
    assert session.calls == []


async def test_clear_of_one_face_cuts_only_its_segments_off(api):
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA) as client:
        await client.say("segment.start", segment_id=2, face=1)
        await client.sound([1], segment=1)
        await client.sound([2], segment=2)
        await client.say("clear", face=1)
        await client.until("cleared")
        await client.sound([3], segment=1)
        await client.sound([4], segment=2)
        assert (await client.until("error"))["code"] == "segment_cleared"
    assert ("clear", 1) in session.calls
    assert [call[1] for call in session.calls if call[0] == "queue_speech"] == [[1], [2], [3]]


async def test_two_speak_at_a_time_each_for_a_face_of_their_own(api):
    session = api.sessions.create("duo")
    async with attached(api, session, NO_MEDIA) as uma, attached(api, session, NO_MEDIA | {"face": 1}) as vito:
        await uma.sound([1])
        await vito.sound([2])
        await eventually(lambda: len(session.calls) == 2)
        await uma.say("clear", face="Vito")
        assert "Vito" in (await uma.until("error"))["message"]
        await uma.say("clear")  # would silence somebody else
        assert (await uma.until("error"))["code"] == "speaker_taken"
        await uma.say("clear", face="Uma")
        await uma.until("cleared")
        session.tell(events.Credit(40, 9_960, face=1))
        assert (await vito.until("credit"))["received_ms"] == pytest.approx(1 / 16)
        assert (await uma.until("credit"))["received_ms"] == 0


async def test_one_speaks_and_others_listen(api):
    session = api.sessions.create()
    async with attached(api, session, {}) as speaker:
        await speaker.sound([1])
        await eventually(lambda: session.calls)
        async with attached(api, session, {"output": {"video": "none", "audio": True}}) as listener:
            await listener.sound([2])
            assert (await listener.until("error"))["code"] == "speaker_taken"
            await eventually(lambda: len(session._ticks) == 2)
            session.tick()
            [heard] = await listener.media(1)
            assert heard.kind is Kind.AUDIO_OUT
    assert len(session.calls) == 1


async def test_the_seat_of_a_speaker_who_left_is_free(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as first:
        await first.sound([1])
        await eventually(lambda: session.calls)
    await eventually(lambda: session.attached == 0)
    async with attached(api, session, NO_MEDIA) as second:
        await second.sound([2])
        await eventually(lambda: len(session.calls) == 2)


async def test_session_close_is_told_before_the_socket_closes(api):
    session = api.sessions.create()
    async with attached(api, session, NO_MEDIA) as client:
        await client.say("session.close")
        assert (await client.until("session.closed"))["reason"] == "closed by the client"
        with pytest.raises(ConnectionClosed) as closed:
            await client.next()
        assert closed.value.rcvd.code == 1000


async def test_a_vanished_client_leaves_nothing_behind(api):
    session = api.sessions.create()
    async with attached(api, session, {}) as client:
        await eventually(lambda: session._ticks and session._events and session.encoders.stats())
        client.socket.transport.abort()
        await eventually(lambda: session.attached == 0)
    assert (session._ticks, session._events, session.encoders.stats()) == ([], [], {})


async def test_a_frozen_client_is_noticed_although_nothing_can_be_written_to_it(api):
    session = api.sessions.create()
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    try:
        writer.write(
            f"GET /v1/sessions/{session.id}/ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        configure = json.dumps({"type": "session.configure", "output": {"video": "none"}}).encode()
        mask = bytes(4)
        writer.write(bytes([0x81, 0x80 | len(configure)]) + mask + configure)
        await eventually(lambda: session._ticks)
        for _ in range(3_000):  # and from here on the client reads nothing
            session.tick()
            await asyncio.sleep(0)
        await eventually(lambda: session.attached == 0)
    finally:
        writer.transport.abort()


async def test_a_slow_reader_misses_whole_instants_and_is_told(api):
    session = api.sessions.create()
    output = {"output": {"video": "none", "audio": True}}
    async with attached(api, session, output, max_queue=1, close_timeout=0.1) as client:
        await eventually(lambda: session._ticks)
        for _ in range(3_000):  # two minutes of media, eleven megabytes: more than all buffers on the way hold
            session.tick()
            await asyncio.sleep(0)
        frames, warned = [], False
        while not (warned and len(frames) > 2 and Flag.DISCONTINUITY in frames[-1].flags):
            heard = await client.next()
            if isinstance(heard, MediaFrame):
                frames.append(heard)
            else:
                warned = warned or heard.get("code") == "slow_reader"
    assert frames[-1].pts_us - frames[-2].pts_us > 40_000


async def test_other_protocols_are_refused_in_words(api):
    session = api.sessions.create()
    with pytest.raises(InvalidStatus) as refused:
        async with attached(api, session, subprotocols=["avatar.v2"]):
            pass
    assert refused.value.response.status_code == 400
    assert "avatar.v1" in json.loads(refused.value.response.body)["detail"]


async def test_unknown_sessions_are_refused_with_404(api):
    session = api.sessions.create()
    await api.sessions.close(session.id)
    with pytest.raises(InvalidStatus) as refused:
        async with attached(api, session):
            pass
    assert refused.value.response.status_code == 404


async def test_pages_of_other_sites_are_refused(api):
    session = api.sessions.create()
    with pytest.raises(InvalidStatus) as refused:
        async with attached(api, session, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    async with attached(api, session, NO_MEDIA, origin=api.url):
        pass
