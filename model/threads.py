"""How many arithmetic threads make a chunk in time.

One does where a processor has bfloat16 instructions, and more would only keep others from computing. Without these a core
may take longer over a chunk than the chunk lasts; then several work on it, but never more than half of the cores: the
server, the browser, and who else is there want some.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from model.live import Live
from model.machine import cores

ENOUGH = 0.6  # of the time that a chunk lasts: what is left is for sound, codecs, and moments in which others compute
ROUNDS, WARM = 6, 2


def use_enough(generator: Live) -> None:
    """Settles for this process how many threads compute."""
    lasts_s = generator.preset.audio.frames_per_chunk / generator.preset.fps

    def chunk_s(threads: int) -> float:
        torch.set_num_threads(threads)
        return _chunk_s(generator)

    torch.set_num_threads(enough(chunk_s, ENOUGH * lasts_s, cores() // 2))


def enough(chunk_s: Callable[[int], float], wanted_s: float, most: int) -> int:
    """The fewest threads, doubled each time, with which a chunk takes no longer than wanted; else the quickest number."""
    if most < 2:
        return 1  # where there is no choice nothing need be measured
    taken: dict[int, float] = {}
    threads = 1
    while threads <= most:
        taken[threads] = chunk_s(threads)
        if taken[threads] <= wanted_s:
            return threads
        threads *= 2
    return min(taken, key=taken.__getitem__)


def _chunk_s(generator: Live) -> float:
    """The fastest of some chunks of somebody alone: what disturbs a measurement only adds."""
    name, who = next(iter(generator.characters.items()))
    silence = np.zeros((len(who.faces), generator.preset.audio.window_samples), np.float32)
    state, taken = generator.open(name, 0), []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        _, (state,) = generator.step([state], [silence])
        taken.append(time.perf_counter() - started)
    return min(taken[WARM:])
