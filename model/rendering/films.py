"""A list of films: what is there stays, what can be made is made, and what cannot is said. Knows nothing of networks."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from model.rendering.film import Film, note_of
from model.rendering.problems import Problem, writing
from model.rendering.recording import Recording, read_recording
from model.rendering.rows import Row
from model.rendering.unfinished import Unfinished

BAR = "{desc} {percentage:3.0f}% |{bar:24}| {elapsed}, {remaining} left"
UNWATCHED_BAR_S = 30.0  # between two lines where nobody sees the bar move


class Engine(Protocol):
    settings: object  # with a repr that tells films apart

    def prepare(self, row: Row, recording: Recording) -> Sequence[str]:
        """Called for every row before the first film is made. Returns what its owner should know of it.

        Raises ValueError for a row that cannot be made."""

    def pictures(
        self, row: Row, recording: Recording, unfinished: Unfinished, progress: Callable[[float], None]
    ) -> Iterator[np.ndarray]:
        """Pieces f H W 3 uint8; tells `progress` the share that is done. Raises ValueError, and CannotGoOn."""


@dataclass(frozen=True)
class Order:
    """A film to be made."""

    row: Row
    path: Path
    note: str


def render(rows: Sequence[Row | Problem], engine: Engine, path_of: Callable[[Row], Path]) -> list[Problem]:
    """Makes every film that is not there yet. Returns what could not be made. Raises CannotGoOn."""
    problems: list[Problem] = []

    def refuse(problem: Problem) -> None:
        problems.append(problem)
        say(f"{problem.name}: {problem.message}")

    orders = []
    for row in rows:
        try:
            if isinstance(row, Problem):
                refuse(row)
            elif order := ordered(row, engine, path_of(row)):
                orders.append(order)
        except ValueError as problem:
            refuse(Problem(row.name, str(problem)))
    for number, order in enumerate(orders, 1):
        try:
            make(order, engine, f"{order.row.name} ({number} of {len(orders)})")
        except ValueError as problem:
            refuse(Problem(order.row.name, str(problem)))
    return problems


def ordered(row: Row, engine: Engine, path: Path) -> Order | None:
    """None where the film is there. Raises ValueError where it cannot be made, or another one is in its place."""
    order = Order(row, path, note(row, engine.settings))
    if path.exists():
        if note_of(path) != order.note:
            raise ValueError(f"{path} is there, and was made otherwise: delete it, or choose another --out")
        say(f"{row.name}: {path} is there already")
        return None
    recording = read_recording(row.audio)
    remarks = list(engine.prepare(row, recording))
    if recording.silent:
        remarks.append(f"the recording {row.audio} is silent; the mouth will rest")
    for remark in remarks:
        say(f"{row.name}: {remark}")
    return order


def make(order: Order, engine: Engine, title: str) -> None:
    row, path = order.row, order.path
    recording = read_recording(row.audio)
    unfinished = Unfinished(path.with_name(path.name + ".unfinished"), order.note)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    pause_s = 0.1 if sys.stderr.isatty() else UNWATCHED_BAR_S
    with (
        Film(path, row.fps, recording.pcm_48k, order.note) as film,
        tqdm(total=1.0, desc=title, bar_format=BAR, mininterval=pause_s) as bar,
    ):
        for pictures in engine.pictures(row, recording, unfinished, lambda share: bar.update(share - bar.n)):
            film.add(pictures)
    unfinished.drop()
    say(f"{row.name}: {film.seconds:.2f} s in {path}")


def note(row: Row, settings: object) -> str:
    """A fingerprint of everything that a film depends on."""
    parts = asdict(row) | {"settings": repr(settings)}
    for name in ("audio", "image"):
        if path := parts[name]:
            parts[name] = file_hash(path)
    return "visavis " + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise ValueError(f"cannot read {path}: {problem.strerror}") from problem


def say(line: str) -> None:
    """Past the progress bar, not through it."""
    tqdm.write(line, file=sys.stderr)
