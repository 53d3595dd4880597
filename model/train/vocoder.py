"""Takes speech apart into the filter of the mouth and what sounds through it, and puts another source through the filter.

Linear prediction every 5 ms. The filter carries what tells the sounds apart; the source carries pitch and voice. So a
whisper is noise through the same filter, and singing is pulses at another pitch while the filter waits. Knows no phones.
"""

from dataclasses import dataclass

import numpy as np

RATE = 16000
HOP = 80  # samples between filters
_WINDOW = 400  # samples that one filter is measured on
_ORDER = 18
_SMOOTH_HZ = 90.0  # formants are taken to be no narrower: keeps the filter from ringing at a high voice's overtones
_PIECE = 4 * HOP  # of the source that one filter shapes; pieces overlap by three quarters
_RESPONSE = 1024  # samples of each piece with its ringing


@dataclass(frozen=True)
class Filters:
    """The mouth's filter at k * HOP samples: coefficients of A(z), k order+1, and level of a source of RMS 1, k."""

    coefficients: np.ndarray
    levels: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)

    def at(self, moments: np.ndarray) -> "Filters":
        """The filters at those numbers (they may lie between two: the nearer one counts, levels are interpolated)."""
        numbers = np.clip(np.rint(moments).astype(int), 0, len(self) - 1)
        levels = np.interp(moments, np.arange(len(self)), self.levels)
        return Filters(self.coefficients[numbers], levels.astype(np.float32))


def measured(pcm_16k: np.ndarray) -> Filters:
    """The filters of a sound, one for each begun HOP."""
    count = -(-len(pcm_16k) // HOP)
    padded = np.pad(pcm_16k.astype(np.float64), (_WINDOW // 2, _WINDOW // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:count] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames, 2 * _WINDOW)) ** 2
    correlation = np.fft.irfft(power)[:, : _ORDER + 1]
    lags = np.arange(_ORDER + 1)
    correlation *= np.exp(-0.5 * (2 * np.pi * _SMOOTH_HZ * lags / RATE) ** 2)
    correlation[:, 0] = correlation[:, 0] * (1 + 1e-5) + 1e-9
    coefficients, error = _levinson(correlation)
    return Filters(coefficients.astype(np.float32), np.sqrt(error / np.sum(np.hanning(_WINDOW) ** 2)).astype(np.float32))


def sounded(filters: Filters, source: np.ndarray) -> np.ndarray:
    """A source (RMS about 1, HOP samples for each filter) through the filters: float32, as long as the source."""
    count = len(filters)
    padded = np.pad(source.astype(np.float32), (_PIECE // 2, _PIECE))
    window = np.hanning(_PIECE + 1)[:-1].astype(np.float32) * (2 * HOP / _PIECE)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _PIECE)[::HOP][:count] * window
    shaped = np.fft.rfft(pieces, _RESPONSE) * filters.levels[:, None] / np.fft.rfft(filters.coefficients, _RESPONSE)
    rung = np.fft.irfft(shaped, _RESPONSE)
    out = np.zeros((count + _RESPONSE // HOP + 1) * HOP)
    for part in range(0, _RESPONSE, HOP):  # laid over one another, a HOP's worth of every piece at a time
        cut = rung[:, part : part + HOP]
        cut = np.pad(cut, ((0, 0), (0, HOP - cut.shape[1])))
        out[part : part + count * HOP] += cut.reshape(-1)
    return out[_PIECE // 2 : _PIECE // 2 + len(source)].astype(np.float32)


def pulses(pitch_hz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Voice of a pitch given for each sample, RMS about 1: one softened pulse a period, and a little breath."""
    phase = np.cumsum(pitch_hz / RATE) + rng.random()
    struck = np.flatnonzero(np.diff(np.floor(phase), prepend=np.floor(phase[:1])) > 0)
    source = np.zeros(len(pitch_hz) + 1, np.float32)
    between = (phase[struck] % 1) / (pitch_hz[struck] / RATE)  # the pulse lay this much before the sample
    height = np.sqrt(RATE / pitch_hz[struck])
    np.add.at(source, struck, (height * (1 - between)).astype(np.float32))
    np.add.at(source, struck - 1, (height * between).astype(np.float32))
    return source[: len(pitch_hz)] + 0.15 * rng.standard_normal(len(pitch_hz), np.float32)


def _levinson(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predictors of many frames at once, k order+1, and the power that each leaves unexplained."""
    coefficients = np.zeros_like(correlation)
    coefficients[:, 0] = 1.0
    error = correlation[:, 0].copy()
    for order in range(1, correlation.shape[1]):
        seen = np.sum(coefficients[:, :order] * correlation[:, order:0:-1], 1)
        reflection = -seen / error
        coefficients[:, 1 : order + 1] += reflection[:, None] * coefficients[:, order - 1 :: -1][:, :order]
        error *= 1 - reflection**2
    return coefficients, error
