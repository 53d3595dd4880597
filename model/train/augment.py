"""Turns clean speech into what a microphone and a line make of it, keeping time true. Knows no mouths.

The one thing that moves time, playing faster or slower (it shifts pitch and formants together), is reported as
`stretch`; every other step keeps each sound where it was, to within a few milliseconds.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from scipy import signal

from . import sounds

RATE = 16000
SPEECH_RMS = 0.08  # what speech in the corpus is set to; noise and level are measured against it


@dataclass(frozen=True)
class AugmentConfig:
    untouched: float = 0.1  # probability that nothing at all happens
    stretch: float = 0.6  # the rest: probability of each step, then its range
    stretch_range: tuple[float, float] = (0.8, 1.25)
    colour: float = 0.5
    room: float = 0.35
    noise: float = 0.6
    snr_db: tuple[float, float] = (5.0, 40.0)
    babble: float = 0.15  # share of the noises that are other people, if there are any
    phone_line: float = 0.12
    clip: float = 0.10
    clip_at_rms: tuple[float, float] = (0.8, 4.5)  # times the RMS of speech; its peaks lie at 5
    level: float = 0.9
    peak_dbfs: tuple[float, float] = (-45.0, 0.0)  # from a whisper across the room to a shout
    offset: float = 0.06
    largest_offset: float = 0.05
    opus: float = 0.06  # rare: it costs 12 ms for each second, ten times all the rest
    opus_kbps: tuple[int, ...] = (6, 8, 12, 16, 24, 32)
    loss: float = 0.12
    losses_a_second: tuple[float, float] = (0.3, 3.0)
    loss_ms: tuple[float, float] = (20.0, 60.0)


CLEAN = AugmentConfig(untouched=1.0, stretch=0.0)
# Nothing but the one step that moves time.
SPEED_ONLY = AugmentConfig(
    untouched=0, colour=0, room=0, noise=0, phone_line=0, clip=0, level=0, offset=0, opus=0, loss=0
)


@dataclass(frozen=True)
class Augmented:
    pcm_16k: np.ndarray
    stretch: float  # new duration / old duration: a time t is now at t * stretch


def draw_stretch(rng: np.random.Generator, config: AugmentConfig | None = None) -> float:
    config = config or AugmentConfig()
    if rng.random() >= config.stretch:
        return 1.0
    low, high = np.log(config.stretch_range)
    return float(np.exp(rng.uniform(low, high)))


def augment(
    pcm_16k: np.ndarray,
    rng: np.random.Generator,
    config: AugmentConfig | None = None,
    *,
    stretch: float | None = None,
    speech_rms: float | None = None,
    babble: np.ndarray | None = None,
) -> Augmented:
    """Apply a random chain. `stretch` fixes the speed instead of drawing it; `speech_rms` is the level speech has in
    this sound (measured when left out); `babble` is at least as long a piece of other people's speech."""
    config = config or AugmentConfig()
    pcm = np.asarray(pcm_16k, np.float32)
    if rng.random() < config.untouched:
        stretch = 1.0 if stretch is None else stretch
        return Augmented(_change_speed(pcm, stretch), stretch)
    if stretch is None:
        stretch = draw_stretch(rng, config)
    rms = speech_level(pcm) if speech_rms is None else speech_rms
    pcm = _change_speed(pcm, stretch)
    if rng.random() < config.colour:
        pcm = _colour(pcm, rng)
    if rng.random() < config.room:
        pcm = _room(pcm, rng)
    if rng.random() < config.noise:
        snr_db = rng.uniform(*config.snr_db)
        if babble is not None and rng.random() < config.babble:
            noise = babble[: len(pcm)] / max(speech_level(babble), 1e-4)
            snr_db = max(snr_db, 12.0)  # louder babble is speech in its own right
        else:
            noise = sounds.any_sound(len(pcm), rng)
        pcm = pcm + rms * 10 ** (-snr_db / 20) * noise
    if rng.random() < config.phone_line:
        pcm = phone_line(pcm, rng)
    if rng.random() < config.clip:
        limit = rms * np.exp(rng.uniform(*np.log(config.clip_at_rms)))
        pcm = np.clip(pcm, -limit, limit)
    if rng.random() < config.level:
        # Peaks of speech lie about 15 dB above its RMS.
        wanted = 10 ** ((rng.uniform(*config.peak_dbfs) - 15) / 20)
        pcm = pcm * (wanted / rms)
    if rng.random() < config.offset:
        pcm = pcm + rng.uniform(-config.largest_offset, config.largest_offset)
    pcm = np.clip(pcm, -1, 1).astype(np.float32)
    if rng.random() < config.opus:
        pcm = opus_round_trip(pcm, int(rng.choice(config.opus_kbps)) * 1000)
    if rng.random() < config.loss:
        pcm = lose_packets(pcm, rng, config)
    return Augmented(pcm, stretch)


def speech_level(pcm: np.ndarray) -> float:
    """RMS of the louder part of a sound, so that pauses do not count; never 0."""
    blocks = pcm[: len(pcm) // 320 * 320].reshape(-1, 320)
    if not len(blocks):
        return SPEECH_RMS
    power = np.mean(np.square(blocks), 1)
    loud = power > 0.05 * power.max()
    return max(float(np.sqrt(power[loud].mean())), 1e-3) if loud.any() else SPEECH_RMS


def phone_line(pcm_16k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through a telephone: 8 kHz, a narrow band and, mostly, the 8 bits a sample of its networks (mu-law)."""
    low = rng.uniform(150, 320)
    pcm = signal.sosfilt(_phone_band(round(low, -1)), pcm_16k)
    pcm = soxr.resample(pcm.astype(np.float32), RATE, RATE // 2, quality="MQ")
    if rng.random() < 0.7:
        loudest = max(float(np.abs(pcm).max()), 1e-3)  # lines are set so that speech fills the range
        squeezed = np.sign(pcm) * np.log1p(255 * np.abs(pcm) / loudest) / np.log(256)
        squeezed = np.round(squeezed * 127) / 127
        pcm = np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log(256)) / 255 * loudest
    pcm = soxr.resample(pcm.astype(np.float32), RATE // 2, RATE, quality="MQ")[: len(pcm_16k)]
    return np.pad(pcm, (0, len(pcm_16k) - len(pcm)))


def lose_packets(pcm_16k: np.ndarray, rng: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Gaps where packets were lost. A receiver leaves them silent or plays what came before once more, fading; later
    sound stays in its place."""
    pcm = pcm_16k.copy()
    concealed = rng.random() < 0.5
    losses = rng.poisson(len(pcm) / RATE * rng.uniform(*config.losses_a_second))
    for at in np.sort(rng.integers(0, max(len(pcm), 1), losses)):
        gap = min(int(rng.uniform(*config.loss_ms) * RATE / 1000), len(pcm) - at)
        before = pcm[max(at - _REPEATED, 0) : at]
        if concealed and len(before) == _REPEATED:
            pcm[at : at + gap] = np.resize(before, gap) * np.linspace(1, 0.2, gap, dtype=np.float32)
        else:
            pcm[at : at + gap] = 0
    return pcm


def opus_round_trip(pcm_16k: np.ndarray, bit_rate: int) -> np.ndarray:
    """Through Opus and back, as over a call; the codec's delay is taken out again."""
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "s16", bit_rate
    encoder.options = {"application": "voip", "frame_duration": "20"}
    encoder.open()
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    padded = np.concatenate([pcm_16k, np.zeros(RATE // 10, np.float32)])
    blocks = (padded[: len(padded) // 320 * 320] * 32767).astype(np.int16).reshape(-1, 1, 320)
    out = []
    for i, block in enumerate(blocks):
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, i * 320
        for packet in encoder.encode(frame):
            out += [decoded.to_ndarray()[0] for decoded in decoder.decode(packet)]
    heard = np.concatenate(out)
    heard = heard.astype(np.float32) / (32768 if heard.dtype.kind == "i" else 1)
    heard = heard[_OPUS_DELAY_48K:]
    return soxr.resample(heard, 48000, RATE, quality="MQ")[: len(pcm_16k)].astype(np.float32)


_OPUS_DELAY_48K = 312
_REPEATED = RATE // 50  # samples of a lost packet's stand-in: 20 ms


@lru_cache(maxsize=32)
def _phone_band(low_hz: float) -> np.ndarray:
    return signal.butter(2, [low_hz, 3500], "bandpass", fs=RATE, output="sos")


def _change_speed(pcm: np.ndarray, stretch: float) -> np.ndarray:
    if stretch == 1.0:
        return pcm
    n = round(len(pcm) * stretch)
    out = soxr.resample(pcm, RATE, RATE * stretch, quality="MQ")
    return out[:n] if len(out) >= n else np.pad(out, (0, n - len(out)))


def _colour(pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few broad bells and a low cut: another microphone."""
    sections = [signal.butter(1, rng.uniform(30, 180), "highpass", fs=RATE, output="sos")[0]]
    for _ in range(rng.integers(1, 4)):
        frequency = np.exp(rng.uniform(np.log(120), np.log(6000)))
        sections.append(_bell(frequency, rng.uniform(-9, 9), rng.uniform(0.5, 1.5)))
    return signal.sosfilt(np.array(sections), pcm)


def _bell(frequency: float, gain_db: float, q: float) -> np.ndarray:
    """A second-order bell of minimum phase (the usual audio-equaliser form)."""
    a = 10 ** (gain_db / 40)
    w = 2 * np.pi * frequency / RATE
    alpha = np.sin(w) / (2 * q)
    b0, b1, b2 = 1 + alpha * a, -2 * np.cos(w), 1 - alpha * a
    a0, a1, a2 = 1 + alpha / a, -2 * np.cos(w), 1 - alpha / a
    return np.array([b0, b1, b2, a0, a1, a2]) / a0


def _room(pcm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small room: the direct sound stays first and loudest, an exponential tail follows it."""
    decay_s = rng.uniform(0.12, 0.5)
    n = int(min(decay_s, 0.4) * RATE)
    tail = rng.standard_normal(n).astype(np.float32) * 10 ** (-3 * np.arange(n, dtype=np.float32) / (decay_s * RATE))
    tail[: int(rng.uniform(0.002, 0.008) * RATE)] = 0
    tail = signal.sosfilt(signal.butter(1, rng.uniform(2000, 6000), "lowpass", fs=RATE, output="sos"), tail)
    tail *= 10 ** (-rng.uniform(2, 16) / 20) / max(float(np.sqrt(np.sum(np.square(tail)))), 1e-6)
    tail[0] += 1.0
    return signal.fftconvolve(pcm, tail)[: len(pcm)]
