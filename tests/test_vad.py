import subprocess
import sys

import numpy as np
import pytest

from stream.events import SpeechStarted, SpeechStopped
from stream.vad import BLOCK, MODEL_RATE, Detector, Gate, SpeechEvents, Vad, VadConfig
from tests.voices import spoken

CONFIG = VadConfig()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A second of silence, a sentence that begins softly, a second of silence; 16 kHz."""
    second = np.random.default_rng(0).normal(size=MODEL_RATE) * 4
    return np.concatenate([second, spoken(rate=MODEL_RATE), second]).astype(np.int16)


def loud_from(speech: np.ndarray) -> int:
    return int(np.argmax(np.abs(speech) > 500))


def in_packets(vad: Vad, pcm: np.ndarray, packet: int = 320) -> list:
    return [event for at in range(0, len(pcm), packet) for event in vad.push(pcm[at : at + packet])]


def test_importing_the_detector_brings_no_torch():
    code = "import sys; from stream.vad import Detector; Detector().step(__import__('numpy').zeros(512, 'int16')); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)


def test_speech_is_started_once_and_stopped_once(speech):
    events = in_packets(Vad(), speech)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]
    assert abs(events[0].t_s - loud_from(speech) / MODEL_RATE) < 0.15  # it begins with a fricative
    assert events[0].t_s < events[1].t_s < len(speech) / MODEL_RATE


@pytest.mark.parametrize(("level", "heard_s"), [(1.0, 0.1), (0.3, 0.1), (0.03, 0.16)])
def test_the_gate_opens_into_the_past_once_an_onset_is_heard(speech, level, heard_s):
    vad, onset = Vad(), loud_from(speech)
    heard = (speech * level).astype(np.int16)[: onset + round(heard_s * MODEL_RATE)]
    in_packets(vad, heard)
    gains = vad.gains(0, len(heard))
    assert (gains[onset - 960 :] == 1).all()  # 60 ms before it is loud
    assert not gains[: onset - 6000].any()


def test_the_gate_hears_what_fills_no_block_yet(speech):
    vowel = int(np.argmax(np.abs(speech) > 8000))
    heard = np.concatenate([speech[: 20 * BLOCK], speech[vowel : vowel + BLOCK - 1]])
    vad = Vad()
    in_packets(vad, heard)
    assert vad.gains(0, len(heard))[-BLOCK:].min() == 1


@pytest.mark.parametrize("kind", ["noise", "hum", "chord"])
def test_noise_and_music_stay_outside(kind):
    at = np.arange(5 * MODEL_RATE) / MODEL_RATE
    sounds = {
        "noise": np.random.default_rng(1).normal(size=len(at)) * 3000,
        "hum": 3000 * np.sin(2 * np.pi * 100 * at),
        "chord": sum(2000 * np.sin(2 * np.pi * f * at) for f in (440, 554, 659)) * (np.sin(2 * np.pi * 2 * at) > 0),
    }
    vad = Vad()
    assert in_packets(vad, sounds[kind].astype(np.int16)) == []
    assert not vad.gains(0, len(at)).any()


def test_the_gate_closes_after_speech_and_forgets_old_stretches(speech):
    vad = Vad()
    in_packets(vad, np.tile(speech, 3))
    end = 3 * len(speech)
    assert vad.gains(end - 2 * MODEL_RATE, end)[-1000:].max() == 0
    assert len(vad._gate._open) <= 1


def test_peeking_changes_nothing(speech):
    looked, plain = Detector(), Detector()
    for at in range(0, len(speech) - BLOCK, BLOCK):
        block = speech[at : at + BLOCK]
        looked.peek(speech[at + 7 : at + 7 + BLOCK][:BLOCK]) if at + 7 + BLOCK <= len(speech) else None
        assert looked.step(block) == plain.step(block)


def test_two_streams_do_not_hear_each_other(speech):
    alone, beside, other = Vad(), Vad(), Vad()
    expected = in_packets(alone, speech)
    heard = []
    for at in range(0, len(speech), 320):
        heard += beside.push(speech[at : at + 320])
        other.push(np.roll(speech, 9000)[at : at + 320])
    assert heard == expected


def test_one_loud_block_starts_nothing_and_two_do():
    events = SpeechEvents(CONFIG)
    told = [events.step(p, n * BLOCK) for n, p in enumerate([0, 0.9, 0.1, 0.9, 0.9, 0.9])]
    assert told == [None, None, None, None, SpeechStarted(3 * BLOCK / MODEL_RATE), None]


def test_a_short_pause_stops_nothing_and_a_long_one_does():
    events = SpeechEvents(CONFIG)
    probabilities = [0.9] * 3 + [0.1] * 5 + [0.9] + [0.1] * 12
    told = [events.step(p, n * BLOCK) for n, p in enumerate(probabilities)]
    assert [event for event in told if event] == [SpeechStarted(0.0), SpeechStopped(9 * BLOCK / MODEL_RATE)]


def test_a_hint_of_speech_opens_the_gate_for_a_moment_only():
    hint, sure = Gate(CONFIG), Gate(CONFIG)
    hint.step(0.22, 0)
    sure.step(0.9, 0)
    assert hint.gains(0, 10_000).sum() < 2000 < 4000 < sure.gains(0, 10_000).sum()


def test_gate_edges_are_soft_and_full_inside():
    gate = Gate(CONFIG)
    gate.step(0.9, 10_000)
    first = 10_000 - round(CONFIG.gate_before_s * MODEL_RATE)
    end = 10_000 + BLOCK + round(CONFIG.gate_hangover_s * MODEL_RATE)
    gains = gate.gains(0, 20_000)
    assert (gains[first:end] == 1).all()
    assert np.abs(np.diff(gains)).max() < 0.01
    assert gains[first - 200] == gains[end + 200] == 0
