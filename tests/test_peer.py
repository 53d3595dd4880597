import asyncio
import gc
import json
import os
import threading

import numpy as np
import pytest

from stream.aiortc_fixes import ConsentConfig
from stream.events import Closed, MarkReached, SpeechStarted, SpeechStopped
from stream.offer import BadOffer, WrongDirection
from stream.peer import Peer, PeerClosed, PeerConfig
from tests.fakes_rtc import Client, FakeSession, until


def grey(frame) -> float:
    return float(frame.to_ndarray(format="rgb24").mean())


async def test_duplex_gives_every_picture_in_order_with_sound_and_takes_the_microphone():
    async with FakeSession() as session, Client() as client:
        peer = Peer(session, "duplex")
        await client.connect(peer)
        await until(lambda: len(client.frames) >= 25 and len(session.heard) >= 25)
        assert session.attached == 1 and peer.state == "connected"
        first = round(client.frames[0].pts / 3600)
        assert [round(f.pts / 3600) - first for f in client.frames] == list(range(len(client.frames)))
        levels = [grey(f) for f in client.frames[:20]]
        assert np.allclose(np.array(levels) - levels[0], np.arange(20), atol=2)  # picture n is the nth grey
        sound = np.concatenate([f.to_ndarray().ravel() for f in client.sound[10:30]])
        assert 5000 < np.abs(sound).max() < 11_000
        microphone = np.concatenate(session.heard[5:25])
        assert len(microphone) == 20 * 960
        assert 3000 < np.abs(microphone).max() < 5000  # the mean of a channel at 6000 and one at 2000
        stats = peer.stats()
        assert (stats["video_codec"], stats["microphone_packets_lost"], stats["packets_dropped"]) == ("h264", 0, 0)
        await peer.close()
    assert session.attached == 0 and peer.state == "closed"


async def test_a_client_without_h264_gets_vp8():
    async with FakeSession() as session, Client(audio=None) as client:
        (transceiver,) = client.connection.getTransceivers()
        capabilities = transceiver.receiver.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in capabilities if c.mimeType == "video/VP8"])
        peer = Peer(session, "whep")
        await client.connect(peer)
        await until(lambda: len(client.frames) >= 5)
        assert list(session.encoders.stats()) == ["vp8"]
        await peer.close()


async def test_sender_of_separate_audio_sections_is_answered():
    async with FakeSession() as session, Client(audio="sendonly") as client:
        client.connection.addTransceiver("audio", direction="recvonly")
        peer = Peer(session, "duplex")
        await client.connect(peer)
        await until(lambda: client.frames and client.sound and session.heard)
        await peer.close()


async def test_whip_only_listens():
    async with FakeSession() as session, Client(audio="sendonly", video=None) as client:
        peer = Peer(session, "whip")
        answer = await client.connect(peer)
        assert "a=recvonly" in answer and "a=sendrecv" not in answer
        await until(lambda: len(session.heard) >= 5)
        assert session.encoders.stats() == {}
        await peer.close()


async def test_two_viewers_share_one_encoder_and_the_last_one_frees_it():
    async with FakeSession() as session, Client("recvonly") as one, Client("recvonly") as two:
        peers = [Peer(session, "whep"), Peer(session, "whep")]
        await one.connect(peers[0])
        await until(lambda: len(one.frames) >= 3)
        await two.connect(peers[1])
        await until(lambda: len(two.frames) >= 5)
        stats = session.encoders.stats()
        assert {codec: s["readers"] for codec, s in stats.items()} == {"h264": 2, "opus": 2}
        assert stats["h264"]["coded"] <= session.ticks
        shared = {f.pts for f in one.frames[-3:]}
        assert len(shared) == 3 and session.attached == 2
        await peers[0].close()
        seen = len(two.frames)
        await until(lambda: len(two.frames) >= seen + 5)
        await peers[1].close()
        assert session.encoders.stats() == {}


async def test_picture_loss_indication_brings_a_key_frame():
    async with FakeSession() as session, Client("recvonly") as client:
        peer = Peer(session, "whep")
        await client.connect(peer)
        await until(lambda: len(client.frames) >= 10)
        keys = session.encoders.stats()["h264"]["keys"]
        receiver = client.connection.getTransceivers()[1].receiver
        (ssrc,) = receiver._RTCRtpReceiver__remote_streams
        await receiver._send_rtcp_pli(ssrc)
        await until(lambda: session.encoders.stats()["h264"]["keys"] > keys)
        await peer.close()


async def test_lost_microphone_packets_become_silence_and_no_delay_stays():
    async with FakeSession() as session, Client() as client:
        peer = Peer(session, "duplex")
        await client.connect(peer)
        client.lose_outgoing(0.1)
        await until(lambda: peer.stats()["microphone_silence_ms"] >= 60)
        assert peer.stats()["microphone_packets_lost"] >= 3
        track = client.connection.getSenders()[0].track

        def packets_behind() -> float:
            return (track._samples - sum(map(len, session.heard))) / 960

        await until(lambda: packets_behind() < 8)  # stock would be 14 behind, and stay so
        await peer.close()


async def test_lost_video_packets_are_repaired():
    async with FakeSession() as session, Client("recvonly") as client:
        peer = Peer(session, "whep")
        await client.connect(peer)
        sender = next(s for s in peer._connection.getSenders() if s.kind == "video")
        send, count = sender.transport._send_rtp, 0

        async def lossy(data: bytes) -> None:
            nonlocal count
            is_video = not 192 <= data[1] <= 223 and int.from_bytes(data[8:12], "big") == sender._ssrc
            count += is_video
            if not (is_video and count % 7 == 3):
                await send(data)

        sender.transport._send_rtp = lossy
        await until(lambda: len(client.frames) >= 30)
        numbers = [round(f.pts / 3600) for f in client.frames]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        await peer.close()


async def test_ten_connections_leave_no_thread_task_or_descriptor():
    async with FakeSession() as session:

        async def once() -> None:
            async with Client(channel=True) as client:
                peer = Peer(session, "duplex")
                await client.connect(peer)
                await until(lambda: client.frames and session.heard)
                await peer.close()

        def held() -> tuple[int, int, int]:
            gc.collect()
            # The pools' few threads are not the connection's; they start when first needed.
            threads = sum(not thread.name.startswith(("encoder", "asyncio")) for thread in threading.enumerate())
            return threads, len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())

        await once()
        await asyncio.sleep(0)
        before = held()
        for _ in range(10):
            await once()
        await asyncio.sleep(0)
        assert held() == before
        assert session.attached == 0 and session.encoders.stats() == {}


async def test_refused_offers_leave_nothing_behind():
    async with FakeSession() as session, Client("recvonly") as client:
        sdp = await client.offer()
        await asyncio.sleep(0)
        tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        for direction, body, error in (
            ("duplex", sdp, WrongDirection),
            ("whip", sdp, WrongDirection),
            ("whep", "v=0\r\n", BadOffer),
            ("whep", sdp.replace("H264", "H266").replace("VP8", "VP7"), BadOffer),
            ("whep", sdp.replace("a=fingerprint:sha-256", "a=fingerprint:"), BadOffer),
        ):
            closed = []
            peer = Peer(session, direction, on_closed=lambda closed=closed: closed.append(1))
            with pytest.raises(error):
                await peer.answer(body)
            assert peer.state == "closed" and closed == [1]
        await asyncio.sleep(0)
        assert session.attached == 0
        assert (len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))) == (tasks, descriptors)


async def test_a_client_that_never_connects_is_given_up():
    async with FakeSession() as session, Client() as client:
        closed = asyncio.Event()
        config = PeerConfig(connect_timeout_s=0.1)
        peer = Peer(session, "duplex", config=config, on_closed=closed.set)
        await peer.answer(await client.offer())
        assert session.attached == 1
        async with asyncio.timeout(10):
            await closed.wait()
        assert session.attached == 0 and peer.state == "closed"


async def test_a_client_that_vanishes_is_noticed():
    async with FakeSession() as session, Client() as client:
        closed = asyncio.Event()
        config = PeerConfig(consent=ConsentConfig(interval_s=0.05, expiry_s=0.2))
        peer = Peer(session, "duplex", config=config, on_closed=closed.set)
        await client.connect(peer)
        await until(lambda: client.frames)
        client.vanish()
        async with asyncio.timeout(10):
            await closed.wait()
        assert session.attached == 0 and session.encoders.stats() == {}


async def test_a_client_that_says_goodbye_ends_the_connection_at_once():
    async with FakeSession() as session, Client() as client:
        closed = asyncio.Event()
        peer = Peer(session, "duplex", on_closed=closed.set)
        await client.connect(peer)
        await until(lambda: client.frames)
        await client.connection.close()
        async with asyncio.timeout(5):
            await closed.wait()
        assert session.attached == 0


async def test_end_of_the_session_ends_its_connections():
    async with FakeSession() as session, Client() as client:
        closed = []
        peer = Peer(session, "duplex", on_closed=lambda: closed.append(1))
        await client.connect(peer)
        await until(lambda: client.frames)
        session.tell(Closed("done"))
        await until(lambda: closed)
        await peer.close()
        await peer.close()
        assert closed == [1] and session.attached == 0


async def test_answer_can_be_asked_for_once():
    async with FakeSession() as session, Client() as client:
        peer = Peer(session, "duplex")
        sdp = await client.offer()
        await peer.answer(sdp)
        with pytest.raises(PeerClosed):
            await peer.answer(sdp)
        await peer.close()
        with pytest.raises(PeerClosed):
            await peer.add_candidates("a=end-of-candidates")
        unused = Peer(session, "duplex")
        await unused.close()
        assert unused.state == "closed" and session.attached == 0


def fragment(sdp: str, candidates: list[str], **changes: str) -> str:
    ufrag = next(line for line in sdp.splitlines() if line.startswith("a=ice-ufrag:"))
    mid = changes.get("mid", "0")
    return "\r\n".join([changes.get("ufrag", ufrag), "m=audio 9 UDP/TLS/RTP/SAVPF 0", f"a=mid:{mid}", *candidates])


async def test_trickled_candidates_are_tried():
    async with FakeSession() as session, Client() as client:
        peer = Peer(session, "duplex")
        sdp = await client.offer()
        lines = sdp.splitlines()
        candidates = [line for line in lines if line.startswith("a=candidate:")]
        bare = "\r\n".join(line for line in lines if "candidate" not in line) + "\r\n"
        answer = await peer.answer(bare)
        ice = peer._connection.getTransceivers()[0].receiver.transport.transport
        assert ice.getRemoteCandidates() == []
        await peer.add_candidates(fragment(sdp, candidates[:1]))
        await peer.add_candidates(fragment(sdp, ["a=candidate:9 1 tcp 1 192.0.2.9 9 typ host tcptype active"]))
        await until(lambda: ice.getRemoteCandidates())
        (taken,) = ice.getRemoteCandidates()
        assert f" {taken.ip} {taken.port} " in candidates[0]
        await client.take(answer)
        await until(lambda: client.frames)
        await peer.close()


async def test_unusable_candidates_are_refused_and_the_connection_stands():
    async with FakeSession() as session, Client() as client:
        peer = Peer(session, "duplex")
        sdp = await client.offer()
        await client.take(await peer.answer(sdp))
        candidate = "a=candidate:1 1 udp 1 192.0.2.9 9 typ host"
        with pytest.raises(BadOffer, match="ice-ufrag"):
            await peer.add_candidates(fragment(sdp, [candidate], ufrag="a=ice-ufrag:other"))
        with pytest.raises(BadOffer, match="a=mid:7"):
            await peer.add_candidates(fragment(sdp, [candidate], mid="7"))
        with pytest.raises(BadOffer, match="more than"):
            await peer.add_candidates(fragment(sdp, [candidate] * 60))
        await until(lambda: client.frames)
        await peer.close()


async def test_data_channel_answers_pings_and_carries_readouts_and_events():
    async with FakeSession() as session, Client(channel=True) as client:
        peer = Peer(session, "duplex", config=PeerConfig(stats_interval_s=0.02))
        await client.connect(peer)
        await until(lambda: client.channel.readyState == "open")
        for words in ("{", "[]", '{"ping": "x"}', "x" * 5000, '{"ping": 12.5}'):
            client.channel.send(words)
        client.channel.send(b"\xff\xfe")

        def heard(key: str, value: object = None) -> list[dict]:
            messages = [json.loads(m) for m in client.messages]
            return [m for m in messages if key in m and (value is None or m[key] == value)]

        await until(lambda: heard("pong") and len(heard("type", "stats")) >= 2)
        assert heard("pong") == [{"pong": 12.5}]
        stats = heard("type", "stats")[-1]
        assert stats["fps"] == 25.0 and stats["rtc"]["direction"] == "duplex"
        for event in (SpeechStarted(1.5), SpeechStopped(2.5), MarkReached("m", 3, 40)):
            session.tell(event)
        await until(lambda: heard("type", "markreached"))
        assert heard("type", "vad") == [
            {"type": "vad", "speaking": True, "t_s": 1.5, "face": 0},
            {"type": "vad", "speaking": False, "t_s": 2.5, "face": 0},
        ]
        await peer.close()


async def test_the_data_channel_sets_emotions_and_whom_the_microphone_speaks_for():
    async with FakeSession() as session, Client(channel=True) as client:
        peer = Peer(session, "duplex")
        await client.connect(peer)

        def heard(kind: str) -> list[dict]:
            messages = [json.loads(message) for message in client.messages]
            return [message for message in messages if message.get("type") == kind]

        await until(lambda: heard("ready"))
        assert heard("ready") == [
            {"type": "ready", "character": "duo", "faces": ["Uma", "Vito"], "emotions": ["neutral", "happy"]}
        ]
        await until(lambda: session.heard)
        assert session.spoken_for == {0}
        client.channel.send('{"type": "voice", "face": "Vito"}')
        client.channel.send('{"type": "emotion", "name": "happy", "intensity": 0.5}')
        client.channel.send('{"type": "emotion", "name": "happy", "face": 1}')
        await until(lambda: session.spoken_for == {0, 1} and len(session.shown) == 2)
        assert session.shown == [("happy", 0.5, None), ("happy", 1.0, 1)]
        for wrong in ('{"type": "voice", "face": 2}', '{"type": "emotion", "name": "bored"}', '{"type": "sing"}'):
            client.channel.send(wrong)
        await until(lambda: len(heard("error")) == 3)
        assert [one["code"] for one in heard("error")] == ["unknown_face", "unknown_emotion", "unknown_message"]
        assert "neutral, happy" in heard("error")[1]["message"]
        assert "emotion, voice" in heard("error")[2]["message"].lower()
        await peer.close()


async def test_who_only_watches_changes_nothing():
    async with FakeSession() as session, Client("recvonly", channel=True) as client:
        peer = Peer(session, "whep")
        await client.connect(peer)
        await until(lambda: client.channel.readyState == "open")
        client.channel.send('{"type": "emotion", "name": "happy"}')
        await until(lambda: any("only_watching" in message for message in client.messages))
        assert session.shown == []
        await peer.close()


async def test_other_data_channels_are_left_alone():
    async with FakeSession() as session, Client() as client:
        other = client.connection.createDataChannel("chat")
        replies = []
        other.on("message", replies.append)
        peer = Peer(session, "duplex")
        await client.connect(peer)
        await until(lambda: other.readyState == "open")
        other.send('{"ping": 1}')
        await until(lambda: len(client.frames) > 5)
        assert replies == []
        await peer.close()


async def test_error_in_the_session_ends_the_connection_and_is_logged(caplog):
    async with FakeSession() as session, Client() as client:
        closed = []

        def broken(*sound, **where):
            raise RuntimeError("the session broke")

        session.push_microphone = broken
        peer = Peer(session, "duplex", on_closed=lambda: closed.append(1))
        await client.connect(peer)
        await until(lambda: closed)
        assert "the session broke" in caplog.text and session.attached == 0


async def test_a_connection_that_will_not_close_is_let_go(caplog):
    async with FakeSession() as session, Client() as client:
        closed = []
        peer = Peer(session, "duplex", config=PeerConfig(close_timeout_s=0.05), on_closed=lambda: closed.append(1))
        await client.connect(peer)
        await until(lambda: client.frames)
        close, peer._connection.close = peer._connection.close, asyncio.Event().wait
        await peer.close()
        assert closed == [1] and session.attached == 0 and session.encoders.stats() == {}
        assert "did not close" in caplog.text
        await close()
