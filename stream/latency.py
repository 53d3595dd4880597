"""What the last seconds of a session were like, from its ticks. Knows nothing of sessions or of where numbers go.

Latency is counted from the moment a frame's own last sound sample arrived to the moment both leave the pacer.
"""

from collections import deque
from statistics import fmean, median

from stream.pacer import Tick
from stream.timing import PLAYBACK_RATE

REMEMBERED_TICKS = 125


class LatencyLog:
    """Add every tick; a summary costs something, so ask for it once a second, not per frame."""

    def __init__(self) -> None:
        self._ticks: deque[tuple[float, float, float | None, bool, dict[str, float]]] = deque(maxlen=REMEMBERED_TICKS)

    def add(self, tick: Tick) -> None:
        stamps = tick.stamps
        total_s = stamps["pace"] - stamps["capture"] if "capture" in stamps else None
        behind_s = (tick.index - tick.picture_index) * len(tick.pcm_48k) / PLAYBACK_RATE
        self._ticks.append((stamps["pace"], behind_s, total_s, tick.repeated, stages_of(tick)))

    def summary(self) -> dict:
        """fps (new pictures a second), latency, how far pictures trail their sound, and the mean of each stage.

        The frames of a chunk wait for it and after it by turns; only the means of stages add up to the whole.
        """
        if len(self._ticks) < 2:
            return {"fps": None, "latency_ms": None, "latency_p95_ms": None, "av_offset_ms": None, "stages_ms": {}}
        released, behind, totals, repeated, stages = zip(*self._ticks, strict=True)
        span_s = max(released[-1] - released[0], 1e-9)
        totals = sorted(total for total in totals if total is not None)
        names = dict.fromkeys(name for one in stages for name in one)
        return {
            "fps": round((len(released) - 1 - sum(repeated[1:])) / span_s, 2),
            "latency_ms": _ms(median(totals)) if totals else None,
            "latency_p95_ms": _ms(totals[int(0.95 * (len(totals) - 1))]) if totals else None,
            "av_offset_ms": _ms(sorted(behind)[int(0.95 * (len(behind) - 1))]),
            "stages_ms": {name: _ms(fmean(one[name] for one in stages if name in one)) for name in names},
        }


def stages_of(tick: Tick) -> dict[str, float]:
    """Seconds that this tick's sound and picture spent in each stage; empty for a picture shown again."""
    stamps = tick.stamps
    if tick.repeated or "capture" not in stamps or "chunk" not in stamps:
        return {}
    return {
        "chunk": stamps["chunk"] - stamps["capture"],
        **tick.stage_s,
        "pace": stamps["pace"] - stamps["pictures"],
        "total": stamps["pace"] - stamps["capture"],
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
