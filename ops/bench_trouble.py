"""A running server that is interrupted: by the bot that wants it to stop speaking, and by the death of its worker."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image

from model.world.cast import CHARACTERS
from model.world.scene import Scene
from ops.figures import Figure
from ops.listening import Listener, Picture, attend
from ops.mouth import closed_below, closes_at
from ops.mouth_probe import SIZE, MouthProbe
from ops.serving import RunningServer, running_server
from ops.voice import speech

REST_S, SPEAK_S, FALL_SILENT_S, SAY_S = 6.0, 2.6, 3.0, 8.0
INTERRUPTIONS = 6
LONG_AT_REST_S = 1.5  # so long after clear every mouth has closed
QUIET_PEAK = 330  # -40 dBFS
CRASH_WATCHED_S = 8.0
CRASH_SAYS_S = 9.0  # of speech, all of it queued before the worker dies


def barge_in(loader: str, preset: str) -> Iterator[Figure]:
    with running_server(loader, preset) as server:
        listener, cleared_s = asyncio.run(interrupted_often(server))
    silent_ms = [1000 * max(0.0, last_sound_s(listener, clear_s) - clear_s) for clear_s in cleared_s]
    yield Figure(f"clear to last sound, slowest of {len(cleared_s)}", round(max(silent_ms)), "ms")
    closed_ms = [1000 * (at_s - clear_s) for at_s, clear_s in closings(listener, cleared_s)]
    yield Figure(f"clear to closed mouth, median of {len(cleared_s)}", round(statistics.median(closed_ms)), "ms", 250)
    yield Figure(f"clear to closed mouth, slowest of {len(cleared_s)}", round(max(closed_ms)), "ms", 250)


async def interrupted_often(server: RunningServer) -> tuple[Listener, list[float]]:
    """A long rest, then sentences that are cut off at every phase of a chunk; and the moments of the cuts."""
    cleared_s = []
    async with attend(server.url, mode="speech", video="jpeg") as listener:
        await asyncio.sleep(REST_S)
        for number in range(INTERRUPTIONS):
            await listener.bot.speak(speech(SAY_S).tobytes(), number + 1)
            await asyncio.sleep(SPEAK_S + 0.013 * number)
            cleared_s.append(time.monotonic())
            await listener.bot.clear()
            await asyncio.sleep(FALL_SILENT_S)
    return listener, cleared_s


def closings(listener: Listener, cleared_s: list[float]) -> Iterator[tuple[float, float]]:
    """When the mouth closed after each clear, and when that clear was sent."""
    moments = np.array([picture.at_s for picture in listener.pictures])
    openings = mouth_openings(listener.character, listener.pictures)
    for clear_s in cleared_s:
        # The head is elsewhere by then: rest is judged by all pauses but the one in question.
        pauses = [(at_s + LONG_AT_REST_S, at_s + FALL_SILENT_S) for at_s in cleared_s if at_s != clear_s]
        pauses.append((moments[0], moments[0] + REST_S))
        at_rest = np.any([(moments > begin_s) & (moments < end_s) for begin_s, end_s in pauses], axis=0)
        below = closed_below(openings[at_rest])
        after = (moments > clear_s) & (moments < clear_s + FALL_SILENT_S)
        at_s = closes_at(moments[after].tolist(), openings[after], below)
        if at_s is None:
            raise RuntimeError(f"a mouth did not close within {FALL_SILENT_S:g} s of clear")
        yield at_s, clear_s


def mouth_openings(character: str, pictures: list[Picture]) -> np.ndarray:
    """Read off the pictures, of any size: the probe knows the drawn characters with their mouths open and shut."""
    if character not in CHARACTERS:
        raise RuntimeError(f"the mouth of {character!r} cannot be read: it is none of {', '.join(CHARACTERS)}")
    images = np.stack([_read(picture.data) for picture in pictures])
    return MouthProbe(Scene((CHARACTERS[character],)), 0, seed=1).read(images)[:, 0]


def _read(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(encoded)).resize((SIZE, SIZE), Image.Resampling.BOX))


def last_sound_s(listener: Listener, clear_s: float) -> float:
    end_s = clear_s + FALL_SILENT_S
    loud = [sound.at_s for sound in listener.sounds if sound.peak > QUIET_PEAK and sound.at_s < end_s]
    return max(loud, default=clear_s)


def crash(loader: str, preset: str) -> Iterator[Figure]:
    with running_server(loader, preset) as server:
        workers = server.workers
        if not workers:
            raise RuntimeError("no worker process was found to kill")
        listener, killed_s = asyncio.run(killed(server, workers[0]))
    yield Figure(
        "worker killed in speech: longest time without a new picture",
        round(longest_gap_s([picture.at_s for picture in listener.pictures], killed_s), 2), "s", 3.0,
    )  # fmt: skip
    yield Figure(
        "worker killed in speech: longest time without sound",
        round(longest_gap_s([sound.at_s for sound in listener.sounds], killed_s), 2), "s",
    )  # fmt: skip


async def killed(server: RunningServer, worker: int) -> tuple[Listener, float]:
    async with attend(server.url, mode="speech", video="jpeg") as listener:
        await listener.bot.speak(speech(CRASH_SAYS_S).tobytes(), 1)
        await asyncio.sleep(2.0)
        killed_s = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        await asyncio.sleep(CRASH_WATCHED_S)
    return listener, killed_s


def longest_gap_s(moments_s: list[float], since_s: float) -> float:
    """Between neighbouring moments, from the last one before `since_s` on; at least one must come after it."""
    before = [moment for moment in moments_s if moment <= since_s][-1:]
    watched = before + [moment for moment in moments_s if moment > since_s]
    if len(watched) < 2 or watched[-1] < since_s + 1:
        raise RuntimeError("nothing came any more")
    return max(later - earlier for earlier, later in pairwise(watched))
