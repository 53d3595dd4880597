"""A training run on disk: checkpoints that resume, a log of curves, a budget of minutes. Knows nothing of models."""

import csv
import json
import logging
import os
import time
from pathlib import Path

import torch

log = logging.getLogger(__name__)


class Run:
    """`runs/<stage>/`: checkpoint.pt (weights, optimiser, step), curves.csv and samples."""

    def __init__(self, folder: str | Path, minutes: float, log_every: int = 50, save_every: int = 200) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.budget_s, self.log_every, self.save_every = minutes * 60, log_every, save_every
        self.step, self.spent_s = 0, 0.0
        self._sums: dict[str, float] = {}
        self._count = 0
        self._started = time.monotonic()

    def resume(self, **parts) -> None:
        """Load the state of modules and optimisers from the last checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            saved = torch.load(path, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            self.step, self.spent_s = saved["step"], saved["spent_s"]
            log.info("resumed %s at step %d", self.folder, self.step)

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 … 1."""
        return min(1.0, (self.spent_s + time.monotonic() - self._started) / self.budget_s)

    @property
    def finished(self) -> bool:
        return self.progress >= 1

    def record(self, parts: dict, **values: float) -> bool:
        """After each step: averages for the log and, when due, a checkpoint of `parts`. True on logging steps."""
        self.step += 1
        self._count += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        if self.step % self.save_every == 0:
            self.save(parts)
        if self.step % self.log_every:
            return False
        row = {"step": self.step, "minutes": round(self.progress * self.budget_s / 60, 2)}
        row |= {name: round(total / self._count, 5) for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        self._append(row)
        log.info("%s %s", self.folder.name, json.dumps(row))
        return True

    def save(self, parts: dict) -> None:
        """Written beside and renamed: a run killed at any moment keeps its last checkpoint."""
        path = self.folder / "checkpoint.pt"
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"step": self.step, "spent_s": self.spent_s + time.monotonic() - self._started}
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def _append(self, row: dict) -> None:
        path = self.folder / "curves.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def learning_rate(progress: float, peak: float, warm: float = 0.02, floor: float = 0.05) -> float:
    """Linear warm-up, then a cosine down to `floor` times the peak, over the run's budget."""
    if progress < warm:
        return peak * (progress / warm + 0.01)
    x = (progress - warm) / (1 - warm)
    return peak * (floor + (1 - floor) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * x)))))


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value
