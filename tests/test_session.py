import asyncio
import contextlib

import numpy as np
import pytest

from stream.events import (
    Closed,
    Credit,
    MarkReached,
    PlaybackFinished,
    PlaybackProgress,
    PlaybackStarted,
    SpeechStarted,
    Warning,
)
from stream.expression import NotThere
from stream.manager import Sessions
from stream.metrics import Metrics
from stream.session import LINGER_S, Session, SessionOptions, SessionState, UnknownCharacter
from stream.speech import SpeechRefused
from tests.fakes_clock import FakeClock
from tests.fakes_pool import DelayPool
from tests.voices import spoken

PACKET = 960


class Hub:
    """Encoders that only remember."""

    def __init__(self) -> None:
        self.ticks, self.closed = [], False

    def push(self, tick) -> None:
        self.ticks.append(tick)

    async def close(self) -> None:
        self.closed = True


class Studio:
    """One session on a fake clock, with somebody attached, and all it says."""

    def __init__(self, options: SessionOptions | None = None, attach: bool = True, character: str = "ada") -> None:
        self.clock = FakeClock()
        self.pool = DelayPool(self.clock)
        self.metrics = Metrics()
        self.sessions = Sessions(self.pool, metrics=self.metrics, make_encoders=Hub, clock=self.clock)
        self.session: Session = self.sessions.create(character, options)
        self._events = self.session.events(10_000)
        if attach:
            self.session.attach()

    @property
    def ticks(self) -> list:
        return self.session.encoders.ticks

    def events(self, *kinds: type) -> list:
        """What was told since the last call."""
        told = list(self._events._items)
        self._events._items.clear()
        return [event for event in told if not kinds or isinstance(event, kinds)]

    async def run(self, seconds: float) -> list:
        """Let time pass; the ticks of that time."""
        before = len(self.ticks)
        await self.clock.advance(seconds)
        return self.ticks[before:]

    async def talk(self, seconds: float, value: int = 0, late=lambda packet: False) -> list:
        """A microphone in packets of 20 ms, each numbered in its samples unless a value is given."""
        before = len(self.ticks)
        for packet in range(1, round(seconds / 0.02) + 1):
            await self.clock.advance(0.02)
            if not late(packet):
                self.session.push_microphone(np.full(PACKET, value or packet, np.int16), 48_000)
        await self.clock.advance(0)
        return self.ticks[before:]


def speech(seconds: float, value: int = 5000) -> np.ndarray:
    return np.full(round(seconds * 48_000), value, np.int16)


def sound(ticks: list) -> np.ndarray:
    return np.concatenate([tick.pcm_48k for tick in ticks])


@contextlib.asynccontextmanager
async def studio(options: SessionOptions | None = None, attach: bool = True, character: str = "ada"):
    one = Studio(options, attach, character)
    try:
        yield one
    finally:
        await one.session.close()


async def test_a_face_appears_and_lives_in_silence():
    async with studio() as s:
        assert s.session.state is SessionState.STARTING
        ticks = await s.run(4.0)
        assert s.session.state is SessionState.IDLE
        assert 90 <= len(ticks) <= 100
        assert all(tick.frame is not None for tick in ticks)
        assert [tick.index for tick in ticks] == list(range(ticks[0].index, ticks[0].index + len(ticks)))
        assert not any(tick.repeated for tick in ticks)
        assert s.ticks[0].stamps["pace"] - s.session.created_at < 0.3


async def test_each_picture_leaves_with_the_sound_that_drove_it():
    async with studio() as s:
        await s.run(1.0)
        for tick in await s.talk(4.0):
            assert tick.frame[0, 0, 0] == tick.index // 2 % 250
        heard = sound(s.ticks)
        order = [int(value) for value in dict.fromkeys(heard.tolist()) if value]
        assert order == list(range(1, len(order) + 1))
        assert len(order) > 180


async def test_a_chunk_goes_to_the_pool_in_the_moment_its_last_sample_arrives():
    async with studio() as s:
        await s.run(1.0)
        await s.talk(2.0)
        for packet in range(20):
            await s.clock.advance(0.02)
            before = len(s.pool.submitted)
            s.session.push_microphone(np.zeros(PACKET, np.int16), 48_000)
            for chunk in s.pool.submitted[before:]:
                assert chunk.completed_at == s.clock.now(), packet
        assert len(s.pool.submitted) >= 40


async def test_latency_from_the_microphone_is_chunk_lookahead_generation_and_lead():
    async with studio() as s:
        await s.run(3.0)
        ticks = await s.talk(4.0)
        for tick in ticks[-25:]:
            total_s = tick.stamps["pace"] - tick.stamps["capture"]
            assert total_s == pytest.approx(0.04 + 0.06 + 0.05 + 0.015, abs=0.003)
        assert s.session.stats()["latency_ms"] == pytest.approx(165, abs=3)


@pytest.mark.parametrize("lost", [3, 5, 10, 15])
async def test_after_a_stall_of_the_microphone_everything_is_as_before(lost):
    async with studio() as s:
        await s.run(2.0)
        before = (await s.talk(4.0))[-1]
        await s.run(lost * 0.02)
        for packet in range(lost):  # the delayed packets come at once
            s.session.push_microphone(np.full(PACKET, 20_000 + packet, np.int16), 48_000)
        ticks = await s.talk(12.0)
        latencies = [one.stamps["pace"] - one.stamps["capture"] for one in (before, ticks[-1])]
        assert latencies[1] == pytest.approx(latencies[0], abs=0.004)
        numbers = [tick.index for tick in ticks]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert sum(tick.repeated for tick in ticks) <= 6


async def test_a_server_that_was_held_up_hears_what_waited_meanwhile():
    async with studio() as s:
        await s.run(1.0)
        await s.talk(2.0)
        s.clock.jump(0.2)  # the loop was blocked: nobody ran
        await s.run(0)
        for packet in range(10):
            s.session.push_microphone(np.full(PACKET, 20_000 + packet, np.int16), 48_000)
        await s.talk(1.0)
        heard = set(sound(s.ticks).tolist())
        assert {20_000 + packet for packet in range(10)} <= heard


async def test_a_microphone_that_stops_leaves_a_living_face_with_normal_latency():
    async with studio() as s:
        await s.talk(3.0)
        ticks = await s.run(20.0)
        assert not any(tick.repeated for tick in ticks[50:])
        assert not sound(ticks[50:]).any()
        assert ticks[-1].stamps["pace"] - ticks[-1].stamps["capture"] == pytest.approx(0.165, abs=0.005)


async def test_a_frame_that_is_late_repeats_the_last_and_the_sound_goes_on():
    async with studio() as s:
        await s.run(1.0)
        await s.talk(2.0)
        s.pool.delay_s = None
        ticks = await s.talk(1.0, value=77)
        assert ticks[-1].repeated
        assert (ticks[-1].pcm_48k == 77).all()
        s.pool.delay_s = 0.05
        assert not (await s.talk(2.0))[-1].repeated
        assert s.session.stats()["repeated"] > 20


async def test_pictures_that_come_too_late_are_counted_as_dropped():
    async with studio() as s:
        await s.run(2.0)
        s.pool.delay_s = 0.6
        await s.run(0.2)
        s.pool.delay_s = 0.05
        await s.run(2.0)
        dropped = s.metrics.registry.get_sample_value("visavis_frames_total", {"kind": "dropped"})
        assert dropped == s.session.stats()["dropped"] > 0


async def test_queued_speech_is_heard_in_real_time_and_every_step_is_told():
    async with studio() as s:
        await s.run(2.0)
        assert s.session.queue_speech(speech(2.5), 48_000, 7) == 2500
        s.session.mark("middle", 7, 1250)
        s.session.end_segment(7)
        await s.run(1.0)
        assert s.session.state is SessionState.SPEAKING
        ticks = await s.run(3.0)
        events = s.events(PlaybackStarted, PlaybackProgress, PlaybackFinished, MarkReached)
        assert [type(one) for one in events] == [
            PlaybackStarted, PlaybackProgress, MarkReached, PlaybackProgress, PlaybackFinished,
        ]  # fmt: skip
        assert events[-1] == PlaybackFinished(7, 2500, interrupted=False)
        assert (sound(s.ticks) == 5000).sum() == 2.5 * 48_000
        first = next(tick for tick in s.ticks if tick.speech_segment == 7)
        assert events[0].pts_48k - first.pts_48k < 1920
        assert events[0].released_at == first.stamps["pace"]
        assert ticks[-1].speech_segment is None
        assert s.session.state is SessionState.IDLE


async def test_credit_grows_back_while_speech_is_heard():
    async with studio() as s:
        await s.run(1.0)
        for _ in range(3):
            s.session.queue_speech(speech(1.0), 48_000, 1)
        s.session.end_segment(1)
        await s.run(5.0)
        credits = s.events(Credit)
        assert [one.available_ms for one in credits] == sorted(one.available_ms for one in credits)
        assert credits[-1] == Credit(0, s.session.high_water_ms)
        assert 8 <= len(credits) <= 13
        assert all(one.buffered_ms + one.available_ms == s.session.high_water_ms for one in credits)


async def test_too_much_speech_is_refused_and_the_session_goes_on():
    async with studio() as s:
        for _ in range(30):
            s.session.queue_speech(speech(1.0), 48_000, 1)
        with pytest.raises(SpeechRefused):
            s.session.queue_speech(speech(1.0), 48_000, 1)
        assert len(await s.run(3.0)) > 60
        assert s.session.queue_speech(speech(1.0), 48_000, 1) > 25_000


async def test_clear_drops_what_was_not_heard_at_every_stage_and_says_how_much():
    async with studio() as s:
        await s.run(2.0)
        s.session.queue_speech(speech(4.0), 48_000, 1)
        s.session.queue_speech(speech(1.0), 48_000, 2)
        heard_before = await s.run(1.5)
        report = s.session.clear()
        heard = int((sound(heard_before) == 5000).sum())
        assert report.epoch == 1
        assert report.position_ms == heard // 48
        assert report.dropped_ms + report.position_ms in (4999, 5000)
        assert s.session.stats()["queued_ms"] == 0
        after = sound(await s.run(2.0))
        assert not after[240:].any()  # 5 ms
        assert s.events(PlaybackFinished) == [
            PlaybackFinished(1, report.position_ms, True), PlaybackFinished(2, 0, True)
        ]  # fmt: skip


async def test_after_clear_the_model_hears_silence_at_once_and_pictures_go_on():
    async with studio(SessionOptions(gate=False)) as s:
        await s.run(2.0)
        s.session.queue_speech(speech(4.0), 48_000, 1)
        await s.run(1.5)
        s.session.clear()
        index = len(s.pool.submitted)
        ticks = await s.run(1.0)
        window = np.frombuffer(s.pool.submitted[index].windows_s16, np.int16)
        assert np.frombuffer(s.pool.submitted[index - 1].windows_s16, np.int16).any()
        assert not window.any()
        assert s.pool.submitted[index].epoch == 1
        assert not any(tick.repeated for tick in ticks)


async def test_speech_queued_after_clear_is_heard():
    async with studio() as s:
        s.session.queue_speech(speech(4.0), 48_000, 1)
        await s.run(1.0)
        s.session.clear()
        s.session.queue_speech(speech(0.5, 111), 48_000, 1)
        s.session.end_segment(1)
        await s.run(2.0)
        assert (sound(s.ticks) == 111).sum() == 24_000
        assert s.events(PlaybackFinished)[-1] == PlaybackFinished(1, 500, False)


async def test_marks_without_end_are_refused_by_a_warning_only():
    async with studio() as s:
        for number in range(1001):
            s.session.mark(f"m{number}", 1, number)
        assert [one.code for one in s.events(Warning)] == ["too_many_marks"]


async def test_speech_from_the_microphone_is_told_and_makes_the_session_speak():
    async with studio() as s:
        await s.run(1.0)
        voice = spoken()
        for at in range(0, len(voice), PACKET):
            await s.clock.advance(0.02)
            s.session.push_microphone(voice[at : at + PACKET], 48_000)
        assert len(s.events(SpeechStarted)) == 1
        assert s.session.state is SessionState.SPEAKING
        await s.run(3.0)
        assert s.session.state is SessionState.IDLE


async def test_sounds_that_are_no_speech_do_not_reach_the_model():
    async with studio() as s:
        noise = (np.random.default_rng(0).normal(size=96_000) * 3000).astype(np.int16)
        for at in range(0, len(noise), PACKET):
            await s.clock.advance(0.02)
            s.session.push_microphone(noise[at : at + PACKET], 48_000)
        assert not np.frombuffer(s.pool.submitted[-1].windows_s16, np.int16).any()
        assert sound(s.ticks).any()  # but it is heard


async def test_the_probe_marks_pictures_driven_by_loud_sound():
    async with studio(SessionOptions(probe=True)) as s:
        await s.run(1.0)
        await s.talk(0.4, value=100)
        await s.talk(0.4, value=9000)
        await s.talk(1.0, value=100)
        for tick in s.ticks:
            white = bool((tick.frame[:32, :32] == 255).all())
            assert white == (np.abs(tick.pcm_48k).max() > 3277), tick.index
            assert not (tick.frame[40:] == 255).any()
        assert any((tick.frame[0, 0] == 255).all() for tick in s.ticks)


async def test_every_listener_gets_every_tick_and_a_slow_one_loses_the_oldest():
    async with studio() as s:
        fast, slow = s.session.subscribe(1000), s.session.subscribe(3)
        ticks = await s.run(2.0)
        assert [tick.index for tick in fast._items] == [tick.index for tick in ticks]
        assert [tick.index for tick in slow._items] == [tick.index for tick in ticks[-3:]]
        assert slow.dropped == len(ticks) - 3
        fast.close()
        await s.run(1.0)
        assert not fast._items


async def test_a_changed_character_takes_over_without_a_gap():
    async with studio() as s:
        await s.run(2.0)
        s.session.change_character("bo")
        ticks = await s.run(2.0)
        assert s.session.character == "bo"
        assert ticks[-1].frame[40, 40, 0] == 1
        assert all(tick.frame is not None for tick in ticks)
        assert sum(tick.repeated for tick in ticks) <= 6
        assert len(s.pool.open_now) == 1
        with pytest.raises(UnknownCharacter, match="ada, bo, duo"):
            s.session.change_character("eve")


def two_faces():
    return studio(SessionOptions(gate=False), character="duo")


def windows(s: Studio, of: slice) -> np.ndarray:
    """What the model hears of each face's newest second in each of some chunks: chunks, faces, samples."""
    return np.stack([np.frombuffer(c.windows_s16, np.int16).reshape(-1, 16_000) for c in s.pool.submitted[of]])


class Talker:
    """Somebody with a microphone of their own."""


async def test_each_face_hears_its_own_sound_and_all_is_played():
    async with two_faces() as s:
        await s.run(2.0)
        s.session.queue_speech(speech(1.0, 5000), 48_000, 1, face=0)
        s.session.queue_speech(speech(1.0, 30_000), 48_000, 2, face=1)
        await s.run(0.7)
        heard = windows(s, slice(-1, None))[0, :, -3000:-1000]
        assert (np.abs(heard.T - np.array([5000, 30_000])) < 30).all()
        await s.run(1.5)
        assert (sound(s.ticks) == 32_767).sum() > 0.95 * 48_000  # both together, cut off and not wrapped round


async def test_events_tell_whose_they_are_and_numbers_may_be_the_same():
    async with two_faces() as s:
        await s.run(1.0)
        for face, seconds in ((0, 0.5), (1, 1.0)):
            s.session.queue_speech(speech(seconds), 48_000, 1, face)
            s.session.mark("end", 1, round(seconds * 1000), face)
            s.session.end_segment(1, face)
        await s.run(2.5)
        finished = s.events(PlaybackFinished)
        assert [(one.face, one.segment, one.position_ms) for one in finished] == [(0, 1, 500), (1, 1, 1000)]


async def test_the_clear_of_one_face_leaves_the_other_speaking():
    async with two_faces() as s:
        await s.run(2.0)
        s.session.queue_speech(speech(4.0, 1000), 48_000, 1, face=0)
        s.session.queue_speech(speech(4.0, 3000), 48_000, 1, face=1)
        await s.run(1.5)
        report = s.session.clear(1)
        assert report.dropped_ms + report.position_ms in (3999, 4000)
        assert [(one.face, one.interrupted) for one in s.events(PlaybackFinished)] == [(1, True)]
        ticks = await s.run(1.0)
        assert (sound(ticks)[240:] == 1000).all()
        first, second = windows(s, slice(-1, None))[0]
        assert first[-3000:].any() and not second.any()
        assert s.session.clear().dropped_ms > 500
        assert not sound(await s.run(0.5))[240:].any()


async def test_one_face_speaks_live_and_the_other_from_its_queue():
    async with two_faces() as s:
        await s.run(1.0)
        s.session.queue_speech(speech(2.0, 3000), 48_000, 1, face=1)
        await s.talk(1.0, value=500)
        assert (np.abs(windows(s, slice(-1, None))[0, :, -3000:-1000].T - np.array([500, 3000])) < 20).all()
        assert (sound(s.ticks) == 3500).any()


async def test_two_microphones_at_a_time_are_both_heard_with_the_usual_latency():
    async with two_faces() as s:
        await s.run(1.0)
        one, other = Talker(), Talker()
        for _ in range(150):
            await s.clock.advance(0.012)
            s.session.push_microphone(np.full(PACKET, 1000, np.int16), 48_000, 0, one)
            await s.clock.advance(0.008)
            s.session.push_microphone(np.full(PACKET, 3000, np.int16), 48_000, 1, other)
        heard = windows(s, slice(-1, None))[0]
        assert (np.abs(heard[:, -8000:-100].T - np.array([1000, 3000])) < 30).all()
        latencies = [tick.stamps["pace"] - tick.stamps["capture"] for tick in s.ticks[-10:]]
        assert latencies == pytest.approx([0.165] * 10, abs=0.004)
        for _ in range(100):  # the first one leaves: the other goes on alone
            await s.clock.advance(0.02)
            s.session.push_microphone(np.full(PACKET, 3000, np.int16), 48_000, 1, other)
        first, second = windows(s, slice(-1, None))[0]
        assert not first[-8000:].any() and (np.abs(second[-8000:-100] - 3000) < 30).all()


async def test_a_microphone_may_change_whom_it_speaks_for():
    async with two_faces() as s:
        await s.talk(1.0, value=1000)
        for _ in range(60):
            await s.clock.advance(0.02)
            s.session.push_microphone(np.full(PACKET, 1000, np.int16), 48_000, 1)
        first, second = windows(s, slice(-1, None))[0]
        assert not first[-8000:].any() and second[-8000:].any()
        assert s.session.stats()["filled_ms"] == 0


async def test_an_emotion_goes_with_every_chunk_from_the_next_on():
    async with two_faces() as s:
        await s.run(1.0)
        assert s.pool.emotions[-1] == (("neutral", 0.0), ("neutral", 0.0))
        s.session.show_emotion("happy")
        before = len(s.pool.emotions)
        await s.run(0.5)
        assert set(s.pool.emotions[before:]) == {(("happy", 1.0), ("happy", 1.0))}
        s.session.show_emotion("sad", 0.5, face=1)
        await s.run(0.2)
        assert s.pool.emotions[-1] == (("happy", 1.0), ("sad", 0.5))
        with pytest.raises(NotThere, match="neutral, happy, sad"):
            s.session.show_emotion("bored")
        with pytest.raises(NotThere, match="0 Uma, 1 Vito"):
            s.session.show_emotion("happy", 1.0, face=2)


async def test_faces_come_and_go_with_the_character():
    async with studio(SessionOptions(gate=True)) as s:
        await s.run(1.0)
        s.session.show_emotion("happy")
        with pytest.raises(NotThere):
            s.session.queue_speech(speech(0.1), 48_000, 1, face=1)
        s.session.change_character("duo")
        s.session.queue_speech(np.tile(spoken(), 2), 48_000, 1, face=1)
        await s.run(2.0)
        assert s.pool.emotions[-1] == (("happy", 1.0), ("neutral", 0.0))
        first, second = windows(s, slice(-1, None))[0]
        assert second.any() and not first.any()
        (started,) = s.events(SpeechStarted)
        assert started.face == 1
        heard_s = next(tick.pts_48k for tick in s.ticks if np.abs(tick.pcm_48k).max() > 3000) / 48_000
        assert started.t_s == pytest.approx(heard_s, abs=0.2)
        s.session.change_character("ada")
        assert [(one.face, one.interrupted) for one in s.events(PlaybackFinished)] == [(1, True)]
        ticks = await s.run(1.0)
        assert windows(s, slice(-1, None)).shape == (1, 1, 16_000)
        assert not sound(ticks)[1920:].any()
        assert not any(tick.repeated for tick in ticks[-10:])


async def test_nobody_attached_ends_the_session_after_the_idle_time_and_not_before():
    async with studio(attach=False) as s:
        await s.run(9.0)
        s.session.touch()
        await s.run(9.0)
        assert s.session.state is SessionState.IDLE
        s.session.attach()
        await s.run(60.0)
        s.session.detach()
        await s.run(LINGER_S - 0.1)
        assert s.session.state is SessionState.IDLE
        await s.run(0.2)
        assert s.session.state is SessionState.CLOSING
        assert isinstance(s.events(Closed)[-1], Closed)


async def test_closing_releases_everything_and_tells_everyone():
    async with studio() as s:
        ticks, events = s.session.subscribe(), s.session.events()
        await s.run(1.0)
        await s.session.close("enough")
        assert [event async for event in events][-1] == Closed("enough")
        assert len([tick async for tick in ticks]) > 0
        assert s.pool.open_now == set()
        assert s.session.encoders.closed
        assert len(s.sessions) == 0
        with pytest.raises(SpeechRefused):
            s.session.queue_speech(speech(0.1), 48_000, 1)
        s.session.push_microphone(np.zeros(960, np.int16), 48_000)
        await s.session.close("again")
        assert [event async for event in s.session.events()] == []


async def test_a_session_closed_before_its_first_step_is_released_too():
    s = Studio()
    await s.session.close()
    assert s.pool.open_now == set()
    assert len(s.sessions) == 0


async def test_an_error_inside_ends_this_session_only_and_says_so():
    async with studio() as s:
        other = s.sessions.create("bo")
        other.attach()
        await s.run(1.0)
        s.session._pacer.push_pictures = lambda *_: 1 / 0
        await s.run(1.0)
        assert s.events(Closed) == [Closed("internal error: ZeroDivisionError")]
        assert len(s.sessions) == 1
        assert other.state is SessionState.IDLE
        await other.close()


async def test_an_error_in_the_task_ends_the_session_with_its_reason():
    async with studio() as s:
        await s.run(1.0)
        s.session._pacer.due = lambda *_, **__: 1 / 0
        await s.run(1.0)
        assert s.events(Closed) == [Closed("internal error: ZeroDivisionError")]
        assert s.pool.open_now == set()


async def test_an_impossible_rate_is_refused_and_costs_nothing():
    async with studio() as s:
        with pytest.raises(ValueError):
            s.session.push_microphone(np.zeros(960, np.int16), 44)
        with pytest.raises(ValueError):
            s.session.queue_speech(np.zeros(960, np.int16), 96_001, 1)
        assert len(await s.run(1.0)) > 15


async def test_stats_can_be_sent_as_json_at_any_time():
    import json

    async with studio() as s:
        json.dumps(s.session.stats())
        await s.talk(2.0)
        stats = s.session.stats()
        json.dumps(stats)
        assert stats["fps"] == pytest.approx(25, abs=0.5)
        assert stats["av_offset_ms"] == 0
        assert stats["headroom_ms"] == pytest.approx(15, abs=3)
        assert stats["stages_ms"]["denoise"] == 50


async def test_no_task_is_left_behind():
    before = len(asyncio.all_tasks())
    async with studio() as s:
        await s.run(1.0)
    await s.clock.advance(1.0)
    assert len(asyncio.all_tasks()) == before
