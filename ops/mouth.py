"""When has a mouth come to rest? Told from pictures alone, by comparing with pictures of the same face at rest.

Knows no face: the mouth is where pictures of speech vary and pictures at rest do not.
"""

import numpy as np

SHRINK = 4
MOUTH_SHARE = 0.03  # of the picture: the cells that move most when it speaks
APART = 10  # pictures at rest so near in time are alike anyway and say nothing of how rest varies
REST_PERCENTILE = 99
CLEAR_MARGIN = 1.15
SMALLEST_UNIT = 0.5  # grey levels: below that differences are rounding


class Rest:
    """How far a picture is from rest, in units in which a face at rest stays below 1."""

    def __init__(self, resting: np.ndarray, speaking: np.ndarray) -> None:
        """Pictures n h w 3. Raises ValueError if speech does not stand out."""
        resting, speaking = shrunk(resting), shrunk(speaking)
        if len(resting) < 3 * APART or len(speaking) < APART:
            raise ValueError(f"too few pictures to tell speech from rest: {len(speaking)} and {len(resting)}")
        excess = speaking.std(0) - resting.std(0)
        self._mouth = excess >= np.quantile(excess, 1 - MOUTH_SHARE)
        self._resting = resting[:, self._mouth]
        order = np.arange(len(resting))
        near = np.abs(order[:, None] - order[None]) < APART
        among = np.where(near, np.inf, self._all(resting))
        self._unit = max(SMALLEST_UNIT, CLEAR_MARGIN * float(np.percentile(among.min(1), REST_PERCENTILE)))
        typical = float(np.median(self._all(speaking).min(1)))
        if typical <= self._unit:
            raise ValueError(
                f"the mouth does not stand out from rest: {typical:.1f} in speech, up to {self._unit:.1f} at rest"
            )

    def distance(self, pictures: np.ndarray) -> np.ndarray:
        return self._all(shrunk(pictures)).min(1) / self._unit

    def _all(self, pictures: np.ndarray) -> np.ndarray:
        cells = pictures[:, self._mouth]
        return np.stack([np.abs(self._resting - one).mean(1) for one in cells])


def shrunk(pictures: np.ndarray) -> np.ndarray:
    """n h w 3 -> n h/4 w/4, grey."""
    count, rows, columns = (pictures.shape[0], *(n // SHRINK for n in pictures.shape[1:3]))
    cut = pictures[:, : rows * SHRINK, : columns * SHRINK].astype(np.float32).mean(-1)
    return cut.reshape(count, rows, SHRINK, columns, SHRINK).mean((2, 4))


def rests_from(moments_s: list[float], distances: np.ndarray) -> float | None:
    """The moment of the first picture from which on all are at rest; None if the last one is not."""
    moving = np.flatnonzero(np.asarray(distances) > 1)
    first = int(moving[-1]) + 1 if len(moving) else 0
    return moments_s[first] if first < len(moments_s) else None
