"""Worker processes: they answer, they die, they hang, and they leave nothing behind."""

import asyncio
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stream import pool as pool_module
from stream.messages import NEUTRAL, Emotion
from stream.metrics import Metrics
from stream.pool import Pool, PoolFailed
from tests.fakes import LOOKS, UNOPENABLE, UNSTEPPABLE, WALL

PATIENCE_S = 30
ROOT = Path(__file__).parent.parent

OTHER_SERVER = """
import asyncio
from stream.metrics import Metrics
from stream.pool import Pool

async def main():
    pool = Pool("tests.fakes:load", "embedded", 2, 1, Metrics())
    await pool.start()
    print(pool._ring.name, *(worker.ranks[0].process.pid for worker in pool._workers.values()), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Chunk:
    index: int
    windows_s16: bytes


def mouth_rows(frame: np.ndarray, face: int) -> int:
    """Of a picture with two faces."""
    return int((frame[150:200, 64 + 128 * face].astype(int) == (70, 20, 30)).all(axis=1).sum())


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
        self.given_up: dict[int, str] = {}
        self._news = asyncio.Event()
        pool.on_chunk = self._take
        pool.on_failed = self._give_up

    def _take(self, session, index, frames, stage_s):
        self.seen[session, index] = frames
        self.stage_s = stage_s
        self._news.set()

    def _give_up(self, session, text):
        self.given_up[session] = text
        self._news.set()

    def send(self, session, index, level=0.0):
        pcm = np.full(self.info.window_samples, int(level * 32767), "<i2")
        self.pool.submit(session, Chunk(index, pcm.tobytes()), (NEUTRAL,), asyncio.get_running_loop().time() + 10)

    async def frames(self, session, index):
        return await self._in_time(self.seen, (session, index))

    async def giving_up(self, session):
        return await self._in_time(self.given_up, session)

    async def _in_time(self, place, key):
        async with asyncio.timeout(PATIENCE_S):
            while key not in place:
                self._news.clear()
                await self._news.wait()
        return place[key]

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


async def test_each_face_moves_to_its_own_sound_and_shows_its_own_emotion(started):
    pool, loud = started.pool, np.full(started.info.window_samples, 6000, "<i2")
    pool.open(7, "duo", 1)
    pool.open(8, "ada", 1)
    due = asyncio.get_running_loop().time() + 10
    pool.submit(7, Chunk(0, np.stack([0 * loud, loud]).tobytes()), (Emotion("happy", 1.0), NEUTRAL), due)
    pool.submit(8, Chunk(0, loud.tobytes()), (Emotion("sad", 0.5),), due)
    duo, ada = await started.frames(7, 0), await started.frames(8, 0)
    assert pool.characters["duo"].faces == ("Uma", "Vito")
    assert pool.info.emotions[:2] == ("neutral", "happy")
    assert mouth_rows(duo[0], 0) <= 4 and mouth_rows(duo[0], 1) > 15
    assert [tuple(duo[0, 2, column]) for column in (2, 250)] == [LOOKS["happy"][2], WALL]
    assert tuple(ada[0, 2, 2]) == tuple(np.add(WALL, LOOKS["sad"][2]) // 2)


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
    os.kill(started.worker.ranks[0].process.pid, signal.SIGKILL)
    started.send(1, 1)
    async with asyncio.timeout(PATIENCE_S):
        while started.pool.ready:
            await asyncio.sleep(0.01)
    await started.served_again()
    started.send(1, 2)
    await started.frames(1, 2)
    assert started.pool._ring.free_slots == free


async def test_a_slow_model_is_not_taken_for_one_that_hangs(started, monkeypatch):
    """Its chunks take longer than a hung one is waited for, as it has said itself."""
    monkeypatch.setattr(pool_module, "HANG_S", 0.3)
    started.worker.slowest_chunk_s = 0.5
    started.pool.open(1, "ada", 1)
    before = started.worker.ranks[0].process.pid
    os.kill(before, signal.SIGSTOP)
    started.send(1, 0)
    await asyncio.sleep(1.0)
    os.kill(before, signal.SIGCONT)
    await started.frames(1, 0)
    assert started.worker.ranks[0].process.pid == before


async def test_a_worker_that_hangs_is_killed_and_replaced(started, monkeypatch):
    monkeypatch.setattr(pool_module, "HANG_S", 0.3)
    started.pool.open(1, "ada", 1)
    before = started.worker.ranks[0].process.pid
    os.kill(before, signal.SIGSTOP)
    started.send(1, 0)
    async with asyncio.timeout(PATIENCE_S):
        while started.pool.ready and started.worker.ranks[0].process.pid == before:
            await asyncio.sleep(0.02)
    await started.served_again()
    started.send(1, 1)
    await started.frames(1, 1)
    assert started.worker.ranks[0].process.pid != before


async def test_a_session_that_cannot_be_opened_is_given_up_and_the_others_never_notice(started):
    before = started.worker.ranks[0].process.pid
    started.pool.open(1, "ada", 1)
    started.pool.open(2, "bo", UNOPENABLE)
    assert "cannot be opened" in await started.giving_up(2)
    started.send(1, 0)
    await started.frames(1, 0)
    assert started.worker.ranks[0].process.pid == before


async def test_a_session_that_cannot_be_stepped_is_given_up_and_the_others_get_all_their_pictures(started):
    started.pool.open(1, "ada", 1)
    started.pool.open(2, "bo", UNSTEPPABLE)
    free = started.pool._ring.free_slots
    for index in range(10):
        for session in (2, 1):
            started.send(session, index)
        await started.frames(1, index)
        if 2 in started.given_up:
            break
    assert await started.giving_up(2)
    assert not any(session == 2 for session, _ in started.seen)
    assert started.pool._ring.free_slots == free


async def test_a_message_larger_than_a_socket_takes_at_once_waits_for_a_slow_worker(started):
    started.pool.open(1, "ada", 1)
    os.kill(started.worker.ranks[0].process.pid, signal.SIGSTOP)
    started.pool.open(2, "x" * 4_000_000, 1)
    os.kill(started.worker.ranks[0].process.pid, signal.SIGCONT)
    assert "xxx" in await started.giving_up(2)
    started.send(1, 0)
    await started.frames(1, 0)


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
    pids = [worker.ranks[0].process.pid for worker in pool._workers.values()]
    segment = Path("/dev/shm") / pool._ring.name.lstrip("/")
    assert len(pids) == 2 and segment.exists()
    await pool.stop()
    assert not segment.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    await pool.stop()


async def test_the_loop_turns_while_a_worker_is_born(monkeypatch):
    pool = Pool("tests.fakes:load", "embedded", 1, 1, Metrics())
    turned, heard = threading.Event(), []
    start = pool._processes.Process.start

    def slow_start(process):
        heard.append(turned.wait(2))
        start(process)

    monkeypatch.setattr(pool._processes.Process, "start", slow_start)
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0.01)
    turned.set()
    await starting
    await pool.stop()
    assert heard == [True]


async def test_stop_in_the_middle_of_the_start_leaves_no_process():
    pool = Pool("tests.fakes:load", "embedded", 2, 1, Metrics())
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0)
    starting.cancel()
    others = {process.pid for process in multiprocessing.active_children()}
    await pool.stop()
    assert {process.pid for process in multiprocessing.active_children()} <= others


def test_workers_and_memory_go_when_the_server_is_killed():
    with subprocess.Popen([sys.executable, "-c", OTHER_SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        segment, *pids = server.stdout.readline().split()
        ends = [os.pidfd_open(int(pid)) for pid in pids]
        server.kill()
        for end in ends:
            assert select.select([end], [], [], PATIENCE_S)[0], "a worker outlives its server"
            os.close(end)
        server.stdout.read()  # at an end when the last process is that could write to it
    assert not (Path("/dev/shm") / segment.lstrip("/")).exists()


async def test_many_starts_and_deaths_leave_file_descriptors_alone():
    counts = []
    for _ in range(20):
        pool = Pool("tests.fakes:load", "embedded", 1, 1, Metrics())
        await pool.start()
        pool.open(1, "ada", 1)
        os.kill(next(iter(pool._workers.values())).ranks[0].process.pid, signal.SIGKILL)
        pool.close(1)
        await pool.stop()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[2]


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
