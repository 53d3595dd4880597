import subprocess
import sys
import wave

import numpy as np
import pytest

from stream.events import SpeechStarted, SpeechStopped
from stream.resample import Resampler
from stream.vad import BLOCK, MODEL_RATE, Detector, Gate, SpeechEvents, Vad, VadConfig

CONFIG = VadConfig()


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> np.ndarray:
    """A second of silence, a sentence that begins softly, a second of silence; 16 kHz."""
    path = tmp_path_factory.mktemp("speech") / "said.wav"
    subprocess.run(["flite", "-voice", "slt", "-t", "she sells many sea shells", "-o", str(path)], check=True)
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(-1), np.int16)
        if file.getframerate() != MODEL_RATE:
            pcm = Resampler(48_000, MODEL_RATE).push(Resampler(file.getframerate()).push(pcm))
    second = np.random.default_rng(0).normal(size=MODEL_RATE) * 4
    return np.concatenate([second, pcm, second]).astype(np.int16)


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


@pytest.mark.parametrize("level", [0.03, 0.3, 1.0])
def test_the_gate_is_open_before_the_sound_is_loud(speech, level):
    quiet = (speech * level).astype(np.int16)
    vad, onset = Vad(), loud_from(speech)
    in_packets(vad, quiet[: onset + 1600])  # 100 ms after: what a chunk's look-ahead and half of itself give
    gains = vad.gains(0, onset + 1600)
    assert (gains[onset - 960 :] == 1).all()
    assert not gains[: onset - 6000].any()


def test_the_gate_hears_what_fills_no_block_yet(speech):
    """Nothing between blocks is lost: right after an onset the last, unfinished block decides."""
    onset = loud_from(speech)
    heard = speech[: (onset // BLOCK) * BLOCK + BLOCK + 500]
    with_peek, vad = Vad(), Vad()
    in_packets(with_peek, heard)
    in_packets(vad, heard)
    assert with_peek.gains(0, len(heard))[-1] == 1
    assert Vad().gains(0, 10).tolist() == [0] * 10


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


def test_gate_edges_are_soft_and_full_inside():
    gate = Gate(CONFIG)
    gate.step(0.9, 10_000)
    first = 10_000 - round(CONFIG.gate_before_s * MODEL_RATE)
    end = 10_000 + BLOCK + round(CONFIG.gate_hangover_s * MODEL_RATE)
    gains = gate.gains(0, 20_000)
    assert (gains[first:end] == 1).all()
    assert np.abs(np.diff(gains)).max() < 0.01
    assert gains[first - 200] == gains[end + 200] == 0
