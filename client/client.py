"""A Visavis server from Python: sessions over HTTP, speech and pictures over `avatar.v1`. Knows no sound files.

async with Visavis("http://localhost:8080") as visavis:
    session = await visavis.create_session("ada")
    async with session.connect(input_rate=16_000) as bot:
        await bot.speak(pcm_s16le, segment_id=1)
        await bot.end_segment(1)
        async for received in bot: ...          # MediaFrame or a server message of stream.protocol
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from stream import protocol
from stream.protocol import Flag, Kind, MediaFrame

PIECE_S = 0.1  # of sound in one frame
HTTP_TIMEOUT_S = 10.0
Received = MediaFrame | protocol.ServerMessage


class VisavisError(Exception):
    """The server refused or went away; the message is for a person."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Visavis:
    """One server. Use as an async context manager, or call `aclose`."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise VisavisError(f"{url!r} is not the address of a server: write http://host:port")
        self.url = url.rstrip("/") + "/"
        self._http = httpx.AsyncClient(base_url=self.url, timeout=HTTP_TIMEOUT_S)

    async def __aenter__(self) -> Visavis:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def characters(self) -> list[dict[str, str]]:
        """`name`, `title` and `picture` of each character."""
        return (await self._ask("GET", "v1/characters")).json()

    async def create_session(self, character: str | None = None, **options: Any) -> RemoteSession:
        body = {"character": character, "options": options}
        view = (await self._ask("POST", "v1/sessions", json=body)).json()
        return RemoteSession(self, view)

    async def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise VisavisError(f"no Visavis server answers at {self.url} ({reason}); is it running?") from None
        if response.is_success:
            return response
        retry_after = response.headers.get("retry-after", "")
        raise VisavisError(
            _detail(response.text) or f"the server answered {response.status_code} to {method} {path}",
            response.status_code,
            float(retry_after) if retry_after.isdigit() else None,
        )


def _detail(body: str) -> str | None:
    try:
        return json.loads(body).get("detail")
    except (ValueError, AttributeError):
        return None


class RemoteSession:
    """A session on the server. It lives on there until `delete`, or until nobody has been attached for a while."""

    def __init__(self, server: Visavis, view: dict[str, Any]) -> None:
        self._server = server
        self.view = view
        self.id: str = view["id"]
        self.character: str = view["character"]

    async def status(self) -> dict[str, Any]:
        return (await self._server._ask("GET", f"v1/sessions/{self.id}")).json()

    async def change_character(self, name: str) -> None:
        await self._server._ask("PATCH", f"v1/sessions/{self.id}", json={"character": name})

    async def delete(self) -> None:
        await self._server._ask("DELETE", f"v1/sessions/{self.id}")

    @asynccontextmanager
    async def connect(self, **configure: Any) -> AsyncIterator[Bot]:
        """Attach by WebSocket; the arguments are the fields of `session.configure`."""
        http_url = urlsplit(urljoin(self._server.url, self.view["ws"].lstrip("/")))
        url = urlunsplit(http_url._replace(scheme={"http": "ws", "https": "wss"}[http_url.scheme]))
        try:
            async with connect(url, subprotocols=[protocol.SUBPROTOCOL], compression=None, max_size=None) as socket:
                bot = Bot(socket, protocol.Configure(**configure))
                await bot.start()
                yield bot
        except InvalidStatus as refusal:
            body = (refusal.response.body or b"").decode(errors="replace")
            status = refusal.response.status_code
            raise VisavisError(_detail(body) or f"the server answered {status} to the WebSocket", status) from None
        except (OSError, WebSocketException) as error:
            raise VisavisError(f"the connection to the server was lost: {error}") from None


@dataclass
class _Flow:
    """How much sound the server may still be sent. A credit tells of what had arrived, not of what is under way."""

    high_water_ms: float = 0.0
    sent_ms: float = 0.0
    played_ms: float = 0.0  # no longer queued, as of the last credit

    @property
    def queued_ms(self) -> float:
        return self.sent_ms - self.played_ms


class Bot:
    """One attached WebSocket. Iterate to receive; `speak` waits while the server has enough queued.

    Somebody must iterate while `speak` waits: the word that there is room again is among what is received.
    """

    def __init__(self, socket: ClientConnection, configure: protocol.Configure) -> None:
        self._socket = socket
        self._configure = configure
        self._flow = _Flow()
        self._room = asyncio.Event()
        self.ready: protocol.Ready | None = None

    async def start(self) -> None:
        """Configures the connection; returns when the server is ready."""
        await self._send(self._configure)
        while self.ready is None:
            message = await self._receive()
            if isinstance(message, protocol.Error):
                raise VisavisError(message.message)
            if isinstance(message, protocol.Ready):
                self.ready = message
                # A microphone is heard as it comes: nothing is queued, so nothing tells of room.
                live = self._configure.mode == "live"
                self._flow.high_water_ms = float("inf") if live else message.limits.high_water_ms

    async def speak(self, pcm_s16le: bytes, segment_id: int = 0) -> None:
        """Sends mono sound at the configured rate, in small frames, as fast as the server takes it."""
        piece = int(self._configure.input_rate * PIECE_S) * 2
        for start in range(0, len(pcm_s16le), piece):
            part = pcm_s16le[start : start + piece]
            part_ms = len(part) / 2 / self._configure.input_rate * 1000
            while self._flow.queued_ms + part_ms > self._flow.high_water_ms:
                self._room.clear()
                await self._room.wait()
            await self._send_media(MediaFrame(Kind.PCM_IN, part, segment_id))
            self._flow.sent_ms += part_ms

    async def end_segment(self, segment_id: int = 0) -> None:
        await self._send(protocol.SegmentEnd(segment_id=segment_id))

    async def mark(self, name: str, segment_id: int = 0, offset_ms: int = 0) -> None:
        await self._send(protocol.Mark(name=name, segment_id=segment_id, offset_ms=offset_ms))

    async def clear(self) -> None:
        """Stop speaking at once; `Cleared` follows."""
        await self._send(protocol.Clear())

    async def ping(self, t: float) -> None:
        await self._send(protocol.Ping(t=t))

    async def close_session(self) -> None:
        await self._send(protocol.CloseSession())

    def __aiter__(self) -> Bot:
        return self

    async def __anext__(self) -> Received:
        """The next picture, sound or message; ends when the server closes the session."""
        try:
            return await self._receive()
        except VisavisError as error:
            if error.__cause__ is None:
                raise StopAsyncIteration from None
            raise

    async def _receive(self) -> Received:
        while True:
            try:
                frame = await self._socket.recv()
            except ConnectionClosed as closed:
                self._flow.high_water_ms = float("inf")  # whoever waits to speak finds the connection closed
                self._room.set()
                if closed.rcvd is not None and closed.rcvd.code == 1000:
                    raise VisavisError("the session is closed") from None
                raise VisavisError(f"the connection to the server was lost: {closed}") from closed
            if isinstance(frame, bytes):
                return protocol.decode_media(frame)
            try:
                message = protocol.decode_server(frame)
            except protocol.ProtocolError:
                continue  # a word of a newer server
            if isinstance(message, protocol.Credit):
                self._flow.played_ms = message.received_ms - message.buffered_ms
                self._room.set()
            return message

    async def _send(self, message: protocol.Request) -> None:
        await self._transmit(protocol.encode_control(message))

    async def _send_media(self, frame: MediaFrame) -> None:
        await self._transmit(frame.encode())

    async def _transmit(self, frame: str | bytes) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed as closed:
            raise VisavisError(f"the connection to the server was lost: {closed}") from closed


__all__ = ["Bot", "Flag", "Kind", "MediaFrame", "Received", "RemoteSession", "Visavis", "VisavisError"]
