"""The arithmetic of the scores: how well one series follows another, and how late. Knows no pictures and no people.

Several takes are several series; what is compared over time never reaches from one into the next.
"""

from collections.abc import Sequence

import numpy as np

FRAME_MS = 40.0
MAX_LAG = 8  # frames
STILL = 1e-6  # a series that varies less does not vary
SHUT, OPEN = 0.08, 0.2  # true openings: two pixels of a drawn mouth, and plainly open
READS_SHUT = 0.1  # openings are read with an error
AROUND = 4  # frames before and after a closure within which the lips must have been open
REACH = 3  # frames over which a mouth's movement is measured: 120 ms, about a sound of speech
SLOW = 5  # frames: heads move more slowly

Series = Sequence[np.ndarray]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """0 where one of them does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > STILL and b.std() > STILL else 0.0


def without(x: np.ndarray, predictor: np.ndarray) -> np.ndarray:
    """What a straight line from the predictor leaves of x."""
    design = np.stack((predictor, np.ones_like(predictor)), 1)
    return x - design @ np.linalg.lstsq(design, x, rcond=None)[0]


def at_lags(made: Series, true: Series) -> np.ndarray:
    """Correlations when the picture is taken to be -MAX_LAG … MAX_LAG frames late."""

    def at(lag: int) -> float:
        late, early = max(lag, 0), max(-lag, 0)
        return correlation(
            np.concatenate([series[late : len(series) - early] for series in made]),
            np.concatenate([series[early : len(series) - late] for series in true]),
        )

    return np.array([at(lag) for lag in range(-MAX_LAG, MAX_LAG + 1)])


def lag_ms(made: Series, true: Series) -> float:
    """Where the correlation peaks, between frames by a parabola; positive: the picture is late."""
    curve = at_lags(made, true)
    best = int(np.clip(np.argmax(curve), 1, len(curve) - 2))
    left, middle, right = curve[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return FRAME_MS * float(best - MAX_LAG + (0.5 * (left - right) / bend if bend else 0))


def motion(series: Series, where: Series) -> float:
    """Mean way that a mouth goes within REACH frames, where both ends of them count; nan where nothing counts."""
    ways = [np.abs(s[REACH:] - s[:-REACH])[w[REACH:] & w[:-REACH]] for s, w in zip(series, where, strict=True)]
    together = np.concatenate(ways)
    return float(together.mean()) if len(together) else float("nan")


def closures(opening: np.ndarray, lips_phones: np.ndarray) -> list[np.ndarray]:
    """Closures of running speech that pictures can show: for each, the frames in which the true lips are shut.

    `opening` f is the true one; `lips_phones` f x moments says when p, b or m is heard within each frame. Neighbouring
    ones ("lamp board") are one event. It counts where, up to a frame around the sound, the lips are shut in a picture,
    and within AROUND frames before and after that they are open."""
    heard = lips_phones.any(1)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], heard, [False])).astype(int)))
    events = []
    for first, last in edges.reshape(-1, 2):
        span = np.arange(max(first - 1, 0), min(last + 1, len(opening)))
        shut = span[opening[span] < SHUT]
        if len(shut):
            before, after = opening[max(shut[0] - AROUND, 0) : shut[0]], opening[shut[-1] + 1 : shut[-1] + 1 + AROUND]
            if len(before) and len(after) and min(before.max(), after.max()) > OPEN:
                events.append(shut)
    return events


def seen(made: np.ndarray, closure: np.ndarray) -> bool:
    """Whether the lips read as shut in a picture no further than one from where they truly are.

    They must have closed for it: a mouth that is shut for AROUND frames before or after shows no closure."""
    first, last = max(closure[0] - 1, 0), closure[-1] + 1
    before, after = made[max(first - AROUND, 0) : first + 1], made[last : last + 1 + AROUND]
    closes = len(after) > 0 and min(before.max(), after.max()) >= READS_SHUT
    return closes and bool((made[first : last + 1] < READS_SHUT).any())


def blinks(lids: np.ndarray) -> int:
    """How often the eyes shut: beyond half, having been at least three quarters open before."""
    count, ready = 0, True
    for value in lids:
        if ready and value > 0.5:
            count, ready = count + 1, False
        ready = ready or value < 0.25
    return count


def energy(heads: np.ndarray) -> float:
    """Of a head's movement, f angles: sum of squared turns within 200 ms, after a mean over as long against noise."""
    kernel = np.full(SLOW, 1 / SLOW)
    smooth = np.stack([np.convolve(angle, kernel, "valid") for angle in heads.T], 1)
    return float(np.square(smooth[SLOW:] - smooth[:-SLOW]).sum())
