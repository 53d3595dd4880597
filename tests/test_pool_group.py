"""A worker of two processes: the pictures of one, and the death or silence of either brings both back with sessions."""

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from model.audio import windows_of
from stream import pool as pool_module
from stream.messages import NEUTRAL
from stream.metrics import Metrics
from stream.pool import Pool, PoolFailed
from tests.test_pool import Chunk, Driver

CHUNKS = 3


@pytest.fixture(scope="module")
def windows():
    """A noisy voice's windows for the embedded preset, chunks window_samples int16."""
    import torch

    from model.presets import EMBEDDED

    pcm = 0.1 * np.random.default_rng(1).standard_normal(CHUNKS * EMBEDDED.audio.chunk_samples)
    heard = windows_of(torch.from_numpy(pcm.astype(np.float32))[None], EMBEDDED.audio)[0].numpy()
    return (heard.clip(-1, 1) * 32767).astype("<i2")


async def embedded(ranks: int) -> Driver:
    pool = Pool("model.loading:load", "embedded", 1, 1, Metrics(), sequence_parallel=ranks)
    await pool.start()
    return Driver(pool)


async def film(driver: Driver, session: int, windows: np.ndarray, first: int = 0) -> np.ndarray:
    due = asyncio.get_running_loop().time() + 60
    made = []
    for index, window in enumerate(windows, first):
        driver.pool.submit(session, Chunk(index, window.tobytes()), (NEUTRAL,), due)
        made.append(await driver.frames(session, index))
    return np.concatenate(made)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_two_ranks_make_the_pictures_of_one_and_survive_either_death_and_silence(windows, monkeypatch):
    alone = await embedded(1)
    alone.pool.open(1, "ada", seed=3)
    expected = await film(alone, 1, windows)
    await alone.pool.stop()

    pair = await embedded(2)
    try:
        pair.pool.open(1, "ada", seed=3)
        made = await film(pair, 1, windows)
        assert np.abs(made.astype(int) - expected).mean() < 1  # rounding in bfloat16, no more

        monkeypatch.setattr(pool_module, "HANG_S", 2.0)
        for trial, (victim, number) in enumerate(((1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)), 1):
            before = [rank.process.pid for rank in pair.worker.ranks]
            os.kill(before[victim], number)
            if number == signal.SIGSTOP:  # silence is noticed by who waits for pictures
                due = asyncio.get_running_loop().time() + 60
                pair.pool.submit(1, Chunk(10 * trial - 1, windows[0].tobytes()), (NEUTRAL,), due)
            async with asyncio.timeout(60):
                while pair.worker.scheduler is None or pair.worker.ranks[0].process.pid == before[0]:
                    await asyncio.sleep(0.02)
            after = [rank.process.pid for rank in pair.worker.ranks]
            assert not set(before) & set(after)
            again = await film(pair, 1, windows, first=10 * trial)  # the session goes on
            assert again.shape == expected.shape and again.std() > 10
            async with asyncio.timeout(5):
                while any(map(alive, before)):
                    await asyncio.sleep(0.05)
        last, meeting = [rank.process.pid for rank in pair.worker.ranks], pair.worker.meeting
    finally:
        await pair.pool.stop()
    assert not any(map(alive, last)) and not meeting.exists()


async def test_ranks_that_cannot_share_the_heads_are_told_how_many_can():
    pool = Pool("model.loading:load", "embedded", 1, 1, Metrics(), sequence_parallel=3)
    with pytest.raises(PoolFailed, match="4 heads cannot be divided over 3 ranks; they can over 1, 2, 4"):
        await pool.start()
    await pool.stop()
