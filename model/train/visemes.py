"""How lips move with known phones: opening, width, rounding and bite at a steady rate. Knows no sound but its loudness.

Every phone steps in and out of influence along minimum-jerk curves a little before it is heard; postures blend by
how much the phone cares (a vowel rules the opening, /k/ takes any). Closures and bites are laid over the blend, so
no smoothing can wear them away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .phones import BITTEN, CLOSED, VOWELS, Timed, tidy

CHANNELS = ("open", "width", "round", "bite")


@dataclass(frozen=True)
class Motion:
    """Times of the movement. Steps end in silence late and begin before speech, as lips do."""

    step_s: tuple[float, float, float] = (0.15, 0.18, 0.20)  # whole width of a step of open, width, round
    lead_s: tuple[float, float, float] = (0.030, 0.045, 0.060)  # rounding is prepared earliest
    rest_lag_s: float = 0.030  # closed within rest_lag + step / 2 of the last sound
    closure_s: float = 0.045  # shortest full closure: longer than a picture of 40 ms, so that one always shows it
    ramp_s: tuple[float, float] = (0.045, 0.080)  # shortest and longest way in or out of a closure
    bite_gap_s: float = 0.10  # the lip does not leave the teeth between the two sounds of "moved fast"
    loudness_per_db: float = 0.025
    loudness_range: tuple[float, float] = (0.75, 1.1)


# open, width, round; then how strongly the phone holds each of them against its neighbours. The jaw behind closed lips
# is free to prepare the next vowel: p, b, m hold no opening, the closure laid over it does.
_POSTURES: dict[str, tuple[float, float, float, float, float, float]] = {
    "sil": (0.00, 0.00, 0.00, 1.0, 0.7, 0.8),
    "aa": (0.92, 0.02, 0.00, 1.0, 0.7, 0.8),
    "ae": (0.82, 0.36, 0.00, 1.0, 0.8, 0.8),
    "ah": (0.52, 0.05, 0.00, 0.8, 0.5, 0.6),
    "eh": (0.62, 0.40, 0.00, 1.0, 0.8, 0.8),
    "er": (0.38, -0.15, 0.35, 0.9, 0.7, 0.7),
    "ih": (0.42, 0.40, 0.00, 0.9, 0.7, 0.7),
    "iy": (0.30, 0.85, 0.00, 1.0, 1.2, 1.0),
    "ao": (0.74, -0.35, 0.55, 1.0, 0.9, 1.0),
    "ow": (0.52, -0.50, 0.80, 1.0, 1.0, 1.1),
    "uh": (0.36, -0.38, 0.58, 0.9, 0.8, 0.9),
    "uw": (0.20, -0.70, 1.00, 1.1, 1.2, 1.3),
    "ue": (0.20, -0.55, 0.95, 1.1, 1.1, 1.3),
    "oe": (0.45, -0.40, 0.75, 1.0, 1.0, 1.1),
    "w": (0.10, -0.75, 1.00, 1.3, 1.3, 1.6),
    "y": (0.22, 0.60, 0.00, 0.9, 0.9, 0.7),
    "r": (0.24, -0.30, 0.50, 0.7, 0.7, 0.8),
    "rr": (0.26, 0.10, 0.00, 0.5, 0.2, 0.2),
    "l": (0.32, 0.12, 0.00, 0.5, 0.25, 0.2),
    "m": (0.25, 0.00, 0.00, 0.15, 0.4, 0.2),
    "n": (0.20, 0.12, 0.00, 0.6, 0.25, 0.2),
    "ng": (0.28, 0.10, 0.00, 0.3, 0.15, 0.15),
    "p": (0.25, 0.00, 0.00, 0.15, 0.4, 0.2),
    "b": (0.25, 0.00, 0.00, 0.15, 0.4, 0.2),
    "t": (0.15, 0.15, 0.00, 0.7, 0.3, 0.25),
    "d": (0.16, 0.15, 0.00, 0.7, 0.3, 0.25),
    "k": (0.26, 0.08, 0.00, 0.35, 0.15, 0.1),
    "g": (0.26, 0.08, 0.00, 0.35, 0.15, 0.1),
    "f": (0.08, 0.08, 0.00, 0.8, 0.4, 0.4),
    "v": (0.08, 0.08, 0.00, 0.8, 0.4, 0.4),
    "th": (0.20, 0.10, 0.00, 0.7, 0.3, 0.4),
    "dh": (0.20, 0.10, 0.00, 0.6, 0.3, 0.3),
    "s": (0.10, 0.34, 0.00, 1.0, 0.6, 0.5),
    "z": (0.10, 0.32, 0.00, 1.0, 0.6, 0.5),
    "sh": (0.15, -0.36, 0.66, 1.0, 0.9, 1.0),
    "zh": (0.15, -0.36, 0.66, 1.0, 0.9, 1.0),
    "ch": (0.14, -0.34, 0.62, 1.0, 0.9, 1.0),
    "jh": (0.14, -0.34, 0.62, 1.0, 0.9, 1.0),
    "hh": (0.36, 0.05, 0.00, 0.25, 0.1, 0.1),
    "x": (0.30, 0.05, 0.00, 0.4, 0.2, 0.2),
}  # fmt: skip


def minimum_jerk(u: np.ndarray) -> np.ndarray:
    """The smooth step of a reaching hand or lip: 0 before u = 0, 1 after u = 1, no jerk at either end."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * u * (10 + u * (6 * u - 15))


def mouth_track(
    phones: Sequence[Timed],
    duration_s: float,
    rate_hz: int = 100,
    loudness: np.ndarray | None = None,
    motion: Motion | None = None,
) -> np.ndarray:
    """Mouth (n, 4) float32 at times k / rate_hz: open 0..1, width -1..1, round 0..1, bite 0..1.

    Phones are in order; where there is none, between them too, is silence, and the lips come to rest.
    `loudness` is the sound's level (any linear unit) at the same times: louder vowels open wider.
    """
    motion = motion or Motion()
    n = round(duration_s * rate_hz)
    track = np.zeros((n, 4), np.float32)
    if not phones or n == 0:
        return track
    phones = [("sil", -1.0, 0.0), *tidy(list(phones), duration_s), ("sil", duration_s, duration_s + 1)]
    times = np.arange(n) / rate_hz
    postures = np.array([_POSTURES[name] for name, _, _ in phones])
    postures[:, 0] *= _gains(phones, loudness, rate_hz, motion)
    for channel in range(3):
        influence = _influences(phones, times, motion.step_s[channel], motion.lead_s[channel], motion.rest_lag_s)
        weight = influence * postures[:, 3 + channel]
        track[:, channel] = (weight @ postures[:, channel]) / np.maximum(weight.sum(1), 1e-9)
    closed = _gate(phones, CLOSED, times, motion, motion.ramp_s[0])
    bitten = _gate(phones, BITTEN, times, motion, motion.bite_gap_s)
    track[:, 0] *= 1 - closed
    track[:, 3] = bitten * (1 - closed)
    return np.clip(track, (0, -1, 0, 0), 1).astype(np.float32)


def _influences(phones: Sequence[Timed], times: np.ndarray, step_s: float, lead_s: float, lag_s: float) -> np.ndarray:
    """Share of each phone at each time (n, phones): rows sum to 1."""
    edges = np.array([start + lag_s if name == "sil" else start - lead_s for name, start, _ in phones[1:]])
    edges = np.maximum.accumulate(edges)  # a pause shorter than lead + lag leaves no trace
    steps = minimum_jerk((times[:, None] - edges) / step_s + 0.5)
    ones, zeros = np.ones((len(times), 1)), np.zeros((len(times), 1))
    return np.concatenate([ones, steps], 1) - np.concatenate([steps, zeros], 1)


def _gains(phones: Sequence[Timed], loudness: np.ndarray | None, rate_hz: int, motion: Motion) -> np.ndarray:
    """How far each phone's opening is scaled: vowels by their level against the middle vowel of the track."""
    gains = np.ones(len(phones))
    if loudness is None or not len(loudness):
        return gains
    vowels, level_db = [], []
    for i, (name, start_s, end_s) in enumerate(phones):
        if name in VOWELS:
            first = min(int(start_s * rate_hz), len(loudness) - 1)
            last = max(int(end_s * rate_hz), first + 1)
            vowels.append(i)
            level_db.append(20 * np.log10(loudness[first:last].mean() + 1e-5))
    if vowels:
        around = np.array(level_db) - np.median(level_db)
        gains[vowels] = np.clip(1 + motion.loudness_per_db * around, *motion.loudness_range)
    return gains


def _gate(
    phones: Sequence[Timed], which: frozenset[str], times: np.ndarray, motion: Motion, held_over_s: float
) -> np.ndarray:
    """1 while the lips are held by one of these phones, or between two of them this close; smoothly 0 elsewhere."""
    cores: list[list[float]] = []
    spoken_since = True
    for name, start_s, end_s in phones:
        if name not in which:
            spoken_since |= name != "sil"
            continue
        # The label begins with the closing and ends with the burst, both of them still audible.
        from_s, to_s = start_s + 0.1 * (end_s - start_s), end_s - 0.2 * (end_s - start_s)
        short = max(0.0, motion.closure_s - (to_s - from_s))
        from_s, to_s = from_s - 0.6 * short, to_s + 0.4 * short
        near = bool(cores) and from_s - cores[-1][1] < held_over_s
        if near or (which is CLOSED and not spoken_since):
            cores[-1][1] = to_s  # nobody parts the lips between the two sounds of "lamp board", nor in a pause there
        else:
            cores.append([from_s, to_s])
        spoken_since = False
    gate = np.zeros(len(times))
    for i, (from_s, to_s) in enumerate(cores):
        before = from_s - cores[i - 1][1] if i else np.inf
        after = cores[i + 1][0] - to_s if i + 1 < len(cores) else np.inf
        # Two closures around a short vowel share its time, or the vowel would not show.
        ramp_in, ramp_out = (np.clip(0.55 * room_s, *motion.ramp_s) for room_s in (before, after))
        rise = minimum_jerk((times - from_s) / ramp_in + 1)
        fall = minimum_jerk((times - to_s) / ramp_out)
        gate = np.maximum(gate, rise * (1 - fall))
    return gate
