"""The plots of the scores' page. Each returns a matplotlib figure; none measures anything."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from model.evaluation import series
from model.evaluation.report import Line
from model.evaluation.takes import JAW, MADE, PASSED, TRUE, Take

COLOURS = {TRUE: "#888888", MADE: "#c2434f", JAW: "#5f93ad", PASSED: "#b9a15a"}
MARKS = {"goal": "#3f8f5f", "reached": "#b9a15a", "missed": "#c2434f"}
SHOWN_S = 5.0


def openings(takes: Sequence[Take]) -> Figure:
    """The mouth over time: truth, generated, and what loudness alone would do."""
    figure = Figure((10, 1.9 * len(takes)), layout="constrained")
    for axes, take in zip(figure.subplots(len(takes), 1, squeeze=False)[:, 0], takes, strict=True):
        start = int(np.argmax(take.speaking))
        frames = np.arange(start, min(start + int(SHOWN_S * 25), len(take.mouth)))
        axes.fill_between(frames / 25, take.mouth[frames, 0], color="#dddddd", label="truth")
        for side in (JAW, MADE):
            axes.plot(frames / 25, take.seen[side].lips[frames, 0], color=COLOURS[side], lw=1.3, label=side)
        for event in series.closures(take.mouth[:, 0], take.lip_phones):
            if event[0] in frames:
                axes.axvline(event[0] / 25, color="#333333", lw=0.6, ls=":")
        axes.set(ylim=(-0.05, 1), ylabel="opening", xlim=(frames[0] / 25, frames[-1] / 25))
        axes.set_title(f"{take.sitters.name}, {take.sitters.kind} (dotted: p, b, m)", fontsize=9, loc="left")
    axes.set_xlabel("seconds")
    figure.axes[0].legend(fontsize=8, ncols=3, loc="upper right")
    return figure


def lags(takes: Sequence[Take]) -> Figure:
    """Correlation with the truth when the picture is taken to be early or late."""
    figure = Figure((5, 3.2), layout="constrained")
    axes, true = figure.subplots(), [take.mouth[:, 0] for take in takes]
    late_ms = np.arange(-series.MAX_LAG, series.MAX_LAG + 1) * series.FRAME_MS
    for side in (MADE, JAW, PASSED):
        made = [take.seen[side].lips[:, 0] for take in takes]
        axes.plot(late_ms, series.at_lags(made, true), "o-", ms=3, color=COLOURS[side], label=side)
    axes.axvspan(-20, 20, color="#eeeeee", zorder=0)
    axes.set(xlabel="the picture is late by, ms", ylabel="correlation of the opening")
    axes.legend(fontsize=8)
    return figure


def long_session(minutes: Sequence[dict[str, float]], names: dict[str, str]) -> Figure:
    """How the scores of one session change against its first minute."""
    figure = Figure((5, 3.2), layout="constrained")
    axes, at = figure.subplots(), [minute["minute"] for minute in minutes]
    for quantity, name in names.items():
        change = [100 * (minute[quantity] / minutes[0][quantity] - 1) for minute in minutes]
        axes.plot(at, change, "o-", ms=3, label=name)
    axes.axhspan(-3, 3, color="#eeeeee", zorder=0)
    axes.set(xlabel="minute of the session", ylabel="change against the first, %")
    axes.legend(fontsize=8)
    return figure


def bars(lines: Sequence[Line]) -> Figure:
    """Every score with a threshold, as a share of what it must reach; what is at most so much, turned round."""
    judged = [line for line in lines if line.mark]
    figure = Figure((10, 0.28 * len(judged) + 0.8), layout="constrained")
    axes, places = figure.subplots(), np.arange(len(judged))
    shares = [share(line.value, line.row.reach) for line in judged]
    axes.barh(places, np.clip(shares, 0, 2), color=[MARKS[line.mark] for line in judged], height=0.7)
    axes.scatter([share(goal_edge(line), line.row.reach) for line in judged], places, marker="|", s=90, color="#333333")
    axes.axvline(1, color="#333333", lw=1)
    axes.set(yticks=places, yticklabels=[line.row.name for line in judged], xlim=(0, 2))
    axes.set_xlabel("reached from 1 on; the short line is the goal")
    axes.tick_params(labelsize=8)
    axes.invert_yaxis()
    return figure


def share(value: float, reach: tuple[float, float]) -> float:
    """1 on the limit, more where it is better."""
    low, high = reach
    if math.isinf(high):
        return value / low
    if math.isinf(low) or low == -high:
        return high / max(abs(value), 1e-3)
    return min(value / low, high / value) if value > 0 else 0.0


def goal_edge(line: Line) -> float:
    low, high = line.row.goal
    return low if math.isinf(high) else high
