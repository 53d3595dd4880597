"""The whole way in a real browser: what a person at the page gets, for a minute or for many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ops import browser_latency
from ops.bench_live import Usage, watch
from ops.figures import Figure
from ops.serving import RunningServer, running_server

CONVERSATION_S = 45
SOAK_MEMORY_EVERY_S = 10.0
SOAK_SETTLE_S = 60.0
GROWTH_BUDGET_MB = 30
SYNC_DRIFT_BUDGET_MS = 10
DELAY_DRIFT_BUDGET_MS = 40


def browser(loader: str, preset: str) -> Iterator[Figure]:
    with running_server(loader, preset) as server:
        found = asyncio.run(browser_latency.measure(server.url, seconds=CONVERSATION_S))
    yield from delays(found)


def delays(found: dict) -> Iterator[Figure]:
    glass, skew = found["mic_to_glass_ms"], found["picture_after_sound_ms"]
    yield Figure("microphone to screen, median", round(glass["median"]), "ms", 300, 250)
    yield Figure("microphone to screen, 95th percentile", round(glass["p95"]), "ms", 450, 350)
    yield Figure("microphone to ear, median", round(found["mic_to_ear_ms"]["median"]), "ms")
    yield Figure("sound and picture apart, 95th percentile", round(skew["p95_of_size"]), "ms", 40)
    yield Figure("picture after sound, median", round(skew["median"]), "ms")
    yield Figure("first picture after Start", round(found["first_picture_ms"] / 1000, 2), "s", 1.0)
    if found["fps"] is not None:
        yield Figure("pictures a second shown, median", round(found["fps"], 1), "")
    yield Figure("tones heard and seen", found["events"])
    yield Figure("tones that did not come back", found["missed"])


def soak(loader: str, preset: str, minutes: float) -> Iterator[Figure]:
    with running_server(loader, preset) as server:
        found, usage = asyncio.run(long_conversation(server, round(minutes * 60)))
    yield from delays(found)
    sync = found["picture_after_sound_ms"]["trend_per_minute"] * minutes
    delay = found["mic_to_glass_ms"]["trend_per_minute"] * minutes
    lasted = f"over {minutes:g} minutes"
    yield Figure(f"sound and picture drift apart {lasted}", abs(round(sync, 1)), "ms", SYNC_DRIFT_BUDGET_MS)
    yield Figure(f"microphone to screen grows {lasted}", round(delay, 1), "ms", DELAY_DRIFT_BUDGET_MS)
    settled = [one for one in usage if one.at_s >= usage[0].at_s + SOAK_SETTLE_S] or usage
    grown_mb = settled[-1].memory.pss_mb - settled[0].memory.pss_mb
    yield Figure("memory, most (PSS)", round(max(one.memory.pss_mb for one in usage)), "MB")
    yield Figure(f"memory grows {lasted}, the first left out", round(grown_mb, 1), "MB", GROWTH_BUDGET_MB)


async def long_conversation(server: RunningServer, seconds: int) -> tuple[dict, list[Usage]]:
    watching = asyncio.create_task(watch(server, SOAK_MEMORY_EVERY_S))
    try:
        found = await browser_latency.measure(server.url, seconds=seconds)
    finally:
        watching.cancel()
        usage = await watching
    return found, usage
