"""The table of the scores: as data, and as text for people. Measures nothing."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.evaluation.people import CAST, STRANGERS
from model.evaluation.rows import SIDES, Material, Row
from model.evaluation.takes import JAW, MADE, PASSED, TRUE


@dataclass(frozen=True)
class Line:
    """One row with its values for groups and sides."""

    row: Row
    values: dict[str, dict[str, float]]  # group -> side -> value

    @property
    def value(self) -> float:
        """What counts: strangers, or the cast where no stranger was measured."""
        made = [self.values[group][MADE] for group in (STRANGERS, CAST) if group in self.values]
        return next((value for value in made if not math.isnan(value)), math.nan)

    @property
    def mark(self) -> str:
        return self.row.mark(self.value)

    def cells(self) -> list[str]:
        """Name, thresholds, the mark, generated strangers and cast, then what strangers are compared with."""

        def shown(group: str, side: str) -> str:
            return number(self.values.get(group, {}).get(side, math.nan))

        main = STRANGERS if STRANGERS in self.values else CAST
        compared = [shown(main, side) for side in (JAW, TRUE, PASSED)]
        unit = f" ({self.row.unit})" if self.row.unit else ""
        return [
            self.row.name + unit, limits(self.row.reach), limits(self.row.goal), self.mark,
            shown(STRANGERS, MADE), shown(CAST, MADE), *compared,
        ]  # fmt: skip


HEADER = (
    "score", "must reach", "goal", "mark", "strangers", "cast", "loudness only", "instrument on true pictures",
    "true, through the autoencoder",
)  # fmt: skip


def lines_of(rows: Sequence[Row], groups: Mapping[str, Material]) -> list[Line]:
    def value(row: Row, group: str, side: str) -> float:
        material = groups[group]
        return row.measure(material, side) if material.speech else math.nan

    return [Line(row, {g: {side: value(row, g, side) for side in SIDES} for g in groups}) for row in rows]


def by_kind(rows: Sequence[Row], kinds: Mapping[str, Material]) -> list[list[str]]:
    """Rows with thresholds, one column for each kind of stranger: of those scores that speech alone gives."""
    table = [["score", *kinds]]
    for row in (row for row in rows if row.reach):
        values = [row.measure(material, MADE) for material in kinds.values()]
        if not all(map(math.isnan, values)):
            table.append([row.name, *map(number, values)])
    return table


def number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def limits(between: tuple[float, float] | None) -> str:
    if between is None:
        return ""
    low, high = between
    if math.isinf(high):
        return f"≥ {low:g}"
    if math.isinf(low):
        return f"≤ {high:g}"
    return f"± {high:g}" if low == -high else f"{low:g} – {high:g}"


def markdown(about: Mapping[str, str], lines: Sequence[Line], kinds: Sequence[Sequence[str]]) -> str:
    parts = ["# Scores", "", *(f"- {name}: {text}" for name, text in about.items()), ""]
    parts += _table([HEADER, *(line.cells() for line in lines)])
    if len(kinds) > 1:
        parts += ["", "Strangers by kind:", "", *_table(kinds)]
    return "\n".join(parts) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|" + " --- |" * len(rows[0]), *rest]


def write_scores(folder: Path, about: Mapping[str, str], lines: Sequence[Line], kinds: Sequence[Sequence[str]]) -> None:
    """scores.json and scores.md."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else round(float(value), 4)

    scores = {
        line.row.name: {
            "unit": line.row.unit, "must_reach": limits(line.row.reach), "goal": limits(line.row.goal),
            "mark": line.mark, "value": plain(line.value),
        } | {group: {side: plain(value) for side, value in sides.items()} for group, sides in line.values.items()}
        for line in lines
    }  # fmt: skip
    told = {"about": dict(about), "scores": scores, "kinds": [list(row) for row in kinds]}
    (folder / "scores.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    (folder / "scores.md").write_text(markdown(about, lines, kinds))
