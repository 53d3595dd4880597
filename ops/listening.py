"""A bot that speaks to a server and keeps what comes back with the moment it came. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from client.client import Bot, Kind, MediaFrame, Visavis, VisavisError
from ops.voice import RATE_HZ
from stream import protocol

FIRST_PICTURE_WITHIN_S = 15.0
PACKET_S = 0.02


@dataclass(frozen=True)
class Picture:
    at_s: float
    data: bytes


@dataclass(frozen=True)
class Sound:
    at_s: float
    peak: int  # largest sample


@dataclass
class Listener:
    """One attached WebSocket. Moments are of time.monotonic, at this end."""

    bot: Bot
    character: str
    asked_s: float  # when the session was asked for
    pictures: list[Picture] = field(default_factory=list)
    sounds: list[Sound] = field(default_factory=list)
    stats: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        async for received in self.bot:
            at_s = time.monotonic()
            match received:
                case MediaFrame(kind=Kind.VIDEO_OUT):
                    self.pictures.append(Picture(at_s, received.payload))
                    self.seen.set()
                case MediaFrame():
                    pcm = np.frombuffer(received.payload, "<i2").astype(np.int32)
                    self.sounds.append(Sound(at_s, int(np.abs(pcm).max(initial=0))))
                case protocol.Stats():
                    self.stats.append((at_s, received.stats))
                case protocol.Warning() | protocol.Error():
                    self.warnings.append(received.message)

    async def say_live(self, pcm: np.ndarray) -> None:
        """As a microphone would: a packet whenever it is full."""
        packet = round(PACKET_S * RATE_HZ)
        began_s = time.monotonic()
        for number, start in enumerate(range(0, len(pcm), packet), 1):
            await asyncio.sleep(began_s + number * PACKET_S - time.monotonic())
            await self.bot.speak(pcm[start : start + packet].tobytes())


@asynccontextmanager
async def attend(url: str, mode: str = "live", video: str = "h264") -> AsyncIterator[Listener]:
    """A session with its listener, from the first picture on. A connection that is lost meanwhile is an error."""
    async with Visavis(url) as visavis:
        asked_s = time.monotonic()
        session = await visavis.create_session()
        try:
            output = protocol.Output(video=video)
            async with session.connect(input_rate=RATE_HZ, mode=mode, output=output) as bot:
                listener = Listener(bot, session.character, asked_s)
                reading = asyncio.create_task(listener.read())
                try:
                    async with asyncio.timeout(FIRST_PICTURE_WITHIN_S):
                        await listener.seen.wait()
                    yield listener
                    if reading.done():
                        raise VisavisError("the session ended in the middle of the measurement")
                except TimeoutError:
                    raise VisavisError(f"no picture came within {FIRST_PICTURE_WITHIN_S:.0f} s") from None
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
        finally:
            with suppress(VisavisError):
                await session.delete()
