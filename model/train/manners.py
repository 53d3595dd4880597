"""The same sentence sung or whispered, and laughter: what a voice does besides speaking. The phones' times stay true.

Laughter with a voice in it opens the mouth, as it does on people: it is breath and open vowels, is made of these phones,
and whoever hears a loud "ha ha" from shut lips sees a puppet. A snigger through the nose is a sound like any other
(`sounds.snigger`) and leaves the mouth at rest. Knows no mouths and no files.
"""

import numpy as np
from scipy import signal

from .phones import VOWELS, Timed
from .vocoder import HOP, RATE, Filters, measured, pulses, sounded
from .voices import Utterance

_VOICELESS = frozenset(("sil", "p", "t", "k", "f", "th", "s", "sh", "ch", "hh", "x"))
_HALF_VOICED = frozenset(("v", "z", "zh", "dh", "jh"))
_HELD_FACTOR = (1.3, 5.0)  # how many times longer a sung vowel is held
_LONGEST_NOTE_S = 1.6
_SCALE = np.array([-5, -3, 0, 2, 4, 5, 7, 9, 12])  # semitones from the key note
_LAUGHTER: dict[str, tuple[float, float, float, float]] = {  # vowel -> its formants, Hz
    "aa": (750, 1250, 2500, 3500),
    "ae": (680, 1700, 2500, 3500),
    "eh": (550, 1800, 2550, 3500),
    "iy": (320, 2300, 3000, 3700),
    "ow": (480, 900, 2450, 3400),
}


def whispered(said: Utterance, rng: np.random.Generator) -> Utterance:
    """No voice at all: breath through the same mouth, weak where the voice would have been, and thin below."""
    filters = measured(said.pcm_16k)
    voice = _moment_values(said.phonemes, len(filters), voicing)
    breath = 1 - voice * rng.uniform(0.4, 0.75)
    source = _breath(len(filters) * HOP, rng)
    source = signal.lfilter([1, -rng.uniform(0.5, 0.9)], [1], source).astype(np.float32)
    pcm = sounded(Filters(filters.coefficients, filters.levels * breath), source)
    return Utterance(pcm[: len(said.pcm_16k)], said.phonemes, said.voice)


def sung(said: Utterance, rng: np.random.Generator) -> Utterance:
    """Every syllable on a note of a scale, its vowel held for as long as the note; consonants keep their length."""
    lengths_s, starts = [], []
    for i, (name, start_s, end_s) in enumerate(said.phonemes):
        follows = i > 0 and said.phonemes[i - 1][0] in VOWELS  # the second half of a diphthong glides as ever
        factor = 1.0
        if name in VOWELS and not follows:
            factor = float(np.exp(rng.uniform(*np.log(_HELD_FACTOR))))
            starts.append(i)
        lengths_s.append(max(end_s - start_s, min(factor * (end_s - start_s), _LONGEST_NOTE_S)))
    old_edges_s = np.array([start_s for _, start_s, _ in said.phonemes] + [said.phonemes[-1][2]])
    edges_s = np.concatenate([[0.0], np.cumsum(lengths_s)])
    samples = round(edges_s[-1] * RATE)
    count = -(-samples // HOP)
    moments_s = np.arange(count) * HOP / RATE
    filters = measured(said.pcm_16k).at(np.interp(moments_s, edges_s, old_edges_s) * RATE / HOP)
    phonemes = tuple(
        (name, float(start_s), float(end_s))
        for (name, _, _), start_s, end_s in zip(said.phonemes, edges_s[:-1], edges_s[1:], strict=True)
    )
    voice = np.repeat(_moment_values(phonemes, count, voicing), HOP)
    pitch_hz = _melody([float(edges_s[i]) for i in starts], count * HOP, rng)
    source = voice * pulses(pitch_hz, rng) + np.sqrt(1 - voice**2) * _breath(count * HOP, rng)
    return Utterance(sounded(filters, source.astype(np.float32))[:samples], phonemes, said.voice)


def laughter(rng: np.random.Generator) -> tuple[np.ndarray, tuple[Timed, ...]]:
    """A few bursts of breath and vowel, each a little lower and weaker than the one before: sound (RMS 1) and phones."""
    vowel = str(rng.choice(list(_LAUGHTER), p=[0.35, 0.25, 0.2, 0.1, 0.1]))
    tract = rng.uniform(0.85, 1.2)  # a short one is a child's
    pitch_hz = rng.uniform(140, 320) * tract
    phones: list[Timed] = []
    levels, pitches, at_s = [], [], 0.0
    for burst in range(rng.integers(3, 10)):
        breath_s, vowel_s = rng.uniform(0.06, 0.11), rng.uniform(0.05, 0.11) * (1.6 if burst == 0 else 1)
        phones += [("hh", at_s, at_s + breath_s), (vowel, at_s + breath_s, at_s + breath_s + vowel_s)]
        at_s += breath_s + vowel_s
        fade = rng.uniform(0.8, 1.0) * 0.92**burst
        levels += [0.15 * fade, fade]
        pitches += [pitch_hz, pitch_hz * rng.uniform(0.95, 1.2)]
        pitch_hz *= rng.uniform(0.9, 1.0)
    count = int(np.ceil(at_s * RATE / HOP))
    heard = np.searchsorted([start_s for _, start_s, _ in phones], np.arange(count) * HOP / RATE, "right") - 1
    level = _smooth(np.array(levels)[heard], 4)
    voice = np.repeat(_smooth(np.where(heard % 2, 0.95, 0.0), 4), HOP)
    pitch = np.repeat(_smooth(np.array(pitches)[heard], 6), HOP)
    filters = Filters(np.tile(_formant_filter(np.array(_LAUGHTER[vowel]) * tract, rng), (count, 1)), level)
    source = voice * pulses(pitch, rng) + np.sqrt(1 - voice**2) * _breath(count * HOP, rng)
    pcm = sounded(filters, source.astype(np.float32))
    return pcm / max(float(np.sqrt(np.mean(np.square(pcm)))), 1e-6), tuple(phones)


def voicing(name: str) -> float:
    """How much of a phone is voice, 0 … 1; the rest of it is breath."""
    return 0.0 if name in _VOICELESS else 0.6 if name in _HALF_VOICED else 0.97


def _moment_values(phonemes: tuple[Timed, ...], count: int, of) -> np.ndarray:
    """A value of each phone at k * HOP samples, with edges softened over 15 ms."""
    starts_s = [start_s for _, start_s, _ in phonemes]
    heard = np.searchsorted(starts_s, np.arange(count) * HOP / RATE, "right") - 1
    return _smooth(np.array([of(name) for name, _, _ in phonemes])[np.maximum(heard, 0)], 3)


def _melody(note_starts_s: list[float], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Pitch of each sample: steps of a scale, reached quickly, that begin to tremble when they are held."""
    key_hz = rng.uniform(110, 330)
    tremble_hz, depth = rng.uniform(4.5, 6.5), rng.uniform(0.0, 0.5)
    times_s = np.arange(0, samples, HOP) / RATE
    step = int(rng.integers(2, 6))
    semitones, held_s = np.full(len(times_s), float(_SCALE[step])), np.zeros(len(times_s))
    for start_s in note_starts_s:
        step = int(np.clip(step + rng.integers(-2, 3), 0, len(_SCALE) - 1))
        later = times_s >= start_s - 0.03
        semitones[later], held_s[later] = _SCALE[step], times_s[later] - start_s
    trembling = depth * np.clip(held_s / 0.3 - 0.5, 0, 1) * np.sin(2 * np.pi * tremble_hz * held_s)
    drift = 0.15 * _smooth(rng.standard_normal(len(times_s)), 20) * np.sqrt(20)
    pitch_hz = key_hz * 2 ** ((_smooth(semitones, 9) + trembling + drift) / 12)
    return np.interp(np.arange(samples), times_s * RATE, pitch_hz)


def _formant_filter(formants_hz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A(z) with these resonances and a voice's fall towards high frequencies, 1 order+1; white noise comes out at RMS 1."""
    coefficients = np.array([1.0, -0.85])
    for formant_hz in formants_hz[formants_hz < 0.48 * RATE]:
        radius = np.exp(-np.pi * rng.uniform(70, 160) / RATE)
        coefficients = np.convolve(coefficients, [1, -2 * radius * np.cos(2 * np.pi * formant_hz / RATE), radius**2])
    return coefficients[None].astype(np.float32)


def _breath(samples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(samples, np.float32)


def _smooth(values: np.ndarray, over: int) -> np.ndarray:
    """Running mean over that many values, ends held."""
    padded = np.pad(values, (over // 2, over - 1 - over // 2), "edge")
    return np.convolve(padded, np.ones(over) / over, "valid").astype(np.float32)
