"""What generating costs on one core, without a server: the stages of a chunk, and what the cache saves."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Iterator

import numpy as np

from ops.figures import Figure
from ops.voice import RATE_HZ, speech

WARM_UP, ROUNDS = 4, 25
MOST_STEPS = 2  # shown also where fewer are the default
SPOKEN_S = 6.0
HALF_OF_REAL_TIME = 0.5
MORE_PAST = 6  # latent frames


def generation(loader: str, preset: str) -> Iterator[Figure]:
    """Milliseconds of a chunk, stage by stage, and its share of the time it lasts."""
    generator = load(loader, preset)
    info = generator.info
    chunk_ms = 1000 * info["frames_per_chunk"] / info["fps"]
    for batch in (1, 2):
        for steps in range(1, max(MOST_STEPS, info["steps"]) + 1):
            case = f"{batch} session{'s' if batch > 1 else ''}, {steps} step{'s' if steps > 1 else ''}"
            stages = stage_ms(generator, batch, steps)
            for stage, taken_ms in stages.items():
                yield Figure(f"chunk, {case}: {stage}", round(taken_ms, 1), "ms")
            share = round(stages["total"] / chunk_ms, 2)
            decides = steps == info["steps"]  # what is served is held to the budget
            yield Figure(
                f"share of real time on one core, {case}", share, "", batch * HALF_OF_REAL_TIME if decides else None
            )


def stage_ms(generator, batch: int, steps: int) -> dict[str, float]:
    """Medians over many chunks of speech."""
    states = [generator.open(next(iter(generator.characters)), seed, 0) for seed in range(batch)]
    taken: dict[str, list[float]] = {}
    for number, windows in zip(range(WARM_UP + ROUNDS), heard(generator.info, batch), strict=False):
        started = time.perf_counter()
        _, states = generator.step(states, windows[:, None], steps=steps)
        total_s = time.perf_counter() - started
        if number >= WARM_UP:
            for stage, seconds in {**generator.timings, "total": total_s}.items():
                taken.setdefault(stage, []).append(seconds * 1000)
    return {stage: statistics.median(values) for stage, values in taken.items()}


def heard(info: dict, batch: int) -> Iterator[np.ndarray]:
    """Windows of speech, b window_samples, as the server would send them."""
    window, chunk = info["window_samples"], info["frames_per_chunk"] * RATE_HZ // info["fps"]
    sound = np.pad(speech(SPOKEN_S).astype(np.float32) / 32768, (window - chunk, 0))
    for end in range(window, len(sound), chunk):
        yield np.repeat(sound[None, end - window : end], batch, 0)


def load(loader: str, preset: str):
    module, _, name = loader.partition(":")
    return getattr(importlib.import_module(module), name)(preset, threads=1)
