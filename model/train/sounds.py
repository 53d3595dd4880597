"""Sounds that are not speech: noise, hum, music, alarms, clicks, applause, breaths, sniggers. Knows no mouths: these move
none."""

from collections.abc import Callable

import numpy as np
from scipy import fft, signal

RATE = 16000


def coloured_noise(n: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose power falls with frequency as f ** -slope: 0 is white, 1 pink, 2 brown. RMS is 1."""
    size = fft.next_fast_len(max(n, 2), real=True)
    spectrum = fft.rfft(rng.standard_normal(size, np.float32))
    frequency = np.maximum(np.arange(len(spectrum), dtype=np.float32), 20 * size / RATE)  # flat below 20 Hz
    return _unit(fft.irfft(spectrum * frequency ** (-slope / 2), size)[:n])


def hum(n: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum or a fan: a low tone and its overtones."""
    times = np.arange(n, dtype=np.float32) / RATE
    base = rng.choice([50.0, 60.0, rng.uniform(80, 200)])
    out = np.zeros(n, np.float32)
    for k in range(1, 7):
        out += rng.uniform(0, 1) / k * np.sin(2 * np.pi * k * base * times + rng.uniform(0, 6.28))
    return _unit(out)


def music(n: int, rng: np.random.Generator) -> np.ndarray:
    """Struck chords with a steady beat over a bass."""
    out = np.zeros(n, np.float32)
    beat_s = rng.uniform(0.25, 0.7)
    root = rng.uniform(40, 60)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    for start in range(0, n, int(beat_s * RATE)):
        length = min(n - start, int(rng.uniform(1, 2.5) * beat_s * RATE))
        times = np.arange(length, dtype=np.float32) / RATE
        envelope = np.exp(-times * rng.uniform(1, 6)) * np.minimum(times / 0.01, 1)
        notes = [root - 12 + rng.choice([0, 5, 7]), *(root + rng.choice(scale, rng.integers(1, 4)))]
        for note in notes:
            base = 440 * 2 ** ((note - 57) / 12)
            tone = np.sin(2 * np.pi * base * times) + rng.uniform(0, 0.6) * np.sin(4 * np.pi * base * times)
            out[start : start + length] += envelope * (tone + rng.uniform(0, 0.3) * np.sin(6 * np.pi * base * times))
    return _unit(out)


def melody(n: int, rng: np.random.Generator) -> np.ndarray:
    """A bowed or blown instrument: held notes with overtones and a tremble. Without formants that is no singing."""
    times = np.arange(n, dtype=np.float32) / RATE
    note_s = rng.uniform(0.15, 0.9)
    notes = rng.uniform(50, 68) + rng.choice([0, 2, 4, 5, 7, 9, 11, 12], int(n / RATE / note_s) + 2)
    heard = (times / note_s).astype(int)
    tremble = rng.uniform(0, 0.3) * np.sin(2 * np.pi * rng.uniform(4, 7) * times)
    phase = np.cumsum(440 * 2 ** ((notes[heard] + tremble - 57) / 12)) * (2 * np.pi / RATE)
    slope = rng.uniform(0.8, 2.0)
    overtones = range(1, 9)
    tone = sum(rng.uniform(0.3, 1) * k**-slope * np.sin(k * phase) for k in overtones)
    within = times / note_s - heard
    return _unit(tone * np.minimum(np.minimum(within / 0.1, (1 - within) / 0.05), 1))


def alarm(n: int, rng: np.random.Generator) -> np.ndarray:
    """A telephone, a siren, a reversing lorry: tones that step, glide or stop and go."""
    times = np.arange(n) / RATE
    turn = np.sin(2 * np.pi * times * rng.uniform(0.3, 4) + rng.uniform(0, 6.28))
    turn = np.sign(turn) if rng.random() < 0.5 else turn
    phase = np.cumsum(rng.uniform(500, 1800) * 2 ** (turn * rng.uniform(0, 0.5))) * (2 * np.pi / RATE)
    tone = np.sin(phase) + rng.uniform(0, 0.5) * np.sin(3 * phase)
    stopped = np.sin(2 * np.pi * times * rng.uniform(0.4, 3)) < 0 if rng.random() < 0.5 else False
    return _unit(np.where(stopped, 0, tone))


def applause(n: int, rng: np.random.Generator) -> np.ndarray:
    """Hands, few or many."""
    struck = (rng.random(n) < rng.uniform(8, 400) / RATE) * rng.uniform(0.2, 1, n)
    length = int(0.03 * RATE)
    hand = rng.standard_normal(length) * np.exp(-np.arange(length) / (rng.uniform(0.002, 0.008) * RATE))
    return _unit(signal.fftconvolve(struck, hand)[:n])


def snigger(n: int, rng: np.random.Generator) -> np.ndarray:
    """Laughter through the nose behind closed lips: puffs of dull noise that come quickly and die away."""
    times = np.arange(n) / RATE
    rate_hz, bout_s = rng.uniform(4, 7), rng.uniform(0.6, 1.8)
    within = times % rng.uniform(bout_s + 0.2, bout_s + 2)
    puffs = np.maximum(np.sin(2 * np.pi * rate_hz * within), 0) ** 2 * np.exp(-within * rng.uniform(0.5, 2))
    sections = signal.butter(2, [rng.uniform(150, 300), rng.uniform(700, 2000)], "bandpass", fs=RATE, output="sos")
    return _unit(signal.sosfilt(sections, rng.standard_normal(n)) * puffs * (within < bout_s))


def clicks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Keys, taps and knocks."""
    out = np.zeros(n, np.float32)
    for at in rng.integers(0, n, max(1, int(n / RATE * rng.uniform(0.5, 6)))):
        length = min(n - at, int(rng.uniform(0.005, 0.05) * RATE))
        burst = rng.standard_normal(length, np.float32) * np.exp(-np.linspace(0, 6, length, dtype=np.float32))
        out[at : at + length] += rng.uniform(0.3, 1) * burst
    return _unit(out)


def breaths(n: int, rng: np.random.Generator) -> np.ndarray:
    """Air through the nose, in and out."""
    low = rng.uniform(200, 600)
    sections = signal.butter(2, [low, rng.uniform(1500, 4000)], "bandpass", fs=RATE, output="sos")
    air = signal.sosfilt(sections, rng.standard_normal(n, np.float32))
    times = np.arange(n) / RATE
    swell = np.maximum(np.sin(2 * np.pi * times / rng.uniform(1.5, 3.5) + rng.uniform(0, 6.28)), 0) ** 2
    return _unit(air * swell)


KINDS: tuple[Callable[[int, np.random.Generator], np.ndarray], ...] = (
    lambda n, rng: coloured_noise(n, rng, 0.0),
    lambda n, rng: coloured_noise(n, rng, 1.0),
    lambda n, rng: coloured_noise(n, rng, 2.0),
    hum,
    music,
    melody,
    alarm,
    clicks,
    applause,
    breaths,
    snigger,
)


def any_sound(n: int, rng: np.random.Generator) -> np.ndarray:
    """One of the kinds, RMS 1."""
    return KINDS[rng.integers(len(KINDS))](n, rng)


def _unit(sound: np.ndarray) -> np.ndarray:
    return (sound / max(float(np.sqrt(np.mean(np.square(sound)))), 1e-6)).astype(np.float32)
