"""A light generator in place of the model: a face-like disc that sways, its mouth as open as the last chunk is loud."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

PICTURES = Path(__file__).parent.parent / "model" / "characters"
SIZE, CHUNK, LOOKAHEAD, WINDOW = 256, 1280, 960, 16_000
MOUTH_ROWS = slice(150, 200)
UNOPENABLE, UNSTEPPABLE = 404, 500  # seeds of sessions that this generator fails on


@dataclass(frozen=True)
class FakeCharacter:
    name: str
    title: str
    picture: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class FakeState:
    character: FakeCharacter
    seed: int
    chunk_index: int


class FakeGenerator:
    info = {
        "name": "fake", "width": SIZE, "height": SIZE, "fps": 25, "frames_per_chunk": 2, "model_rate": 16_000,
        "window_samples": WINDOW, "lookahead_samples": LOOKAHEAD, "max_batch": 4, "steps": 2,
    }  # fmt: skip

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self.characters = {
            "ada": FakeCharacter("ada", "Ada", str(PICTURES / "ada" / "picture.png"), (236, 188, 160)),
            "bo": FakeCharacter("bo", "Bo", str(PICTURES / "bo" / "picture.png"), (150, 102, 74)),
        }
        rows, columns = np.mgrid[:SIZE, :SIZE]
        self._rows, self._columns = rows - SIZE / 2, columns - SIZE / 2

    def open(self, character: str, seed: int, chunk_index: int) -> FakeState:
        if seed == UNOPENABLE:
            raise ValueError("this seed cannot be opened")
        return FakeState(self.characters[character], seed, chunk_index)

    def at(self, state: FakeState, chunk_index: int) -> FakeState:
        return replace(state, chunk_index=chunk_index)

    def step(self, states: list[FakeState], windows: np.ndarray, steps: int) -> tuple[np.ndarray, list[FakeState]]:
        started = time.perf_counter()
        if any(state.seed == UNSTEPPABLE for state in states):
            raise ValueError("this seed cannot be stepped")
        frames = np.empty((len(states), 2, SIZE, SIZE, 3), np.uint8)
        for place, (state, window) in enumerate(zip(states, windows, strict=True)):
            chunk = window[WINDOW - LOOKAHEAD - CHUNK : WINDOW - LOOKAHEAD].reshape(2, -1)
            for frame, level in enumerate(np.sqrt((chunk**2).mean(1))):
                frames[place, frame] = self._draw(state, 2 * state.chunk_index + frame, float(level))
        self.timings = {"features": 0.0, "denoise": time.perf_counter() - started, "decode": 0.0}
        return frames, [replace(state, chunk_index=state.chunk_index + 1) for state in states]

    def _draw(self, state: FakeState, index: int, level: float) -> np.ndarray:
        picture = np.full((SIZE, SIZE, 3), (214, 222, 230), np.uint8)
        columns = self._columns - 4 * np.sin(index / 20)
        picture[self._rows**2 / 95**2 + columns**2 / 75**2 < 1] = state.character.colour
        for side in (-28, 28):
            picture[(self._rows + 20) ** 2 + (columns - side) ** 2 < 64] = (40, 40, 50)
        height = 1.5 + 22 * min(1.0, level / 0.15)
        picture[(self._rows - 46) ** 2 / height**2 + columns**2 / 26**2 < 1] = (70, 20, 30)
        return picture


def load(preset: str, threads: int = 1) -> FakeGenerator:
    return FakeGenerator()
