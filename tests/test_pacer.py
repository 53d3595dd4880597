import numpy as np
import pytest

from stream.pacer import Pacer, PacerConfig, Tick

FPS, FRAME = 25, 1920
CONFIG = PacerConfig()


def pictures(first: int, count: int = 2) -> np.ndarray:
    """Frames that carry their own number."""
    return np.stack([np.full((2, 2, 3), index % 251, np.uint8) for index in range(first, first + count)])


def sound_of(index: int) -> np.ndarray:
    return np.full(FRAME, index % 30_000 + 1, np.int16)


class Stage:
    """Plays chunks of two frames into a pacer: chunk k's sound is complete at its end, its pictures `delay_s` later."""

    def __init__(self, pacer: Pacer | None = None, start_s: float = 500.0) -> None:
        self.pacer = pacer or Pacer(FPS)
        self.start_s = start_s
        self.ticks: list[tuple[float, Tick]] = []
        self.chunk = 0

    def play(self, chunks: int, delay_s=0.05, quiet: bool = True, drift: float = 0.0) -> list[Tick]:
        """`delay_s`: seconds, or a function of the chunk's number; None for pictures that never come."""
        before, things = len(self.ticks), []
        for chunk in range(self.chunk, self.chunk + chunks):
            end_s = self.start_s + (chunk + 1) * 0.08 * (1 + drift)
            things.append((end_s, "sound", chunk))
            delay = delay_s(chunk) if callable(delay_s) else delay_s
            if delay is not None:
                things.append((end_s + delay, "pictures", chunk))
        self.chunk += chunks
        for time_s, kind, chunk in sorted(things):
            self._run_until(time_s, quiet)
            first = 2 * chunk
            if kind == "sound":
                pcm = np.concatenate([sound_of(first), sound_of(first + 1)])[None]
                self.pacer.push_sound(first * FRAME, pcm, {first: time_s - 0.04, first + 1: time_s})
            else:
                self.pacer.push_pictures(first, pictures(first), time_s)
        self._run_until(max(things)[0] + 0.001, quiet)
        return [tick for _, tick in self.ticks[before:]]

    def _run_until(self, end_s: float, quiet: bool) -> None:
        while (deadline := self.pacer.next_deadline()) is not None and deadline < end_s:
            now = max(deadline, self.ticks[-1][0] if self.ticks else deadline)
            tick = self.pacer.due(now, quiet)
            assert tick is not None, "a tick must be due at its deadline"
            self.ticks.append((now, tick))

    @property
    def wait_s(self) -> float:
        """From a frame's last sample to its release, now."""
        time_s, tick = self.ticks[-1]
        return time_s - tick.stamps["capture"]


def numbers(ticks: list[Tick]) -> list[int]:
    return [tick.index for tick in ticks]


def test_sound_and_picture_of_the_same_interval_leave_in_the_same_tick():
    for tick in Stage().play(100):
        assert tick.frame[0, 0, 0] == tick.index % 251
        assert (tick.pcm_48k == tick.index % 30_000 + 1).all()
        assert tick.pts_48k == tick.index * FRAME
        assert tick.picture_index == tick.index
        assert not tick.repeated


def test_every_interval_leaves_once_and_in_order():
    ticks = Stage().play(200, lambda chunk: 0.05 + 0.02 * (chunk % 3))
    assert numbers(ticks) == list(range(len(ticks)))


def test_nothing_leaves_before_the_first_picture():
    stage = Stage()
    assert stage.play(50, None) == []
    assert stage.pacer.next_deadline() is None
    first = stage.play(50)[0]
    assert first.frame is not None
    assert first.index == 100


def test_frames_leave_one_lead_after_the_slowest_recent_picture():
    stage = Stage()
    stage.play(200, lambda chunk: 0.05 + 0.01 * (chunk % 2))
    assert stage.pacer.headroom_s == pytest.approx(CONFIG.lead_s, abs=1e-6)
    assert stage.wait_s == pytest.approx(0.06 + 0.04 + CONFIG.lead_s, abs=0.001)


def test_a_slow_first_chunk_is_forgotten_within_about_a_second_while_nobody_speaks():
    stage = Stage()
    stage.play(15, lambda chunk: 0.25 if chunk == 0 else 0.05)
    assert stage.wait_s < 0.05 + 0.04 + CONFIG.lead_s + 0.01


def test_while_somebody_speaks_frames_never_move_by_more_than_the_slew():
    stage = Stage()
    stage.play(200, lambda chunk: 0.25 if chunk == 0 else 0.05, quiet=False)
    times = [time_s for time_s, _ in stage.ticks]
    assert np.abs(np.diff(times) - 1 / FPS).max() <= CONFIG.slew_s + 1e-9
    assert stage.wait_s < 0.11


def test_a_pause_in_the_speech_is_used_to_come_back_from_far():
    stage = Stage()
    stage.play(100, 0.05)
    stage.play(60, 0.2, quiet=False)
    before = stage.wait_s
    stage.play(80, 0.05, quiet=False)  # the slow ones are forgotten only now
    ticks = len(stage.ticks)
    stage.play(13, 0.05, quiet=True)
    assert before > 0.2
    assert stage.wait_s < 0.05 + 0.04 + CONFIG.lead_s + CONFIG.far_s + 0.01
    times = [time_s for time_s, _ in stage.ticks[ticks:]]
    assert np.diff(times).min() > 0.03


def test_a_generator_that_becomes_slower_is_followed_and_back():
    stage = Stage()
    stage.play(100)
    slow = stage.play(200, 0.09)
    assert not any(tick.repeated for tick in slow[-100:])
    stage.play(300, 0.05)
    assert stage.wait_s == pytest.approx(0.05 + 0.04 + CONFIG.lead_s, abs=0.001)


def test_one_straggler_repeats_a_picture_and_delays_nobody():
    stage = Stage()
    stage.play(100)
    before = stage.wait_s
    ticks = stage.play(100, lambda chunk: 0.12 if chunk == 120 else 0.05)
    assert [tick.repeated for tick in ticks].count(True) <= 2
    assert stage.wait_s == pytest.approx(before, abs=0.002)
    assert numbers(ticks) == list(range(numbers(ticks)[0], numbers(ticks)[-1] + 1))


def test_a_late_picture_is_replaced_by_the_last_one_and_its_sound_goes_on():
    stage = Stage()
    stage.play(100)
    ticks = stage.play(20, lambda chunk: None if 105 <= chunk < 110 else 0.05)
    held = [tick for tick in ticks if 210 <= tick.index < 220]
    assert all(tick.repeated and tick.picture_index == 209 for tick in held)
    assert all((tick.pcm_48k == tick.index + 1).all() for tick in held)
    assert stage.pacer.repeated == 10


def test_a_picture_too_old_for_its_sound_is_dropped():
    stage = Stage()
    stage.play(100)
    stage.play(20, lambda chunk: 0.4 if chunk == 105 else 0.05)
    assert stage.pacer.dropped == 2
    shown = [tick.picture_index for _, tick in stage.ticks]
    assert shown == sorted(shown)
    assert 210 not in shown


def test_a_picture_never_comes_ahead_of_its_sound():
    stage = Stage()
    assert all(tick.picture_index <= tick.index for tick in stage.play(100, lambda chunk: 0.01 * (chunk % 9)))


def test_without_its_sound_nothing_leaves():
    pacer = Pacer(FPS)
    pacer.push_sound(0, sound_of(0)[None], {0: 0.04})
    pacer.push_pictures(0, pictures(0), 0.05)
    assert pacer.due(1.0) is not None
    assert pacer.next_deadline() is None
    assert pacer.due(1.0) is None
    pacer.push_sound(FRAME, sound_of(1)[None, :-1], {})
    assert pacer.due(1.0) is None


def test_sound_that_comes_late_leaves_at_once_and_loses_nothing():
    stage = Stage()
    stage.play(100)
    late = stage.pacer.deadline(stage.pacer.next_index) + 0.06
    first = stage.pacer.next_index
    missing = stage.chunk * 2 - first
    for _ in range(missing):
        stage.pacer.due(late - 0.001)
    stage.pacer.push_sound(stage.chunk * 2 * FRAME, sound_of(200)[None], {200: late})
    tick = stage.pacer.due(late + 0.5)
    assert tick.index == 200
    assert tick.late_s > 0.05


def test_far_behind_ticks_are_skipped_to_the_present():
    stage = Stage()
    stage.play(100)
    first = stage.pacer.next_index
    stage.pacer.push_sound(200 * FRAME, np.concatenate([sound_of(200 + n) for n in range(100)])[None], {})
    now = stage.pacer.deadline(first) + 3.0
    tick = stage.pacer.due(now)
    assert stage.pacer.skipped == tick.index - first
    assert now - stage.pacer.deadline(tick.index) <= CONFIG.resync_s + 0.01
    assert (tick.pcm_48k == tick.index + 1).all()


def test_clear_fades_the_sound_that_has_not_left_within_five_milliseconds():
    stage = Stage()
    stage.play(100)
    stage.pacer.clear()
    ticks = stage.play(5)
    assert ticks[0].pcm_48k[0] > 0
    assert not ticks[0].pcm_48k[240:].any()
    assert all((tick.pcm_48k == tick.index + 1).all() for tick in ticks if tick.index >= 200)
    assert not any(tick.repeated for tick in ticks)


def test_all_voices_leave_together_and_one_can_be_cleared():
    pacer = Pacer(FPS)
    voices = np.stack([np.full(3 * FRAME, 1000, np.int16), np.full(3 * FRAME, 30_000, np.int16)])
    pacer.push_sound(0, voices, {})
    pacer.push_pictures(0, pictures(0), 500.0)

    def heard() -> np.ndarray:
        return pacer.due(pacer.next_deadline()).pcm_48k

    assert (heard() == 31_000).all()
    pacer.clear(1)
    assert (heard()[240:] == 1000).all()
    pacer.push_sound(3 * FRAME, np.full((1, FRAME), 7, np.int16), {})  # who left the picture is heard no more
    assert (heard() == 1000).all()
    assert (heard() == 7).all()


def test_after_a_silence_of_the_generator_the_last_picture_holds_and_then_all_is_as_before():
    stage = Stage()
    stage.play(100)
    before = stage.wait_s
    ticks = stage.play(100, lambda chunk: None if chunk < 140 else 0.05)
    assert len(ticks) >= 199
    assert stage.wait_s == pytest.approx(before, abs=0.002)


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
def test_a_drifting_sample_clock_leaves_the_latency_flat(drift):
    stage = Stage()
    stage.play(200, drift=drift)
    before, start = stage.wait_s, stage.start_s
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(6):
        # The sample clock drifts against ours: the n-th chunk ends at n * 0.08 * (1 + drift).
        stage.play(2000, lambda chunk: 0.05 + rng.uniform(0, 0.003), drift=drift)
        worst = max(worst, abs(stage.wait_s - before))
        assert stage.start_s == start
        del stage.ticks[:-1]
    assert worst < 0.006
    assert stage.pacer.repeated == 0


def test_memory_stays_flat_when_pictures_stop_or_never_start():
    for delay in (None, lambda chunk: 0.05 if chunk < 5 else None):
        stage = Stage()
        stage.play(3000, delay)
        held = [len(value) for value in vars(stage.pacer).values() if hasattr(value, "__len__")]
        assert max(held) <= 48_000 + FRAME * 2
        assert len(stage.pacer._captures) <= 256
