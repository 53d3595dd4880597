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
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from stream import protocol
from stream.protocol import Flag, Kind, MediaFrame

PIECE_S = 0.1  # of sound in one frame
HTTP_TIMEOUT_S = 10.0
PREPARE_S = 180.0  # between two words about a picture under work
PICTURE_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp"}
Received = MediaFrame | protocol.ServerMessage


class VisavisError(Exception):
    """The server refused or went away; the message is for a person."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        fit: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.fit = fit  # of a picture that the model cannot hold
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

    async def characters(self) -> list[dict[str, Any]]:
        """`name`, `title` and `picture` of each character, titles of its `faces`, and the `emotions` it can show."""
        return (await self._ask("GET", "v1/characters")).json()

    async def add_character(
        self,
        picture: Path | bytes,
        title: str,
        name: str | None = None,
        faces: list[tuple[float, float, float, float]] | None = None,
        anyway: bool = False,
        on_stage: Callable[[str], None] = lambda stage: None,
    ) -> dict[str, Any]:
        """Makes a character of a PNG, JPEG or WebP file -> `character`, and `fit`: how well the model holds the picture.

        `faces` are x0, y0, x1, y1 in its pixels, where they are not to be found; `anyway` makes it even where the model
        cannot hold it. Raises VisavisError, with the measured `fit` where that is the reason."""
        encoded = picture if isinstance(picture, bytes) else picture.read_bytes()
        about = {"title": title, "anyway": anyway}
        if name is not None:
            about["name"] = name
        if faces is not None:
            about["faces"] = ";".join(",".join(f"{edge:g}" for edge in face) for face in faces)
        kind = next((kind for mark, kind in PICTURE_KINDS.items() if encoded.startswith(mark)), "application/octet-stream")
        told = await self._made("v1/characters", about, encoded, kind, on_stage)
        return {"character": told["character"], "fit": told["fit"]}

    async def design_character(
        self, design: Path | str | dict[str, Any], title: str | None = None, name: str | None = None,
        replace: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Makes a character of what the designer exported (a file, or its text), or of a look -> the character.

        `replace` names a designed one, which gets the new look. Raises VisavisError where the file is damaged or of a newer
        version, and for a look that cannot be drawn."""
        look = design
        if not isinstance(design, dict):
            text = design.read_text() if isinstance(design, Path) else design
            kind = {"Content-Type": "application/json"}
            read = (await self._ask("POST", "v1/designer/import", content=text.encode(), headers=kind)).json()
            look, title = read["look"], title or read["title"]
        about = {"title": title or "Somebody", "name": name, "replace": replace}
        about = {key: value for key, value in about.items() if value is not None}
        told = await self._made("v1/characters/designed", about, json.dumps({"look": look}).encode(), "application/json")
        return told["character"]

    async def design(self, name: str) -> dict[str, Any]:
        """The design of a character that was drawn, as the designer exports it."""
        return (await self._ask("GET", f"v1/characters/{quote(name, safe='')}/design")).json()

    async def _made(
        self, path: str, about: dict[str, Any], content: bytes, kind: str,
        on_stage: Callable[[str], None] = lambda stage: None,
    ) -> dict[str, Any]:  # fmt: skip
        """Follows a character's making to its end -> the server's last word on it."""
        told: dict[str, Any] = {}
        try:
            async with self._http.stream(
                "POST", path, params=about, content=content, headers={"Content-Type": kind}, timeout=PREPARE_S
            ) as response:
                if not response.is_success:
                    await response.aread()
                    self._check(response)
                async for line in response.aiter_lines():
                    told = json.loads(line)
                    on_stage(told["stage"])
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if told.get("stage") != "done":
            detail = told.get("detail", "the server ended before the picture was prepared")
            raise VisavisError(detail, fit=told.get("fit"))
        return told

    async def delete_character(self, name: str) -> None:
        """Only one that was added, and that no session has."""
        await self._ask("DELETE", f"v1/characters/{quote(name, safe='')}")

    async def create_session(self, character: str | None = None, **options: Any) -> RemoteSession:
        body = {"character": character, "options": options}
        view = (await self._ask("POST", "v1/sessions", json=body)).json()
        return RemoteSession(self, view)

    async def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        self._check(response)
        return response

    def _unreachable(self, error: httpx.HTTPError) -> VisavisError:
        reason = str(error) or type(error).__name__
        return VisavisError(f"no Visavis server answers at {self.url} ({reason}); is it running?")

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        method, path = response.request.method, response.request.url.path
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
    """How much sound the server holds for a face. A credit tells of what had arrived, not of what is under way."""

    sent_ms: float = 0.0
    played_ms: float = 0.0  # no longer queued, as of the last credit

    @property
    def queued_ms(self) -> float:
        return self.sent_ms - self.played_ms


class Bot:
    """One attached WebSocket. Iterate to receive; `speak` waits while the server has enough queued.

    Where a character has several faces, each is named by its index or its title, as in `ready.faces`; without a name
    it is the one of `session.configure`, at first the first.
    Somebody must iterate while `speak` waits: the word that there is room again is among what is received.
    """

    def __init__(self, socket: ClientConnection, configure: protocol.Configure) -> None:
        self._socket = socket
        self._configure = configure
        self._flows: defaultdict[int, _Flow] = defaultdict(_Flow)  # by face
        self._high_water_ms = 0.0
        self._faces: dict[int, int] = {}  # of segments that were given to a face
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
                self._high_water_ms = float("inf") if live else message.limits.high_water_ms

    async def speak(self, pcm_s16le: bytes, segment_id: int = 0, face: int | str | None = None) -> None:
        """Sends mono sound at the configured rate, in small frames, as fast as the server takes it.

        `face` gives the segment to a face ahead of its sound; speak with two at a time under two numbers."""
        if face is not None:
            await self.give_segment(segment_id, face)
        flow = self._flows[self._faces.get(segment_id, self.ready.face)]
        piece = int(self._configure.input_rate * PIECE_S) * 2
        for start in range(0, len(pcm_s16le), piece):
            part = pcm_s16le[start : start + piece]
            part_ms = len(part) / 2 / self._configure.input_rate * 1000
            while flow.queued_ms + part_ms > self._high_water_ms:
                self._room.clear()
                await self._room.wait()
            await self._send_media(MediaFrame(Kind.PCM_IN, part, segment_id))
            flow.sent_ms += part_ms

    async def give_segment(self, segment_id: int, face: int | str) -> None:
        """From now on the segment of this number is said by that face. Raises VisavisError if there is none such."""
        self._faces[segment_id] = self._face(face)
        await self._send(protocol.SegmentStart(segment_id=segment_id, face=face))

    async def end_segment(self, segment_id: int = 0) -> None:
        await self._send(protocol.SegmentEnd(segment_id=segment_id))

    async def mark(self, name: str, segment_id: int = 0, offset_ms: int = 0) -> None:
        await self._send(protocol.Mark(name=name, segment_id=segment_id, offset_ms=offset_ms))

    async def clear(self, face: int | str | None = None) -> None:
        """One face, or all, stop speaking at once; `Cleared` follows."""
        await self._send(protocol.Clear(face=face))

    async def emotion(self, name: str, intensity: float = 1.0, face: int | str | None = None) -> None:
        """How one face, or all, look from now on. Raises VisavisError for what is not among `ready.emotions`."""
        if name not in self.ready.emotions:
            there = f"there are {', '.join(self.ready.emotions)}" if self.ready.emotions else "this model shows none"
            raise VisavisError(f"no emotion {name!r}; {there}")
        if not 0 <= intensity <= 1:
            raise VisavisError(f"an emotion's intensity is from 0 to 1, not {intensity:g}")
        await self._send(protocol.Emotion(name=name, intensity=intensity, face=face))

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
                self._high_water_ms = float("inf")  # whoever waits to speak finds the connection closed
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
                self._flows[message.face].played_ms = message.received_ms - message.buffered_ms
                self._room.set()
            return message

    def _face(self, named: int | str) -> int:
        titles = [title.casefold() for title in self.ready.faces]
        index = titles.index(named.casefold()) if isinstance(named, str) and named.casefold() in titles else named
        if index not in range(len(titles)):
            raise VisavisError(f"no face {named!r}; there are {', '.join(self.ready.faces)}")
        return index

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
