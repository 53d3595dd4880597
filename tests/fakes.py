"""A light generator in place of the model: discs for faces that sway, each with a mouth as open as its sound is loud.

An emotion tilts and lifts the brows and tints the wall behind its face.
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

PICTURES = Path(__file__).parent.parent / "model" / "characters"
SIZE, CHUNK, LOOKAHEAD, WINDOW = 256, 1280, 960, 16_000
MOUTH_ROWS = slice(150, 200)
ROSE, BROWN, WALL = (236, 188, 160), (150, 102, 74), (214, 222, 230)
LOOKS = {  # brows: tilt towards the nose, rows they rise; colour of the wall at full intensity
    "neutral": (0.0, 0, WALL),
    "happy": (0.25, 8, (250, 222, 130)),
    "sad": (0.7, 2, (140, 165, 205)),
    "angry": (-0.8, -5, (226, 120, 105)),
    "surprised": (0.0, 16, (190, 160, 225)),
}
UNOPENABLE, UNSTEPPABLE = 404, 500  # seeds of sessions that this generator fails on


@dataclass(frozen=True)
class FakeCharacter:
    name: str
    title: str
    picture: str
    faces: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]  # of each face


@dataclass(frozen=True)
class FakeState:
    character: FakeCharacter
    seed: int
    chunk_index: int


class FakeGenerator:
    info = {
        "name": "fake", "width": SIZE, "height": SIZE, "fps": 25, "frames_per_chunk": 2, "model_rate": 16_000,
        "window_samples": WINDOW, "lookahead_samples": LOOKAHEAD, "max_batch": 4, "steps": 2,
        "emotions": tuple(LOOKS),
    }  # fmt: skip

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self.characters = {
            "ada": FakeCharacter("ada", "Ada", str(PICTURES / "ada" / "picture.png"), ("Ada",), (ROSE,)),
            "bo": FakeCharacter("bo", "Bo", str(PICTURES / "bo" / "picture.png"), ("Bo",), (BROWN,)),
            "duo": FakeCharacter("duo", "Duo", str(PICTURES / "ines" / "picture.png"), ("Uma", "Vito"), (ROSE, BROWN)),
        }

    def open(self, character: str, seed: int, chunk_index: int) -> FakeState:
        if seed == UNOPENABLE:
            raise ValueError("this seed cannot be opened")
        return FakeState(self.characters[character], seed, chunk_index)

    def learn(self, folder: Path) -> FakeCharacter:
        if not (folder / "picture.png").is_file():
            raise ValueError(f"{folder.name} has no picture")
        title = (folder / "title.txt").read_text()
        self.characters[folder.name] = FakeCharacter(folder.name, title, str(folder / "picture.png"), (title,), (ROSE,))
        return self.characters[folder.name]

    def forget(self, name: str) -> None:
        self.characters.pop(name, None)

    def at(self, state: FakeState, chunk_index: int) -> FakeState:
        return replace(state, chunk_index=chunk_index)

    def step(self, states: list[FakeState], sounds: list, emotions: list, steps: int) -> tuple[np.ndarray, list]:
        started = time.perf_counter()
        if any(state.seed == UNSTEPPABLE for state in states):
            raise ValueError("this seed cannot be stepped")
        frames = np.empty((len(states), 2, SIZE, SIZE, 3), np.uint8)
        for place, (state, windows, felt) in enumerate(zip(states, sounds, emotions, strict=True)):
            assert len(windows) == len(felt) == len(state.character.faces)
            chunk = windows[:, WINDOW - LOOKAHEAD - CHUNK : WINDOW - LOOKAHEAD].reshape(len(windows), 2, -1)
            for frame, levels in enumerate(np.sqrt((chunk**2).mean(2)).T):
                frames[place, frame] = self._draw(state, 2 * state.chunk_index + frame, levels, felt)
        self.timings = {"features": 0.0, "denoise": time.perf_counter() - started, "decode": 0.0}
        return frames, [replace(state, chunk_index=state.chunk_index + 1) for state in states]

    def _draw(self, state: FakeState, index: int, levels: np.ndarray, emotions: tuple) -> np.ndarray:
        picture = np.empty((SIZE, SIZE, 3), np.uint8)
        width = SIZE // len(levels)
        for face, (level, (name, intensity)) in enumerate(zip(levels, emotions, strict=True)):
            own = picture[:, face * width : (face + 1) * width]
            self._draw_face(own, index + 31 * face, state.character.colours[face], float(level), LOOKS[name], intensity)
        return picture

    def _draw_face(self, picture, index: int, colour, level: float, look: tuple, intensity: float) -> None:
        tilt, rise, wall = look
        picture[:] = np.array(WALL) + (np.array(wall) - WALL) * intensity
        rows = np.arange(SIZE)[:, None] - SIZE / 2
        columns = np.linspace(-SIZE / 2, SIZE / 2, picture.shape[1])[None] - 4 * np.sin(index / 20)
        picture[rows**2 / 95**2 + columns**2 / 75**2 < 1] = colour
        for side in (-28, 28):
            picture[(rows + 20) ** 2 + (columns - side) ** 2 < 64] = (40, 40, 50)
            inward = (columns - side) * -np.sign(side)  # towards the nose
            brow = np.abs(rows + 40 + intensity * (rise + tilt * inward)) < 3
            picture[brow & (np.abs(columns - side) < 16)] = (60, 44, 40)
        height = 1.5 + 22 * min(1.0, level / 0.15)
        picture[(rows - 46) ** 2 / height**2 + columns**2 / 26**2 < 1] = (70, 20, 30)


def load(preset: str, threads: int = 1) -> FakeGenerator:
    return FakeGenerator()


class FakeFit:
    def plain(self) -> dict:
        return {"picture": 3.0, "face": 11.0, "needed": 12.0, "needed_in_face": 18.0, "holds": False}


class NotHeld(ValueError):
    fit = FakeFit()


def prepare(
    generator: FakeGenerator, portrait: bytes, name: str, title: str, faces: str | None, anyway: bool, folder: Path, tell
) -> dict:
    """Every byte string is a picture, but for some that begin with the name of a trouble."""
    if portrait.startswith(b"no picture"):
        raise ValueError("this is no picture that can be read")
    tell("faces")
    if portrait.startswith(b"bug"):
        raise RuntimeError("a bug")
    if portrait.startswith(b"death"):
        os.kill(os.getpid(), signal.SIGKILL)
    if portrait.startswith(b"slow"):
        time.sleep(1.0)
    if portrait.startswith(b"photograph") and not anyway:
        raise NotHeld("the model cannot hold this picture")
    tell("writing")
    (folder / name).mkdir(parents=True)
    (folder / name / "title.txt").write_text(title)
    (folder / name / "picture.png").write_bytes(portrait)
    return {"picture": 51.0, "face": 60.0, "needed": 12.0, "needed_in_face": 18.0, "holds": True}
