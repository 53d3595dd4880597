"""A session on the real pool with a worker process that draws a disc for a face: sound in, face and sound out."""

import asyncio

import numpy as np
import pytest

from stream.clock import Clock
from stream.manager import Sessions
from stream.metrics import Metrics
from stream.pool import Pool
from stream.session import SessionOptions
from tests.fakes import SIZE
from tests.test_session import Hub
from tests.voices import spoken

PACKET = 960


@pytest.fixture(scope="module")
def ticks_of_a_sentence() -> list:
    """What leaves while somebody is silent, says a sentence into the microphone, and is silent again."""
    return asyncio.run(say(spoken("please follow the level of my voice")))


async def say(voice: np.ndarray) -> list:
    metrics, clock = Metrics(), Clock()
    pool = Pool("tests.fakes:load", "fake", 1, 1, metrics)
    try:
        await pool.start()
        sessions = Sessions(pool, metrics=metrics, make_encoders=Hub)
        session = sessions.create("ada", SessionOptions(seed=1))
        session.attach()
        began = clock.now()
        sound = np.concatenate([np.zeros(48_000, np.int16), voice, np.zeros(48_000, np.int16)])
        for at in range(0, len(sound) - PACKET, PACKET):
            await clock.sleep_until(began + at / 48_000)
            session.push_microphone(sound[at : at + PACKET], 48_000)
        ticks = session.encoders.ticks
        await sessions.drain()
        return ticks
    finally:
        await pool.stop()


def mouth_px(frame: np.ndarray) -> int:
    """Rows that the mouth covers."""
    dark = (frame[150:200].astype(int) == (70, 20, 30)).all(axis=2)
    return int(dark.any(axis=1).sum())


def level(pcm_48k: np.ndarray) -> float:
    return float(np.sqrt((pcm_48k.astype(float) ** 2).mean()) / 32768)


def test_the_mouth_follows_the_sound_it_leaves_with(ticks_of_a_sentence):
    fresh = [tick for tick in ticks_of_a_sentence if tick.picture_index == tick.index]
    mouths = np.array([mouth_px(tick.frame) for tick in fresh])
    levels = np.array([level(tick.pcm_48k) for tick in fresh])
    assert len(fresh) > 0.8 * len(ticks_of_a_sentence)
    assert mouths.max() > 10
    assert np.corrcoef(mouths, np.minimum(levels, 0.15))[0, 1] > 0.95


def test_in_silence_the_mouth_is_closed_and_the_face_alive(ticks_of_a_sentence):
    quiet = [tick for tick in ticks_of_a_sentence[:15] if tick.picture_index == tick.index]
    assert all(mouth_px(tick.frame) <= 4 for tick in quiet)
    assert any((quiet[0].frame != tick.frame).any() for tick in quiet)


def test_ticks_are_complete_and_stamped_at_every_stage(ticks_of_a_sentence):
    indices = [tick.index for tick in ticks_of_a_sentence]
    assert indices == list(range(indices[0], indices[0] + len(indices)))
    last = ticks_of_a_sentence[-1]
    assert last.frame.shape == (SIZE, SIZE, 3)
    assert len(last.pcm_48k) == 1920
    assert last.stamps["capture"] <= last.stamps["chunk"] <= last.stamps["pictures"] <= last.stamps["pace"]
    assert {"queue", "features", "denoise", "decode", "transfer"} <= set(last.stage_s)
