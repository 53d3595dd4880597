"""A running server with one and with two people in it: start-up, steadiness, delay, memory."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ops import processes
from ops.figures import Figure
from ops.listening import Listener, attend
from ops.serving import RunningServer, running_server
from ops.voice import speech

STARTS, SESSIONS_STARTED = 3, 5
SETTLE_S = 5.0  # the delay finds its place after a start; nothing counts before
TALK_S = 30.0
MEMORY_EVERY_S = 2.0
MEMORY_BUDGET_MB = 1500


def startup(loader: str, preset: str) -> Iterator[Figure]:
    """The slowest of a few: cold caches are not left out, and the first start after installing is the coldest."""
    ready_s, first_s = [], []
    for start in range(STARTS):
        with running_server(loader, preset) as server:
            ready_s.append(server.ready_after_s)
            if start == STARTS - 1:
                first_s = [asyncio.run(first_picture_s(server.url)) for _ in range(SESSIONS_STARTED)]
    yield Figure(f"process start to ready, slowest of {STARTS}", round(max(ready_s), 2), "s", 5.0)
    yield Figure(
        f"session asked for to first picture (WebSocket), slowest of {SESSIONS_STARTED}", round(max(first_s), 2), "s", 1.0
    )


async def first_picture_s(url: str) -> float:
    async with attend(url) as listener:
        return listener.pictures[0].at_s - listener.asked_s


def live(loader: str, preset: str) -> Iterator[Figure]:
    for sessions in (1, 2):
        with running_server(loader, preset) as server:
            yield from asyncio.run(conversation(server, sessions, TALK_S))


async def conversation(server: RunningServer, sessions: int, seconds: float) -> list[Figure]:
    """People who speak into a microphone, without pauses, as long as asked."""
    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(attend(server.url)) for _ in range(sessions)]
        speaking = [listener.say_live(speech(SETTLE_S + seconds)) for listener in listeners]
        watching = asyncio.create_task(watch(server))
        try:
            await asyncio.gather(*speaking)
        finally:
            watching.cancel()
            usage = await watching
    usage = [one for one in usage if one.at_s >= listeners[-1].asked_s + SETTLE_S]
    who = "one session" if sessions == 1 else f"{sessions} sessions"
    each = [steadiness(listener) for listener in listeners]
    return [*worst(each, who), *used(usage, who)]


@dataclass(frozen=True)
class Steadiness:
    """Of one session, once it has settled."""

    fps: float  # new pictures a second
    late_share: float  # pictures late, repeated or skipped
    latency_ms: float
    latency_p95_ms: float
    av_offset_ms: float


def steadiness(listener: Listener) -> Steadiness:
    """From the server's own counts, between two moments of this end's clock."""
    told = [(at_s, stats) for at_s, stats in listener.stats if at_s >= listener.asked_s + SETTLE_S]
    if len(told) < 3:
        raise RuntimeError(f"the server told its statistics {len(told)} times only; 3 are needed")
    (begin_s, before), (end_s, after) = told[0], told[-1]
    ticks = sum(begin_s < sound.at_s <= end_s for sound in listener.sounds)
    counted = {name: after[name] - before[name] for name in ("late", "repeated", "skipped")}
    due = ticks + counted["skipped"]
    latencies = [stats["latency_ms"] for _, stats in told if stats["latency_ms"] is not None]
    return Steadiness(
        fps=(ticks - counted["repeated"]) / (end_s - begin_s),
        late_share=sum(counted.values()) / due,
        latency_ms=statistics.median(latencies),
        latency_p95_ms=max(stats["latency_p95_ms"] for _, stats in told if stats["latency_p95_ms"] is not None),
        av_offset_ms=max(stats["av_offset_ms"] for _, stats in told if stats["av_offset_ms"] is not None),
    )


def worst(each: list[Steadiness], who: str) -> Iterator[Figure]:
    """Of several sessions, the one that fares worst, figure by figure."""
    yield Figure(f"{who}: pictures a second", round(min(one.fps for one in each), 1), "", 25.0, at_least=True)
    late_percent = 100 * max(one.late_share for one in each)
    yield Figure(f"{who}: late, repeated or skipped", round(late_percent, 2), "%", 1.0)
    yield Figure(f"{who}: sound in to picture out, median", round(max(one.latency_ms for one in each)), "ms")
    yield Figure(f"{who}: the same, worst 95th percentile of 5 s", round(max(one.latency_p95_ms for one in each)), "ms")
    yield Figure(f"{who}: picture behind its sound, 95th percentile", max(one.av_offset_ms for one in each), "ms", 40.0)


@dataclass(frozen=True)
class Usage:
    """Of the server and its workers at a moment."""

    at_s: float
    memory: processes.Memory
    processor_s: float


async def watch(server: RunningServer, every_s: float = MEMORY_EVERY_S) -> list[Usage]:
    """Until cancelled; what was seen is then the result."""
    seen = []
    try:
        while True:
            family = await asyncio.to_thread(lambda: server.family)
            memory = await asyncio.to_thread(processes.memory, family)
            seen.append(Usage(time.monotonic(), memory, processes.processor_s(family)))
            await asyncio.sleep(every_s)
    except asyncio.CancelledError:
        return seen


def used(usage: list[Usage], who: str) -> Iterator[Figure]:
    if len(usage) < 2:
        raise RuntimeError("too short to say anything of memory")
    first, last = usage[0], usage[-1]
    most_pss_mb, most_rss_mb = (max(getattr(one.memory, kind) for one in usage) for kind in ("pss_mb", "rss_mb"))
    seconds = last.at_s - first.at_s
    yield Figure(f"{who}: memory, server and workers (PSS)", round(most_pss_mb), "MB", MEMORY_BUDGET_MB)
    yield Figure(f"{who}: the same, shared pages counted for each process (RSS)", round(most_rss_mb), "MB")
    yield Figure(f"{who}: memory growth in {seconds:.0f} s", round(last.memory.pss_mb - first.memory.pss_mb, 1), "MB")
    yield Figure(f"{who}: processor", round((last.processor_s - first.processor_s) / seconds, 2), "cores")
