"""A session that only ticks, and a browser-like client made of stock aiortc, both in this process."""

import asyncio
import fractions
import random
from dataclasses import dataclass
from types import SimpleNamespace

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from stream.encoder import EncoderHub
from stream.expression import expression, face_index
from stream.subscription import Subscription
from tests.browser import network_flags

SIZE = 64
FPS = 25


@dataclass(frozen=True)
class FakeTick:
    index: int
    frame: np.ndarray
    pcm_48k: np.ndarray
    pts_48k: int


def fake_tick(i: int) -> FakeTick:
    """The picture's grey level tells the tick's number, the sound is a 440 Hz tone."""
    frame = np.full((SIZE, SIZE, 3), 16 + i % 200, np.uint8)
    tone = (8000 * np.sin(2 * np.pi * 440 * (np.arange(1920) + 1920 * i) / 48000)).astype(np.int16)
    return FakeTick(i, frame, tone, i * 1920)


class FakeSession:
    """The part of a session that a peer sees."""

    def __init__(self) -> None:
        self.encoders = EncoderHub(SIZE, SIZE, FPS)
        self.character, self.faces = "duo", ("Uma", "Vito")
        self.info = SimpleNamespace(emotions=("neutral", "happy"))
        self.shown: list[tuple] = []  # emotions asked for, and whose
        self.spoken_for: set[int] = set()  # faces
        self.attached = 0
        self.heard: list[np.ndarray] = []
        self.ticks = 0
        self._subscriptions: list[Subscription] = []
        self._task: asyncio.Task | None = None

    def attach(self) -> None:
        self.attached += 1

    def detach(self) -> None:
        self.attached -= 1

    def face(self, named: int | str | None) -> int:
        return face_index(self.faces, named)

    def show_emotion(self, name: str, intensity: float = 1.0, face: int | None = None) -> None:
        self.shown.append((*expression(self.info.emotions, name, intensity), face))

    def push_microphone(self, pcm_s16: np.ndarray, rate: int, face: int = 0, source: object = None) -> None:
        self.spoken_for.add(face)
        assert pcm_s16.dtype == np.int16 and pcm_s16.ndim == 1 and rate == 48_000
        self.heard.append(pcm_s16)

    def events(self, size: int = 256) -> Subscription:
        subscription = Subscription(size, self._subscriptions.remove)
        self._subscriptions.append(subscription)
        return subscription

    def tell(self, event: object) -> None:
        for subscription in self._subscriptions:
            subscription.put(event)

    def stats(self) -> dict:
        return {"fps": np.float32(25.0)}

    async def _run(self, rate: float) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while True:
            self.encoders.push(fake_tick(self.ticks))
            self.ticks += 1
            await asyncio.sleep(max(0.0, start + self.ticks / (FPS * rate) - loop.time()))

    async def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.end()
        await self.encoders.close()

    async def __aenter__(self, rate: float = 1.0) -> "FakeSession":
        self._task = asyncio.create_task(self._run(rate))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.close()


class ToneTrack(MediaStreamTrack):
    """A microphone: 20 ms of stereo s16 every 20 ms."""

    kind = "audio"

    def __init__(self, left: int = 6000, right: int = 2000) -> None:
        super().__init__()
        self._levels = np.array([[left, right]])
        self._samples = 0
        self._start: float | None = None

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._start = self._start or loop.time()
        await asyncio.sleep(max(0.0, self._start + self._samples / 48000 - loop.time()))
        wave = np.sin(2 * np.pi * 440 * (np.arange(960) + self._samples) / 48000)[:, None]
        frame = av.AudioFrame.from_ndarray((wave * self._levels).astype(np.int16).reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, self._samples, fractions.Fraction(1, 48000)
        self._samples += 960
        return frame


class Client:
    """Offers, takes the answer, and collects what comes."""

    def __init__(self, audio: str | None = "sendrecv", video: str | None = "recvonly", channel: bool = False) -> None:
        network_flags()  # WebRTC needs an address besides loopback; a closed container gets one
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.frames: list[av.VideoFrame] = []
        self.sound: list[av.AudioFrame] = []
        self.messages: list[str] = []
        self._readers: list[asyncio.Task] = []
        if audio:
            self.connection.addTransceiver(ToneTrack() if "send" in audio else "audio", direction=audio)
        if video:
            self.connection.addTransceiver("video", direction=video)
        self.channel = self.connection.createDataChannel("visavis") if channel else None
        if self.channel:
            self.channel.on("message", self.messages.append)
        self.connection.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        into = self.frames if track.kind == "video" else self.sound
        self._readers.append(asyncio.create_task(self._read(track, into)))

    async def _read(self, track: MediaStreamTrack, into: list) -> None:
        try:
            while True:
                into.append(await track.recv())
        except MediaStreamError:
            pass

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def take(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def connect(self, peer: object) -> str:
        answer = await peer.answer(await self.offer())
        await self.take(answer)
        return answer

    def lose_outgoing(self, fraction: float, seed: int = 1) -> None:
        """Drop this part of the RTP packets that leave; the choice is the same in every run."""
        transport = self.connection.getTransceivers()[0].sender.transport
        send, chance = transport._send_rtp, random.Random(seed)

        async def lossy(data: bytes) -> None:
            if 192 <= data[1] <= 223 or chance.random() >= fraction:  # RTCP always passes
                await send(data)

        transport._send_rtp = lossy

    def vanish(self) -> None:
        """From now on nothing leaves, as when a cable is pulled."""
        for transceiver in self.connection.getTransceivers():
            for protocol in transceiver.sender.transport.transport._connection._protocols:
                protocol.send_stun = lambda message, addr: None
                protocol.transport = _Mute(protocol.transport)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)


class _Mute:
    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def sendto(self, data: bytes, addr: object) -> None:
        pass

    def close(self) -> None:
        self._transport.close()


async def until(condition, limit_s: float = 20.0) -> None:
    """Wait for something that is bound to happen; the limit only ends a broken run."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)
