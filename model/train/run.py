"""A training run on disk: checkpoints that resume to the same result, curves, scores. Knows nothing of models.

A run counts steps, and all that changes in it depends on the step alone: its schedules on step / steps, what a step draws
on (seed, step). So a run that was killed and started again ends with the weights of one that was not.
"""

import csv
import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from model.train.curves import draw_curves
from model.train.scores import write_scores

log = logging.getLogger(__name__)

LOG_EVERY = 50
MAY_CHANGE = ("save_every", "threads", "device")  # under a run; the last two only nearly lead to the same weights


class Plan(Protocol):
    """What a run must know of its stage's settings, which are a dataclass."""

    out: Path
    steps: int
    seed: int
    save_every: int


class Run:
    """`runs/<stage>/`: checkpoint.pt (weights, optimiser, step), curves.csv, held_out.csv, pictures of both, scores."""

    def __init__(self, plan: Plan, **data: int | float | str) -> None:
        """`data` are figures of what is learned from; like the settings, they must not change under a run."""
        self.folder, self.steps, self.seed, self.save_every = plan.out, plan.steps, plan.seed, plan.save_every
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {name: value for name, value in asdict(plan).items() if name not in MAY_CHANGE}
        self._told = data | {name: value for name, value in told.items() if not isinstance(value, Path)}
        self.step, self.spent_s = 0, 0.0
        self._sums: dict[str, float] = {}
        self._count = 0
        self._started = time.monotonic()

    def resume(self, **parts) -> None:
        """Load the state of modules, optimisers and pools from the last checkpoint, if there is one.

        Raises ValueError where that run was told something else."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        saved = torch.load(path, weights_only=True, map_location="cpu")
        other = {name for name in saved["told"].keys() | self._told if saved["told"].get(name) != self._told.get(name)}
        if other:
            was = ", ".join(f"{name} {saved['told'].get(name)!r}, now {self._told.get(name)!r}" for name in sorted(other))
            raise ValueError(f"{self.folder} was begun with {was}: choose another --out, or remove it")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        self.step, self.spent_s, self._sums, self._count = (saved[name] for name in ("step", "spent_s", "sums", "count"))
        log.info("resumed %s at step %d of %d", self.folder, self.step, self.steps)

    @property
    def progress(self) -> float:
        """Share of the steps that are done, 0 … 1."""
        return min(1.0, self.step / self.steps)

    @property
    def finished(self) -> bool:
        return self.step >= self.steps

    def rng(self) -> np.random.Generator:
        """What this step draws with; torch's own generators are set too. All of it follows from (seed, step)."""
        rng = np.random.default_rng((self.seed, self.step))
        torch.manual_seed(int(rng.integers(2**62)))
        return rng

    def record(self, parts: dict, **values: float) -> bool:
        """After each step: averages for the log and, when due, a checkpoint of `parts`. True when one was written."""
        self.step += 1
        self._count += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        if self.step % LOG_EVERY == 0 or self.finished:
            self._log()
        if self.step % self.save_every and not self.finished:
            return False
        self._save(parts)
        draw_curves(self.folder / "curves.csv")
        return True

    def note(self, scores: dict[str, float]) -> None:
        """How good it is now, on what nothing is learned from."""
        row = {name: round(value, 4) for name, value in scores.items()}
        self._append("held_out.csv", {"step": self.step, "minutes": round(self.spent_s / 60, 2)} | row)
        draw_curves(self.folder / "held_out.csv")
        log.info("%s, step %d: %s", self.folder.name, self.step, json.dumps(row))

    def report(self, scores: dict[str, float]) -> None:
        """The run's last word: how good it is, what it took."""
        self.note(scores)
        took = {"steps": self.step, "seconds a step": self.spent_s / max(1, self.step), "hours": self.spent_s / 3600}
        write_scores(self.folder, scores, took)

    def _log(self) -> None:
        row = {"step": self.step, "minutes": round(self._so_far_s() / 60, 2)}
        row |= {name: round(total / self._count, 5) for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self._append("curves.csv", row)
        log.info("%s %s", self.folder.name, json.dumps(row))

    def _so_far_s(self) -> float:
        now = time.monotonic()
        self.spent_s, self._started = self.spent_s + now - self._started, now
        return self.spent_s

    def _save(self, parts: dict) -> None:
        """Written beside and renamed: a run killed at any moment keeps its last checkpoint."""
        path = self.folder / "checkpoint.pt"
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"step": self.step, "spent_s": self._so_far_s(), "told": self._told}
        state |= {"sums": self._sums, "count": self._count}
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def _append(self, table: str, row: dict) -> None:
        """A step that is done again after a kill takes the place of what was written of it before."""
        path, rows = self.folder / table, []
        if path.exists():
            with path.open(newline="") as file:
                rows = [old for old in csv.DictReader(file) if int(old["step"]) < row["step"]]
        with path.with_suffix(".new").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*rows, row])
        os.replace(path.with_suffix(".new"), path)


def trained(checkpoint: Path, part: str) -> dict[str, torch.Tensor]:
    """The state of one part of a run's checkpoint, finished or not, wherever it was trained. Of the file only that part is
    read: beside it lie optimisers and films."""
    return torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)[part]


def learning_rate(progress: float, peak: float, warm: float = 0.02, floor: float = 0.05) -> float:
    """Linear warm-up, then a cosine down to `floor` times the peak, over the run's steps."""
    if progress < warm:
        return peak * (progress / warm + 0.01)
    x = (progress - warm) / (1 - warm)
    return peak * (floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * x)))))
