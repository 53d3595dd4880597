"""Worker processes: they answer, they die, they hang, and they leave nothing behind."""

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stream import pool as pool_module
from stream.metrics import Metrics
from stream.pool import Pool, PoolFailed

PATIENCE_S = 30


@dataclass(frozen=True)
class Chunk:
    index: int
    window_s16: bytes


@pytest.fixture
async def started():
    pool = Pool("tests.fakes:load", "embedded", 1, 1, Metrics())
    await pool.start()
    yield Driver(pool)
    await pool.stop()


class Driver:
    """Sends chunks and waits for their pictures."""

    def __init__(self, pool):
        self.pool, self.info = pool, pool.info
        self.seen: dict[tuple[int, int], np.ndarray] = {}
        self._news = asyncio.Event()
        pool.on_chunk = self._take

    def _take(self, session, index, frames, stage_s):
        self.seen[session, index] = frames
        self.stage_s = stage_s
        self._news.set()

    def send(self, session, index, level=0.0):
        pcm = np.full(self.info.window_samples, int(level * 32767), "<i2")
        self.pool.submit(session, Chunk(index, pcm.tobytes()), asyncio.get_running_loop().time() + 10)

    async def frames(self, session, index):
        async with asyncio.timeout(PATIENCE_S):
            while (session, index) not in self.seen:
                self._news.clear()
                await self._news.wait()
        return self.seen[session, index]

    async def served_again(self):
        async with asyncio.timeout(PATIENCE_S):
            while not self.pool.ready:
                await asyncio.sleep(0.02)

    @property
    def worker(self):
        return next(iter(self.pool._workers.values()))


async def test_a_chunk_comes_back_as_pictures_of_its_sound(started):
    started.pool.open(7, "ada", 1)
    started.send(7, 0, level=0.0)
    closed = await started.frames(7, 0)
    started.send(7, 1, level=0.3)
    opened = await started.frames(7, 1)
    assert closed.shape == (2, 256, 256, 3)
    assert (opened[0] < 90).sum() > 2 * (closed[0] < 90).sum()
    assert {"queue", "denoise", "transfer"} <= started.stage_s.keys()


async def test_sessions_are_batched_and_keep_their_characters(started):
    for session, name in ((1, "ada"), (2, "bo")):
        started.pool.open(session, name, 1)
    for index in range(3):
        for session in (1, 2):
            started.send(session, index)
        one, other = await started.frames(1, index), await started.frames(2, index)
    assert not np.array_equal(one, other)


async def test_a_killed_worker_is_replaced_and_its_sessions_go_on(started):
    started.pool.open(1, "bo", 1)
    started.send(1, 0)
    await started.frames(1, 0)
    free = started.pool._ring.free_slots
    os.kill(started.worker.process.pid, signal.SIGKILL)
    started.send(1, 1)
    async with asyncio.timeout(PATIENCE_S):
        while started.pool.ready:
            await asyncio.sleep(0.01)
    await started.served_again()
    started.send(1, 2)
    await started.frames(1, 2)
    assert started.pool._ring.free_slots == free


async def test_a_worker_that_hangs_is_killed_and_replaced(started, monkeypatch):
    monkeypatch.setattr(pool_module, "HANG_S", 0.3)
    started.pool.open(1, "ada", 1)
    before = started.worker.process.pid
    os.kill(before, signal.SIGSTOP)
    started.send(1, 0)
    async with asyncio.timeout(PATIENCE_S):
        while started.pool.ready and started.worker.process.pid == before:
            await asyncio.sleep(0.02)
    await started.served_again()
    started.send(1, 1)
    await started.frames(1, 1)
    assert started.worker.process.pid != before


async def test_a_closed_session_gets_no_more_pictures(started):
    started.pool.open(1, "ada", 1)
    started.pool.close(1)
    started.send(1, 0)
    started.pool.open(2, "ada", 1)
    started.send(2, 0)
    await started.frames(2, 0)
    assert (1, 0) not in started.seen


async def test_stop_leaves_no_process_and_no_memory():
    pool = Pool("tests.fakes:load", "embedded", 2, 1, Metrics())
    await pool.start()
    pids = [worker.process.pid for worker in pool._workers.values()]
    segment = Path("/dev/shm") / pool._ring.name.lstrip("/")
    assert len(pids) == 2 and segment.exists()
    await pool.stop()
    assert not segment.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    await pool.stop()


async def test_opening_and_closing_many_sessions_leaves_file_descriptors_alone(started):
    count = len(os.listdir("/proc/self/fd"))
    for session in range(50):
        started.pool.open(session, "ada", 1)
        started.send(session, 0)
        started.pool.close(session)
    assert len(os.listdir("/proc/self/fd")) == count


async def test_a_loader_that_fails_is_told():
    pool = Pool("tests.fakes:missing", "embedded", 1, 1, Metrics())
    with pytest.raises(PoolFailed, match="missing"):
        await pool.start()
    await pool.stop()
