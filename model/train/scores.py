"""The table at the end of a stage: how good the result is, what it took, and on which machine."""

import json
import logging
from pathlib import Path

from model.machine import hardware


def write_scores(folder: Path, scores: dict[str, float], took: dict[str, float]) -> None:
    """scores.json for programs and scores.md for people."""
    found = {"scores": scores, "took": took, "machine": hardware()}
    (folder / "scores.json").write_text(json.dumps(found, indent=1) + "\n")
    table = ["| | |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in (scores | took).items())]
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    (folder / "scores.md").write_text("\n".join([f"# {folder.name}", "", *table, "", f"Measured on: {machine}."]) + "\n")
    for name, value in (scores | took).items():
        logging.getLogger(__name__).info("%-58s %10.4g", name, value)
