"""Timeline and pacer together, for hours and through bad networks: what is heard must stay as young as at first."""

import numpy as np
import pytest

from stream.pacer import Pacer
from stream.sources import Sources
from stream.speech import SpeechQueue
from stream.timeline import Timeline

RATE, FRAME, CHUNK, LOOKAHEAD = 48_000, 1920, 3840, 2880
PICTURE = np.zeros((1, 1, 3), np.uint8)


class Road:
    """A microphone whose packets arrive when told, a model that takes 50 ms, and the age of the sound that leaves."""

    def __init__(self, model_s=lambda: 0.05) -> None:
        self.timeline = Timeline(Sources([SpeechQueue()]), CHUNK, LOOKAHEAD, 0.0)
        self.pacer = Pacer(RATE // FRAME)
        self.model_s = model_s
        self.chunk = 0
        self.pictures: list[tuple[float, int]] = []  # (when ready, chunk), in order
        self.ages: list[tuple[float, float]] = []  # (released at, since its last sample came)
        self.index = -1

    def until(self, end_s: float) -> None:
        while True:
            need = (self.chunk + 1) * CHUNK + LOOKAHEAD
            ready = self.pictures[0][0] if self.pictures else np.inf
            release = self.pacer.next_deadline()
            fill = self.timeline.deadline(need)
            now = min(ready, fill, np.inf if release is None else release)
            if now > end_s:
                return
            if now == ready:
                _, chunk = self.pictures.pop(0)
                self.pacer.push_pictures(2 * chunk, np.stack([PICTURE] * 2), now)
            elif now == fill:
                self._took(self.timeline.advance(now, need), now)
            elif tick := self.pacer.due(now, quiet=True):
                assert tick.index > self.index
                self.index = tick.index
                self.ages.append((now, now - tick.stamps["capture"]))

    def hear(self, now: float, sample_count: int) -> None:
        self.until(now)
        self._took(self.timeline.push(np.zeros(sample_count, np.int16), now), now)

    def _took(self, appended, now: float) -> None:
        if appended is None:
            return
        if appended.attached:
            self.pacer.settle(now)
        frames = range(appended.first_sample // FRAME, appended.end_sample // FRAME)
        arrivals = {index: appended.arrival_of((index + 1) * FRAME) for index in frames}
        self.pacer.push_sound(appended.first_sample, appended.voices_48k, arrivals)
        while self.timeline.head >= (self.chunk + 1) * CHUNK + LOOKAHEAD:
            self.pictures.append((max(now + self.model_s(), self.pictures[-1][0] if self.pictures else 0), self.chunk))
            self.chunk += 1

    def age_s(self, first_s: float, end_s: float) -> np.ndarray:
        return np.array([age for released, age in self.ages if first_s <= released < end_s])


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
def test_two_hours_with_a_drifting_microphone_keep_latency_flat(drift):
    road, packet = Road(), 0
    while (arrival_s := (packet := packet + 1) * 0.04 / (1 + drift)) < 7200:
        road.hear(arrival_s, FRAME)
    by_minute = [np.median(road.age_s(minute * 60, minute * 60 + 60)) for minute in range(0, 120, 7)]
    assert max(by_minute) - min(by_minute) < 0.003
    assert road.age_s(10, 7200).max() < 0.17
    assert road.timeline.filled == 0
    assert road.pacer.repeated <= 2
    assert road.pacer.skipped == 0


def test_jitter_within_the_tolerance_repeats_few_pictures_and_adds_no_growing_delay():
    rng = np.random.default_rng(1)
    road = Road(lambda: 0.045 + rng.exponential(0.004))
    arrivals = np.maximum.accumulate(np.arange(1, 30_001) * 0.02 + rng.uniform(0, 0.02, 30_000))  # ten minutes
    for arrival_s in arrivals:
        road.hear(arrival_s, 960)
    minutes = [np.median(road.age_s(minute * 60, minute * 60 + 60)) for minute in range(1, 10)]
    assert max(minutes) - min(minutes) < 0.01
    assert max(minutes) < 0.2
    assert road.pacer.repeated < 0.01 * len(road.ages)
    assert road.timeline.filled == 0


@pytest.mark.parametrize("stall_s", [0.06, 0.1, 0.2, 0.3, 0.7, 3.0])
@pytest.mark.parametrize("lost", [False, True])
def test_latency_is_back_to_normal_after_a_stall(stall_s, lost):
    road = Road()
    for packet in range(1, 3001):  # a minute
        arrival_s = packet * 0.02
        if 10.0 < arrival_s <= 10.0 + stall_s:
            if lost:
                continue
            arrival_s = 10.0 + stall_s
        road.hear(arrival_s, 960)
    before, after = np.median(road.age_s(8, 10)), np.median(road.age_s(40, 60))
    assert after == pytest.approx(before, abs=0.003)
    assert road.age_s(40, 60).max() < before + 0.003
    assert np.diff([released for released, _ in road.ages]).max() < 0.04 + 0.07  # nobody waits for ever


def test_a_hundred_losses_and_stalls_do_not_add_up():
    rng = np.random.default_rng(5)
    road = Road()
    late = rng.exponential(0.005, 30_001)
    for stall in rng.integers(500, 27_000, 50):
        length = int(rng.integers(3, 20))
        late[stall : stall + length] += 0.02 * (length - np.arange(length))
    lost = set(rng.integers(500, 27_000, 100).tolist())
    arrivals = sorted(packet * 0.02 + late[packet] for packet in range(1, 30_001) if packet not in lost)
    for arrival_s in arrivals:
        road.hear(arrival_s, 960)
    before, after = np.median(road.age_s(6, 10)), np.median(road.age_s(580, 600))
    assert after == pytest.approx(before, abs=0.01)
