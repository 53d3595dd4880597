"""Two ways to the same result, timed by turns, so that whatever else the machine does meets both alike.

On a processor the calling thread's own time counts, which waits for nobody; it is the whole of it on one thread only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Run = Callable[[], object]
WARM_UP = 2


@dataclass(frozen=True)
class Outcome:
    """Seconds of each round, in the order in which they were run."""

    first_s: tuple[float, ...]
    second_s: tuple[float, ...]

    @property
    def first_ms(self) -> float:
        return 1000 * statistics.median(self.first_s)

    @property
    def second_ms(self) -> float:
        return 1000 * statistics.median(self.second_s)

    @property
    def ratios(self) -> tuple[float, float, float]:
        """How many times as long the second takes as the first, round by round: lower quartile, median, upper quartile."""
        lower, median, upper = statistics.quantiles(
            (b / a for a, b in zip(self.first_s, self.second_s, strict=True)), n=4, method="inclusive"
        )
        return lower, median, upper


def race(first: Run, second: Run, rounds: int, device: torch.device | str = "cpu") -> Outcome:
    """Runs both `rounds` times; who begins changes from round to round."""
    for _ in range(WARM_UP):
        first(), second()
    taken = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            taken[which].append(seconds((first, second)[which], device))
    return Outcome(*map(tuple, taken))


def seconds(run: Run, device: torch.device | str = "cpu") -> float:
    """What one run takes, a GPU's queue included."""
    clock = time.thread_time if torch.device(device).type == "cpu" else time.perf_counter
    finish(device)
    started = clock()
    run()
    finish(device)
    return clock() - started


def finish(device: torch.device | str) -> None:
    """Wait for all that was given to a GPU; a processor has done it already."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
