"""When has a mouth closed? Told from how open it is in each picture. Knows no pictures and no networks."""

from collections.abc import Sequence

import numpy as np

STAYS_S = 0.3  # closed for less is a p, b or m
AT_REST_PERCENTILE = 99  # lower, and a face that has not spoken at all would count as open now and then


def closed_below(at_rest: np.ndarray) -> float:
    """An opening that a resting mouth hardly ever seems to exceed: heads move, and reading a mouth is not exact."""
    return float(np.percentile(steadied(at_rest), AT_REST_PERCENTILE))


def closes_at(moments_s: Sequence[float], openings: np.ndarray, below: float) -> float | None:
    """The moment of the first picture with a closed mouth that stays closed; None if there is none."""
    moments = np.asarray(moments_s)
    shut = steadied(openings) <= below
    for moment in moments[shut]:
        soon = (moments >= moment) & (moments < moment + STAYS_S)
        if shut[soon].all() and moments[-1] >= moment + STAYS_S:
            return float(moment)
    return None


def steadied(openings: np.ndarray) -> np.ndarray:
    """Each the median of itself and its neighbours: one picture that stands out was read wrongly."""
    padded = np.pad(np.asarray(openings, float), 1, mode="edge")
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
