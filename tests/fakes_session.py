"""A session, its owner and a pool that do only what a test tells them, to try the transports on."""

from types import SimpleNamespace

import numpy as np
import uvicorn

from stream.api import create_app
from stream.config import ServerConfig
from stream.encoder import EncoderHub
from stream.events import ClearReport, Closed, SessionEvent
from stream.expression import expression
from stream.manager import ServerFull, UnknownCharacter
from stream.messages import CharacterInfo, PresetInfo
from stream.metrics import Metrics
from stream.pacer import Tick
from stream.session import Session, SessionOptions
from stream.socket_protocol import SocketProtocol
from stream.speech import SpeechRefused
from stream.subscription import Subscription

INFO = PresetInfo(
    name="fake", width=64, height=64, fps=25, frames_per_chunk=2, model_rate=16_000, window_samples=16_000,
    lookahead_samples=960, max_batch=4, steps=2, emotions=("neutral", "happy", "sad"),
)  # fmt: skip


class FakeSession(Session):
    """Records what it is told; `tick` and `tell` make it speak."""

    def __init__(self, session_id: str, character: str, options: SessionOptions) -> None:
        self.id, self.character, self.options = session_id, character, options
        self.faces = CHARACTERS[character].faces
        self.info, self.state, self.created_at = INFO, "idle", 0.0
        self.encoders = EncoderHub(INFO.width, INFO.height, INFO.fps)
        self.attached = 0
        self.calls: list[tuple] = []
        self.refusal: SpeechRefused | None = None
        self._ticks: list[Subscription] = []
        self._events: list[Subscription] = []
        self._index = 0

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            frame = np.full((INFO.height, INFO.width, 3), self._index % 256, np.uint8)
            pcm = np.full(1920, self._index, np.int16)
            tick = Tick(
                index=self._index, frame=frame, picture_index=self._index, repeated=False, late_s=0.0, pcm_48k=pcm,
                pts_48k=self._index * 1920, speech_segment=3,
            )  # fmt: skip
            self._index += 1
            for subscription in self._ticks:
                subscription.put(tick)
            self.encoders.push(tick)

    def tell(self, event: SessionEvent) -> None:
        for subscription in self._events:
            subscription.put(event)

    def subscribe(self, size: int = 8) -> Subscription:
        self._ticks.append(Subscription(size, self._ticks.remove))
        return self._ticks[-1]

    def events(self, size: int = 256) -> Subscription:
        self._events.append(Subscription(size, self._events.remove))
        return self._events[-1]

    def queue_speech(self, pcm_s16: np.ndarray, rate: int, segment: int, face: int = 0) -> int:
        if self.refusal:
            raise self.refusal
        self.calls.append(("queue_speech", pcm_s16.tolist(), rate, segment, face))
        return 0

    def push_microphone(self, pcm_s16: np.ndarray, rate: int, face: int = 0, source: object = None) -> None:
        self.calls.append(("push_microphone", pcm_s16.tolist(), rate, face))

    def end_segment(self, segment: int, face: int = 0) -> None:
        self.calls.append(("end_segment", segment, face))

    def mark(self, name: str, segment: int, offset_ms: int, face: int = 0) -> None:
        self.calls.append(("mark", name, segment, offset_ms, face))

    def show_emotion(self, name: str, intensity: float = 1.0, face: int | None = None) -> None:
        self.calls.append(("show_emotion", *expression(INFO.emotions, name, intensity), face))

    def clear(self, face: int | None = None) -> ClearReport:
        self.calls.append(("clear", face))
        return ClearReport(dropped_ms=120, position_ms=80, epoch=1)

    def attach(self) -> None:
        self.attached += 1

    def detach(self) -> None:
        self.attached -= 1

    def touch(self) -> None:
        self.calls.append(("touch",))

    def change_character(self, name: str) -> None:
        if name not in CHARACTERS:
            raise UnknownCharacter(f"no character {name!r}; there are {', '.join(CHARACTERS)}")
        self.character, self.faces = name, CHARACTERS[name].faces

    def stats(self) -> dict:
        return {"fps": 25.0}

    async def close(self, reason: str = "closed") -> None:
        self.tell(Closed(reason))
        await self.encoders.close()


CHARACTERS = {name: CharacterInfo(name, name.title(), "", (name.title(),)) for name in ("ada", "bo")}
CHARACTERS["duo"] = CharacterInfo("duo", "Duo", "", ("Uma", "Vito"))


class FakeSessions:
    """Room for two."""

    def __init__(self) -> None:
        self.made: dict[str, FakeSession] = {}
        self.draining = False

    def create(self, character: str | None = None, options: SessionOptions | None = None) -> FakeSession:
        if character is not None and character not in CHARACTERS:
            raise UnknownCharacter(f"no character {character!r}; there are {', '.join(CHARACTERS)}")
        if len(self.made) >= self.capacity():
            raise ServerFull(2.5, "both places are taken")
        session = FakeSession(f"s{len(self.made)}", character or "ada", options or SessionOptions())
        self.made[session.id] = session
        return session

    def get(self, session_id: str) -> FakeSession:
        return self.made[session_id]

    async def close(self, session_id: str, reason: str = "closed") -> None:
        await self.made.pop(session_id).close(reason)

    def __len__(self) -> int:
        return len(self.made)

    def capacity(self) -> int:
        return 2


class RunningApi:
    """The application on a free port of a real HTTP server, with fakes behind it."""

    def __init__(self, config: ServerConfig) -> None:
        self.sessions = FakeSessions()
        self.pool = SimpleNamespace(characters=CHARACTERS, info=INFO, ready=True)
        self.server = uvicorn.Server(
            uvicorn.Config(
                create_app(config, self.sessions, self.pool, Metrics()),
                host="127.0.0.1",
                port=0,
                ws=SocketProtocol,
                ws_ping_interval=0.2,
                ws_ping_timeout=0.3,
                ws_max_size=256 * 1024,
                lifespan="off",
                log_config=None,
                timeout_graceful_shutdown=1,
                ws_per_message_deflate=False,
            )  # fmt: skip
        )
        self.url = ""

    async def __aenter__(self) -> "RunningApi":
        self.server.config.load()
        self.server.lifespan = self.server.config.lifespan_class(self.server.config)
        await self.server.startup()
        host, port = self.server.servers[0].sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        for session_id in list(self.sessions.made):
            await self.sessions.close(session_id)
        await self.server.shutdown()
