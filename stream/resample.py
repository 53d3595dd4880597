"""Sample-rate conversion with carried state: chunked equals whole. Knows nothing of channels, clocks or devices.

A windowed-sinc polyphase filter of our own rather than a library's stream: those deliver in blocks of up to 40 ms,
and a live microphone would wait for them. Here an output sample is ready as soon as the 16 input (or output, if those
are the longer) samples after it are known, 0.3 to 2 ms, and it sits exactly at its own time: no delay to correct.
"""

from copy import copy
from functools import lru_cache
from math import gcd

import numpy as np

from stream.timing import PLAYBACK_RATE

ZERO_CROSSINGS = 16  # on each side; sets the steepness of the filter and its delay
BANDWIDTH = 0.92  # of half the lower rate; what lies above would fold back
KAISER_BETA = 7.0  # about -70 dB outside the band
RATE_STEP_HZ = 25  # keeps the filter's table small for every rate we accept
LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000


def check_rate(rate: int) -> None:
    """Raise ValueError, saying what is allowed, for a rate that cannot be sound for us."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or rate % RATE_STEP_HZ:
        raise ValueError(
            f"sample rate {rate} is not supported: "
            f"send {LOWEST_RATE} to {HIGHEST_RATE} Hz in steps of {RATE_STEP_HZ} Hz"
        )


def to_s16(pcm: np.ndarray) -> np.ndarray:
    """Round float samples in int16 units to int16, clipping what the filter overshot."""
    return np.clip(np.rint(pcm), -32768, 32767).astype(np.int16)


@lru_cache(maxsize=16)
def _filter_bank(rate_in: int, rate_out: int) -> tuple[np.ndarray, int, int, int]:
    """Table that turns one window of input into one period of output, and the period's sizes.

    Returns (table of shape (reach * 2 + period_in, period_out), reach, period_in, period_out), where `reach` input
    samples on either side of an output sample's time take part in it.
    """
    common = gcd(rate_in, rate_out)
    period_in, period_out = rate_in // common, rate_out // common
    cutoff = BANDWIDTH * min(1.0, rate_out / rate_in)  # in units of half the input rate
    reach = int(np.ceil(ZERO_CROSSINGS / min(1.0, rate_out / rate_in)))
    at = np.arange(period_out) * period_in / period_out + reach  # output times inside the window, in input samples
    offset = np.arange(2 * reach + period_in)[:, None] - at[None, :]
    inside = np.abs(offset) <= reach
    window = np.i0(KAISER_BETA * np.sqrt(np.where(inside, 1 - (offset / reach) ** 2, 0))) / np.i0(KAISER_BETA)
    table = np.where(inside, cutoff * np.sinc(cutoff * offset) * window, 0.0)
    table /= table.sum(axis=0, keepdims=True)  # exact unit gain at rest, in every phase
    return table.astype(np.float32), reach, period_in, period_out


class Resampler:
    """One stream from `rate_in` to `rate_out`, both int16 mono in int16 out."""

    def __init__(self, rate_in: int, rate_out: int = PLAYBACK_RATE) -> None:
        self._same = rate_in == rate_out
        if not self._same:
            self._table, self._reach, self._period_in, self._period_out = _filter_bank(rate_in, rate_out)
        self.reset()

    def reset(self) -> None:
        """Forget the stream; the next sample is the first."""
        self._history = np.zeros(0 if self._same else self._reach, np.int16)

    def silence(self) -> None:
        """Let what the filter still remembers be silence; positions stay."""
        self._history = np.zeros_like(self._history)

    def silent_twin(self) -> "Resampler":
        """Another stream at the same position, in which all has been silence so far."""
        twin = copy(self)
        twin.silence()
        return twin

    def push(self, pcm_s16: np.ndarray) -> np.ndarray:
        """All output that is now certain. In whole periods, so that it does not depend on how the input was cut."""
        if self._same:
            return pcm_s16
        known = np.concatenate([self._history, pcm_s16])
        out, used = self._convolve(known)
        self._history = known[used:]
        return out

    def tail(self) -> np.ndarray:
        """The output still owed for the input so far, as if silence followed. The stream is not changed by looking."""
        if self._same:
            return np.zeros(0, np.int16)
        held = len(self._history) - self._reach  # input samples whose output is still owed
        due = -(-held * self._period_out // self._period_in)
        silence = np.zeros(self._reach + self._period_in, np.int16)
        return self._convolve(np.concatenate([self._history, silence]))[0][:due]

    def flush(self) -> np.ndarray:
        """The tail, and a fresh stream after it."""
        tail = self.tail()
        self.reset()
        return tail

    def _convolve(self, known: np.ndarray) -> tuple[np.ndarray, int]:
        width = len(self._table)
        periods = max(0, (len(known) - width) // self._period_in + 1)
        if not periods:
            return np.zeros(0, np.int16), 0
        view = np.lib.stride_tricks.sliding_window_view(known, width)[:: self._period_in][:periods]
        return to_s16(view.astype(np.float32) @ self._table).reshape(-1), periods * self._period_in
