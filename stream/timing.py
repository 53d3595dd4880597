"""Ticks to seconds and samples to frames. Pure numbers; knows nothing of any clock."""

PLAYBACK_RATE = 48_000  # the session's one sample clock, and the rate of every sound that leaves


def samples(seconds: float, rate: int = PLAYBACK_RATE) -> int:
    """Whole samples in a duration, to the nearest."""
    return round(seconds * rate)


def milliseconds(sample_count: int, rate: int = PLAYBACK_RATE) -> int:
    """Whole milliseconds, rounded down: what has certainly been reached."""
    return sample_count * 1000 // rate


def rescale(ticks: int, from_rate: int, to_rate: int) -> int:
    """The same instant counted at another rate, rounded down; exact for any stream length."""
    return ticks * to_rate // from_rate

