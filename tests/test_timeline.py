import numpy as np
import pytest

from stream.sources import Sources
from stream.speech import SpeechQueue
from stream.timeline import Timeline

RATE = 48_000
CHUNK, LOOKAHEAD = 3840, 2880
PACKET = 960  # 20 ms


class Listener:
    """Drives a timeline as a session would: takes chunks as they complete, fills at deadlines. Time in samples."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self.start_s = start_s
        self.speech = SpeechQueue()
        self.timeline = Timeline(Sources([self.speech]), CHUNK, LOOKAHEAD, start_s)
        self.sound = np.zeros(0, np.int16)
        self.completed: list[float] = []  # when each chunk was complete, seconds since the start
        self.keep = True

    @property
    def need(self) -> int:
        return (len(self.completed) + 1) * CHUNK + LOOKAHEAD

    def until(self, time_s: float) -> None:
        """Let the clock run to an instant."""
        while (deadline := self.timeline.deadline(self.need)) <= self.start_s + time_s:
            self._took(self.timeline.advance(deadline, self.need), deadline)

    def hear(self, time_s: float, value: int, sample_count: int = PACKET) -> None:
        """A packet of the microphone arrives."""
        self.until(time_s)
        now = self.start_s + time_s
        self._took(self.timeline.push(np.full(sample_count, value, np.int16), now), now)

    def talk(self, first_s: float, last_s: float, late_s=lambda packet: 0.0, rate: float = 1.0) -> None:
        """Packets every 20 ms, numbered from 1 in their samples; `late_s` delays each, None loses it."""
        arrivals = []
        for packet in range(1, round((last_s - first_s) / 0.02) + 1):
            if (late := late_s(packet)) is not None:
                arrivals.append((first_s + packet * 0.02 / rate + late, packet))
        for time_s, packet in sorted(arrivals):
            self.hear(time_s, packet)

    def _took(self, appended, now: float) -> None:
        if appended is None:
            return
        if self.keep:
            assert appended.first_sample == len(self.sound)
            self.sound = np.concatenate([self.sound, appended.voices_48k[0]])
        while self.timeline.head >= self.need:
            self.completed.append(now - self.start_s)

    def lag_s(self, chunk: int = -1) -> float:
        """How long after its nominal time a chunk was complete."""
        index = chunk % len(self.completed)
        return self.completed[index] - ((index + 1) * CHUNK + LOOKAHEAD) / RATE


def packets_in(sound: np.ndarray) -> list[int]:
    """The numbers of the packets that stand on the timeline, in order, without silence."""
    return [int(value) for value in dict.fromkeys(sound.tolist()) if value]


def test_without_any_source_silence_runs_on_the_servers_clock():
    listener = Listener()
    listener.until(10.0)
    assert len(listener.completed) == 124
    assert not listener.sound.any()
    assert max(abs(listener.lag_s(chunk)) for chunk in range(124)) < 1e-6


def test_microphone_samples_keep_their_order_and_none_is_lost():
    listener = Listener()
    listener.talk(0.0, 4.0)
    assert packets_in(listener.sound) == list(range(1, 201))


def test_a_chunk_completes_with_the_arrival_of_its_last_sample():
    listener = Listener()
    listener.talk(0.013, 4.013)
    arrivals = {round(0.013 + packet * 0.02, 6) for packet in range(1, 201)}
    assert all(round(time_s, 6) in arrivals for time_s in listener.completed[2:])


@pytest.mark.parametrize("phase_s", [0.0, 0.003, 0.011, 0.019])
def test_packets_are_laid_so_that_no_chunk_waits_for_more_than_it_needs(phase_s):
    listener = Listener()
    listener.talk(0.2 + phase_s, 2.2 + phase_s)
    assert listener.timeline.head % PACKET == 0
    assert -0.02 <= listener.lag_s() <= 1e-6


def test_a_microphone_that_starts_long_after_the_session_is_heard_without_delay():
    listener = Listener()
    listener.talk(30.0, 34.0)
    assert abs(listener.lag_s()) <= 0.02
    assert packets_in(listener.sound) == list(range(1, 201))


def test_old_sound_that_comes_in_a_burst_at_the_start_is_not_queued_up():
    listener = Listener()
    for packet in range(1, 51):  # a second of sound at once
        listener.hear(5.0, packet)
    listener.talk(5.0, 8.0)
    assert -0.05 <= listener.lag_s() <= 1e-6
    assert listener.timeline.discarded >= 40 * PACKET


def test_late_packets_within_the_tolerance_cost_nothing():
    jitter = np.random.default_rng(3).uniform(0, 0.055, 1000)
    listener = Listener()
    listener.talk(0.0, 10.0, lambda packet: jitter[packet])
    assert listener.timeline.filled == 0
    assert listener.timeline.discarded == 0
    assert listener.lag_s() < 0.06


@pytest.mark.parametrize("stall_s", [0.06, 0.1, 0.2, 0.3, 0.45])
def test_a_stall_is_filled_and_the_late_sound_is_discarded(stall_s):
    listener = Listener()
    stall = range(100, 100 + round(stall_s / 0.02))
    listener.talk(0.0, 6.0, lambda packet: (stall.stop - packet) * 0.02 if packet in stall else 0.0)
    assert listener.timeline.filled == listener.timeline.discarded
    assert packets_in(listener.sound)[-1] == 300
    # What follows the stall stands exactly where it would have stood: packet n at n packets.
    last = int(np.argmax(listener.sound == 300))
    assert last == 299 * PACKET
    assert abs(listener.lag_s()) < 1e-6
    assert max(listener.lag_s(chunk) for chunk in range(len(listener.completed))) <= 0.06 + 1e-6


def test_packets_lost_for_good_do_not_silence_what_follows():
    listener = Listener()
    listener.talk(0.0, 6.0, lambda packet: None if 100 <= packet < 110 else 0.0)
    heard = packets_in(listener.sound)
    assert heard[-1] == 300
    assert len([packet for packet in heard if packet >= 110]) >= 300 - 110 - 9  # at most the patience of 150 ms
    assert abs(listener.lag_s()) <= 0.02 + 1e-6


def test_single_lost_packets_cost_no_other_packet():
    listener = Listener()
    listener.talk(0.0, 20.0, lambda packet: None if packet % 200 == 0 else 0.0)
    assert len(packets_in(listener.sound)) == 1000 - 5
    assert listener.timeline.filled == 0


def test_sound_that_waited_because_we_were_held_up_is_not_taken_for_lost():
    listener = Listener()
    listener.talk(0.0, 2.0)
    now = listener.start_s + 2.2
    listener.timeline.excuse(now)
    assert listener.timeline.advance(now, listener.need) is None
    for packet in range(101, 111):  # all that came in the meantime, read at once
        listener.hear(2.2 + packet * 1e-4, packet)
    assert packets_in(listener.sound) == list(range(1, 111))
    assert listener.timeline.filled == 0


def test_an_excuse_does_not_hold_up_for_long():
    listener = Listener()
    listener.talk(0.0, 2.0)
    now = listener.start_s + 2.2
    listener.timeline.excuse(now)
    assert listener.timeline.advance(now + 0.031, listener.need) is not None


def test_a_microphone_that_stops_for_ever_leaves_silence_on_time():
    listener = Listener()
    listener.talk(0.0, 2.0)
    listener.until(60.0)
    assert not listener.timeline.live
    assert abs(listener.lag_s()) < 1e-6
    assert not listener.sound[2 * RATE :].any()


def test_a_microphone_that_comes_back_after_a_minute_is_heard_at_once():
    listener = Listener()
    listener.talk(0.0, 2.0)
    before = listener.timeline.discarded
    listener.talk(62.007, 64.007)
    assert abs(listener.lag_s()) <= 0.02
    assert listener.timeline.discarded - before <= PACKET
    assert packets_in(listener.sound[60 * RATE :]) == list(range(1, 101))


def test_a_longer_path_is_accepted_after_a_moment():
    listener = Listener()
    listener.talk(0.0, 20.0, lambda packet: 0.3 if packet > 200 else 0.0)
    assert packets_in(listener.sound)[-1] == 1000
    filled = listener.timeline.filled
    listener.talk(20.3, 30.3)
    assert listener.timeline.filled == filled


@pytest.mark.parametrize("drift", [-200e-6, 200e-6])
def test_a_drifting_microphone_is_followed_for_two_hours(drift):
    """The microphone's own clock runs fast or slow: chunks must complete with their packets, never by filling."""
    listener = Listener()
    listener.keep = False
    hours_s, packet_s = 7200.0, 0.04
    packet, pcm = 0, np.ones(1920, np.int16)
    while (arrival_s := (packet := packet + 1) * packet_s / (1 + drift)) < hours_s:
        listener.until(arrival_s)
        listener._took(listener.timeline.push(pcm, listener.start_s + arrival_s), listener.start_s + arrival_s)
    assert listener.timeline.filled == 0
    assert listener.timeline.discarded == 0
    assert len(listener.timeline._seconds) < 10
    ideal_s = len(listener.completed) * 0.08 / (1 + drift)
    assert abs(listener.completed[-1] - ideal_s - 0.06) < 0.05


def test_queued_speech_wins_over_the_microphone_while_it_lasts():
    listener = Listener()
    listener.talk(0.0, 1.0)
    listener.speech.push(np.full(RATE // 2, 999, np.int16), RATE, 1)
    listener.speech.end(1)
    listener.talk(1.0, 3.0)
    sound = listener.sound[RATE:]
    assert (sound[: RATE // 2] == 999).all()
    assert not (sound[RATE // 2 :] == 999).any()
    assert packets_in(sound)[-1] == 100
    assert not listener.speech.active


def test_queued_speech_is_played_in_real_time_by_the_servers_clock():
    listener = Listener()
    listener.until(1.0)
    listener.speech.push(np.full(RATE * 2, 999, np.int16), RATE, 1)
    listener.speech.end(1)
    listener.until(2.0)
    assert 900 <= listener.speech.buffered_ms <= 1100
    listener.until(4.0)
    assert (listener.sound == 999).sum() == 2 * RATE
    assert abs(listener.lag_s()) < 1e-6


def test_speech_fills_the_gap_of_a_stalled_microphone():
    listener = Listener()
    listener.talk(0.0, 1.0)
    listener.speech.push(np.full(RATE, 999, np.int16), RATE, 1)
    listener.until(3.0)
    assert (listener.sound == 999).sum() == RATE


def test_an_hour_of_timeline_keeps_constant_memory():
    listener = Listener()
    listener.keep = False
    for minute in range(60):
        listener.until(minute * 60.0 + 59.0)
        listener.hear(minute * 60.0 + 59.5, 1)
        held = {name: len(value) for name, value in vars(listener.timeline).items() if hasattr(value, "__len__")}
        assert all(length < 10 for length in held.values())
