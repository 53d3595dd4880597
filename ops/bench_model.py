"""What generating costs on one core, without a server: the stages of a chunk, and what the cache saves."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from model.dit import Conditions, DiT
from model.generator import Generator
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


def cache(loader: str, preset: str) -> Iterator[Figure]:
    """One latent frame by the causal stream, against running its whole past through the network at every step."""
    generator = load(loader, preset)
    if not isinstance(generator, Generator):
        raise RuntimeError("this loader brings no transformer to compare; leave --loader out")
    for past in (generator.preset.dit.causal_window, MORE_PAST):
        generator = with_past(generator, past)
        cached_ms = stage_ms(generator, 1, generator.preset.steps)["denoise"]
        whole_ms = recompute_ms(generator)
        yield Figure(f"denoise with cache, {past} past latent frames", round(cached_ms, 1), "ms")
        yield Figure(f"denoise, all {past + 1} latent frames again", round(whole_ms, 1), "ms")
        yield Figure(f"cache against recomputing, {past} past latent frames", round(whole_ms / cached_ms, 2), "times")


def with_past(generator: Generator, frames: int) -> Generator:
    """The same weights, hearing and pictures, with another length of memory: no weight depends on it."""
    config = replace(generator.preset.dit, causal_window=frames)
    dit = DiT(config)
    dit.load_state_dict(generator.dit.state_dict())
    preset = replace(generator.preset, dit=config)
    return Generator(
        preset, generator.audio, dit, generator.vae, generator.characters, generator.motion_strength, generator.dtype
    )


@torch.inference_mode()
def recompute_ms(generator: Generator) -> float:
    """The forward pass over window and new frame, as often as a chunk has steps."""
    config, dtype = generator.preset.dit, generator.dtype
    frames = config.causal_window + 1
    character = next(iter(generator.characters.values()))
    reference = character.ref_latents[None, :, None].to(dtype)
    windows = torch.from_numpy(next(heard(generator.info, 1)))
    prompts = generator.audio.prompts(windows).to(dtype).repeat(1, frames, 1, 1, 1)
    still = torch.full((1, frames, 4), 30.0)
    on = Conditions(
        timestep=torch.tensor([[0.0] * (frames - 1) + [1000.0]]),
        motion_exp=still,
        motion_pose=still,
        fps=torch.full((1,), float(generator.preset.fps)),
        text_states=torch.zeros(1, 1, config.text_states_dim, dtype=dtype),
        text_mask=torch.ones(1, 1, dtype=torch.long),
        text_states_2=torch.zeros(1, config.text_states_dim_2, dtype=dtype),
        ref_latents=reference,
        audio_prompts=prompts,
        face_mask=character.face_mask(),
    )
    x = torch.randn(1, config.in_channels, frames, *reference.shape[-2:]).to(dtype)

    def chunk() -> None:
        for _ in range(generator.preset.steps):
            generator.dit(x, on)

    return median_ms(chunk)


def median_ms(run: Callable[[], None]) -> float:
    taken = []
    for _ in range(WARM_UP + ROUNDS):
        started = time.perf_counter()
        run()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken[WARM_UP:])


def load(loader: str, preset: str):
    module, _, name = loader.partition(":")
    return getattr(importlib.import_module(module), name)(preset, threads=1)
