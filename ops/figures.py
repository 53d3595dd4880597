"""What a benchmark says: figures with their budgets, as a table, as Markdown and as JSON. Knows nothing of measuring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

COLUMNS = ("what", "measured", "budget", "verdict")
WIDTHS = (66, 14, 28, 12)
DISTURBING_CORES = 0.2
SAME_MACHINE = ("processor", "cores", "weights")  # the dtype is chosen at each start by a race that may go either way


@dataclass(frozen=True)
class Figure:
    """One measured number. `budget` is what it must keep, `goal` what it should reach some day."""

    what: str
    value: float
    unit: str = ""
    budget: float | None = None
    goal: float | None = None
    at_least: bool = False  # the budget is a lower bound

    @property
    def verdict(self) -> str:
        if self.budget is None:
            return ""
        if not self._within(self.budget):
            return "MISSED"
        return "kept" if self.goal is None or not self._within(self.goal) else "goal reached"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The cells of COLUMNS."""
        bound = "at least" if self.at_least else "at most"
        budget = "" if self.budget is None else f"{bound} {amount(self.budget, self.unit)}"
        goal = "" if self.goal is None else f" (goal {self.goal:g})"
        return self.what, amount(self.value, self.unit), budget + goal, self.verdict

    def _within(self, limit: float) -> bool:
        return self.value >= limit if self.at_least else self.value <= limit


@dataclass(frozen=True)
class Failure:
    """A part that could not be measured, and why, in a sentence for a person."""

    why: str


@dataclass(frozen=True)
class Part:
    """What one part found. `command` measures it again."""

    command: str
    measured_at: str
    figures: tuple[Figure, ...]
    failure: Failure | None = None
    others_cores: float = 0.0  # that other programs kept busy when it began

    @property
    def disturbed(self) -> str:
        """A word of warning, or nothing: figures of a busy machine are not the program's."""
        cores = self.others_cores
        return f"other programs kept {cores:g} cores busy: measure again" if cores >= DISTURBING_CORES else ""


@dataclass(frozen=True)
class Report:
    """All that is known of one machine."""

    machine: dict[str, str]
    parts: dict[str, Part]

    def joined(self, newer: Report) -> Report:
        """The newer figures, and of the older ones those that were not measured again on the same machine."""
        same = all(self.machine.get(fact) == newer.machine.get(fact) for fact in SAME_MACHINE)
        older = self.parts if same else {}
        return Report(newer.machine, {**older, **newer.parts})

    def in_order(self, names: Sequence[str]) -> Report:
        return Report(self.machine, {name: self.parts[name] for name in names if name in self.parts})

    def to_json(self) -> dict:
        parts = {name: asdict(part) for name, part in self.parts.items()}
        for name, part in self.parts.items():
            for entry, figure in zip(parts[name]["figures"], part.figures, strict=True):
                entry["verdict"] = figure.verdict
        return {"machine": self.machine, "parts": parts}

    @classmethod
    def from_json(cls, content: dict) -> Report:
        def part(entry: dict) -> Part:
            figures = tuple(Figure(**{k: v for k, v in one.items() if k != "verdict"}) for one in entry["figures"])
            failure = Failure(**entry["failure"]) if entry["failure"] else None
            return Part(entry["command"], entry["measured_at"], figures, failure, entry.get("others_cores", 0.0))

        return cls(content["machine"], {name: part(entry) for name, entry in content["parts"].items()})


def amount(value: float, unit: str) -> str:
    return f"{value:g} {unit}".rstrip()


def line(cells: Iterable[str]) -> str:
    """One line of the table on a terminal."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def markdown(report: Report) -> str:
    """The report for a README: the machine, then one table, each part with the command that measures it."""
    said = ["; ".join(f"{name}: {value}" for name, value in report.machine.items()) + ".", ""]
    said += ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---|---|"]
    for part in report.parts.values():
        said.append(f"| **`{part.command}`** | | | |")
        said += ["| " + " | ".join(_bold_if_missed(figure)) + " |" for figure in part.figures]
        if part.disturbed:
            said.append(f"| {part.disturbed} | | | |")
        if part.failure:
            said.append(f"| not measured: {part.failure.why.replace('|', '/')} | | | |")
    return "\n".join(said)


def _bold_if_missed(figure: Figure) -> tuple[str, ...]:
    cells = figure.row
    return (*cells[:3], f"**{cells[3]}**") if cells[3] == "MISSED" else cells
