"""The curves of a training run as a picture: one small panel for each column of a table of them."""

import csv
import logging
import math
from functools import cache
from pathlib import Path

COLUMNS = 3
SMOOTHED_OVER = 10  # rows of the log


def draw_curves(table: Path) -> None:
    """Draws a picture beside the table, if there are rows to draw and matplotlib (the train extra) to draw them with."""
    if not _can_draw() or not table.exists():
        return
    from matplotlib.figure import Figure

    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("step", "minutes")]
    steps = [int(row["step"]) for row in rows]
    lines = math.ceil(len(names) / COLUMNS)
    figure = Figure((4 * COLUMNS, 2.8 * lines), layout="constrained")
    for place, name in enumerate(names, 1):
        panel, values = figure.add_subplot(lines, COLUMNS, place), [float(row[name] or "nan") for row in rows]
        panel.plot(steps, values, color="0.75", linewidth=0.8)
        panel.plot(steps, _smooth(values), color="tab:blue", marker="." if len(steps) < 20 else "")
        panel.set_title(f"{name}: {values[-1]:.4g}", fontsize=10)
        panel.grid(alpha=0.3)
        if 0 < 5 * min(values) < max(values):
            panel.set_yscale("log")
    figure.supxlabel(f"step, {rows[-1]['minutes']} minutes in all", fontsize=9)
    figure.savefig(table.with_suffix(".png"), dpi=90)


def _smooth(values: list[float]) -> list[float]:
    parts = (values[max(0, end - SMOOTHED_OVER) : end] for end in range(1, len(values) + 1))
    return [sum(part) / len(part) for part in parts]


@cache
def _can_draw() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        logging.getLogger(__name__).warning("curves are not drawn: that takes matplotlib (pip install -e '.[train]')")
        return False
    return True
