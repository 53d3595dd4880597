"""A pool in memory that answers every chunk after a delay by the clock it is given; it draws the chunk's number."""

import asyncio

import numpy as np

from stream.messages import CharacterInfo, PresetInfo

INFO = PresetInfo(
    name="fake", width=64, height=64, fps=25, frames_per_chunk=2, model_rate=16_000, window_samples=16_000,
    lookahead_samples=960, max_batch=4, steps=2, emotions=("neutral", "happy", "sad"),
)  # fmt: skip


class DelayPool:
    def __init__(self, clock, delay_s: float | None = 0.05) -> None:
        self.clock = clock
        self.delay_s = delay_s  # None: silent
        self.info = INFO
        self.characters = {name: CharacterInfo(name, name.title(), "", (name.title(),)) for name in ("ada", "bo")}
        self.characters["duo"] = CharacterInfo("duo", "Duo", "", ("Uma", "Vito"))
        self.places = 4
        self.on_chunk = lambda session, index, frames, stage_s: None
        self.opened: list[tuple[int, str, int, int]] = []
        self.open_now: set[int] = set()
        self.submitted: list = []
        self.emotions: list[tuple] = []  # of each chunk submitted
        self.due: list[float] = []
        self._answers: set[asyncio.Task] = set()

    def capacity(self) -> int:
        return self.places

    def open(self, session: int, character: str, seed: int, chunk_index: int = 0) -> None:
        self.opened.append((session, character, seed, chunk_index))
        self.open_now.add(session)

    def close(self, session: int) -> None:
        self.open_now.discard(session)

    def submit(self, session: int, chunk, emotions: tuple, due: float) -> None:
        self.submitted.append(chunk)
        self.emotions.append(emotions)
        self.due.append(due)
        if self.delay_s is not None:
            answer = asyncio.create_task(self._answer(session, chunk, self.delay_s))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def _answer(self, session: int, chunk, delay_s: float) -> None:
        await self.clock.sleep_until(self.clock.now() + delay_s)
        if session in self.open_now:
            shape = (INFO.frames_per_chunk, INFO.height, INFO.width, 3)
            frames = np.full(shape, chunk.index % 250, np.uint8)
            frames[:, 40, 40] = self.characters[self._character_of(session)].name == "bo"
            self.on_chunk(session, chunk.index, frames, {"denoise": delay_s})

    def _character_of(self, session: int) -> str:
        return next(character for key, character, _, _ in self.opened if key == session)
