"""Fifty people come and go, each in their own way, and the server is afterwards what it was before."""

import asyncio
import json
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from ops.processes import family, memory
from stream.manager import GIVE_BACK_AFTER_S
from tests.fakes_rtc import Client, until
from tests.live_server import LiveServer, live_server

WARM_UP, VISITS = 16, 50
GROWTH_MB = 12  # of all processes together; an encoder that is not freed costs half of that with each visit
GONE_WITHIN_S = 15.0


async def seat(http: httpx.AsyncClient) -> dict:
    """A new session's URLs, as soon as there is room: those whose cable was pulled take some seconds to be missed."""
    async with asyncio.timeout(2 * GONE_WITHIN_S):
        while (answer := await http.post("/v1/sessions", json={})).status_code == 503:
            await asyncio.sleep(0.2)
    return answer.raise_for_status().json()


async def by_browser(server: LiveServer, http: httpx.AsyncClient, goodbye: bool) -> None:
    """A duplex WebRTC connection until pictures come; then it hangs up, or its cable is pulled."""
    urls = await seat(http)
    async with Client() as client:
        answer = await http.post(
            urls["rtc"], content=await client.offer(), headers={"Content-Type": "application/sdp"}
        )
        await client.take(answer.raise_for_status().text)
        await until(lambda: client.frames)
        if goodbye:
            (await http.delete(answer.headers["Location"])).raise_for_status()
        else:
            client.vanish()


async def by_socket(server: LiveServer, http: httpx.AsyncClient, goodbye: bool) -> None:
    """A bot that speaks and listens for some pictures; then it ends the session, or drops the line."""
    urls = await seat(http)
    async with connect(server.url.replace("http", "ws") + urls["ws"], subprotocols=["avatar.v1"]) as bot:
        await bot.send(json.dumps({"type": "session.configure", "input_rate": 16_000}))
        pictures = 0
        async for frame in bot:
            pictures += isinstance(frame, bytes) and frame[1] == 2
            if pictures == 3:
                break
        if goodbye:
            await bot.send(json.dumps({"type": "session.close"}))
        else:
            bot.transport.abort()


async def visits(server: LiveServer, number: int) -> None:
    ways = [(by_browser, True), (by_socket, True), (by_browser, False), (by_socket, False)]
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        for visit in range(number):
            come, goodbye = ways[visit % len(ways)]
            await come(server, http, goodbye)
        async with asyncio.timeout(GONE_WITHIN_S + 5):
            while (await http.get("/readyz")).json()["sessions"]:
                await asyncio.sleep(0.1)
    await asyncio.sleep(GIVE_BACK_AFTER_S + 1)


def holdings(server: LiveServer) -> tuple[int, int, float]:
    """Threads and descriptors of the server process, and memory of all processes in MB."""
    process = Path(f"/proc/{server.process.pid}")
    threads = len(list((process / "task").iterdir()))
    return threads, len(list((process / "fd").iterdir())), memory(family(server.process.pid)).pss_mb


def test_fifty_connects_and_disconnects_leave_threads_descriptors_and_memory_where_they_were():
    with live_server("--max-sessions", "12") as server:
        asyncio.run(visits(server, WARM_UP))
        threads, descriptors, memory_mb = holdings(server)
        asyncio.run(visits(server, VISITS))
        after = holdings(server)
        assert after[0] <= threads
        assert after[1] <= descriptors
        assert after[2] <= memory_mb + GROWTH_MB, f"{memory_mb:.0f} MB became {after[2]:.0f} MB"
