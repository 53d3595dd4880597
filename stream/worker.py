"""The process that owns a device: receives messages, steps the generator, answers. The only file here near tensors.

The generator comes from a dotted name, so that nothing of `model/` is imported outside a worker.
"""

import importlib
import logging
import multiprocessing
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from stream import heap
from stream.frames import FrameRing
from stream.messages import (
    NEUTRAL,
    Attach,
    CharacterInfo,
    ChunkJob,
    ChunkResult,
    Close,
    Decoder,
    Done,
    Failed,
    Forget,
    Learn,
    NotPrepared,
    Open,
    Place,
    Prepare,
    Prepared,
    Preparing,
    PresetInfo,
    Ready,
    Step,
    Stop,
    Unusable,
    encode,
)

log = logging.getLogger(__name__)

ALONE = Place()
WARM_UP_ROUNDS = 3
RECEIVE_BYTES = 1 << 18


def run(
    connection: socket.socket, loader: str, preset: str, threads: int, characters: str | None = None,
    choices: dict[str, str] | None = None, place: Place = ALONE,
) -> None:  # fmt: skip
    """Serve until told to stop or until the server is gone.

    The ranks of a worker all get the same messages in the same order, so all make the same steps; the first one answers."""
    with suppress(OSError):  # what ps and top show; not every system has it
        Path("/proc/self/comm").write_text(multiprocessing.current_process().name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which then stops us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    heap.keep()
    heap.wake()
    with connection, suppress(EOFError, ConnectionError):  # the server is gone: so are we
        channel = Channel(connection) if place.rank == 0 else Following(connection)
        serve(channel, loader, preset, threads, characters, (choices or {}) | ({"place": place} if place.size > 1 else {}))


def serve(channel: "Channel", loader: str, preset: str, threads: int, characters: str | None, choices: dict) -> None:
    """`characters` is a folder of the user's own, besides those that the model brings."""
    try:
        worker = Worker(_named(loader)(preset, threads, **choices), choices.get("place", ALONE))
        worker.learn_all(characters)
        if not worker.generator.characters:
            raise ValueError(f"there is nobody to show: make a character for {preset} with server.py prepare")
        ready = worker.warm_up()
    except Exception as problem:
        channel.send(Unusable(f"{type(problem).__name__}: {problem}"))
        raise SystemExit(1) from problem
    channel.send(ready)
    while True:
        match channel.receive():
            case Step() as step:
                channel.send(worker.step(step))
            case Open() as wish:
                if failure := worker.open(wish):
                    channel.send(failure)
            case Close(session):
                worker.states.pop(session, None)
            case Attach(ring):
                worker.attach(ring)
            case Prepare() as wish:
                # Its parts hold the interpreter for milliseconds at most, so that chunks are made meanwhile.
                maker = ":prepare_drawn" if wish.drawn else ":prepare"
                arguments = (_named(loader.partition(":")[0] + maker), wish, channel.send)
                threading.Thread(target=worker.prepare, args=arguments, name="prepare", daemon=True).start()
            case Learn(folder):
                worker.learn(Path(folder))
            case Forget(character):
                worker.generator.forget(character)
            case Stop():
                return


class Channel:
    """The worker's end of the stream of messages; here waiting is all there is to do."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = Decoder()
        self._received: deque = deque()
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        with self._sending:
            self._connection.sendall(encode(message))

    def receive(self) -> object:
        """Raises EOFError when the other end is closed."""
        while not self._received:
            received = self._connection.recv(RECEIVE_BYTES)
            if not received:
                raise EOFError
            self._received.extend(self._decoder.push(received))
        return self._received.popleft()


class Following(Channel):
    """The end of a rank that is not the first: it says whether it serves, and else nothing."""

    def send(self, message: object) -> None:
        if isinstance(message, Ready | Unusable):
            super().send(message)


def _named(dotted: str) -> Callable:
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)


class Worker:
    def __init__(self, generator, place: Place = ALONE) -> None:
        self.generator, self.place = generator, place
        self.info = PresetInfo(**generator.info)
        self.ring: FrameRing | None = None
        self.states: dict[int, object] = {}

    def attach(self, ring: str) -> None:
        """Where pictures go to; of several ranks only the first one's are shown."""
        if self.place.rank == 0:
            self.ring = FrameRing(self.info, name=ring)

    def warm_up(self) -> Ready:
        """First steps are slow, and what a step costs decides how many sessions are let in."""
        costs = [self._cost_s(1, steps) for steps in range(1, self.info.steps + 1)]
        share_of_more = 1.0
        if self.info.max_batch > 1:
            share_of_more = min(1.0, max(0.1, self._cost_s(2, 1) / costs[0] - 1))
        # What a character needs once is done now, not in somebody's first second.
        for name in self.generator.characters:
            self.generator.open(name, 0, 0)
        people = self.generator.characters.values()
        characters = tuple(map(_info, people))
        return Ready(self.info, characters, tuple(costs), share_of_more)

    def _cost_s(self, size: int, steps: int) -> float:
        """Seconds of a batch of so many chunks: the fastest of some, since what disturbs a measurement only adds."""
        name = next(iter(self.generator.characters))
        states = [self.generator.open(name, seed, 0) for seed in range(size)]
        faces = len(self.generator.characters[name].faces)
        silence = [np.zeros((faces, self.info.window_samples), np.float32)] * size
        neutral = [(NEUTRAL,) * faces] * size
        taken = []
        for _ in range(WARM_UP_ROUNDS):
            started = time.monotonic()
            _, states = self.generator.step(states, silence, neutral, steps)
            taken.append(time.monotonic() - started)
        return min(taken)

    def learn_all(self, folder: str | None) -> None:
        """Every character in there that this model can show; a hidden folder is one that is being written."""
        if folder and Path(folder).is_dir():
            for place in sorted(place for place in Path(folder).iterdir() if place.is_dir() and place.name[0] != "."):
                self.learn(place)

    def learn(self, folder: Path) -> None:
        """What cannot be used is told to the log, and left out."""
        try:
            self.generator.learn(folder)
        except ValueError as problem:
            log.warning("a character is left out: %s", problem)
        except Exception:  # nobody foresaw such damage, and it is no reason for all others to be gone
            log.exception("character %s is left out", folder.name)

    def prepare(self, prepare: Callable, wish: Prepare, send: Callable[[object], None]) -> None:
        """Runs beside the loop, in a thread of its own."""
        folder = Path(wish.folder)

        def tell(stage: str) -> None:
            send(Preparing(wish.job, stage))

        try:
            about = (wish.replaces,) if wish.drawn else (wish.title, wish.faces, wish.anyway)
            fit = prepare(self.generator, wish.portrait, wish.name, *about, folder, tell) or {}
            if self.place.size > 1:
                # All ranks learn it at the same place among their messages: an `Open` before it means the old one to all.
                character = self.generator.read(folder / wish.name)
            else:
                character = self.generator.learn(folder / wish.name)
                self.generator.open(wish.name, 0, 0)  # what it needs once is done now
            answer = Prepared(wish.job, _info(character), fit)
        except ValueError as problem:
            fit = getattr(problem, "fit", None)
            answer = NotPrepared(wish.job, str(problem), fit and fit.plain())
        except Exception:
            log.exception("character %s could not be prepared", wish.name)
            answer = NotPrepared(wish.job, "the picture could not be prepared; the server's log says more")
        with suppress(OSError):  # the server is gone
            send(answer)

    def open(self, message: Open) -> Failed | None:
        """One session's trouble is told and is not the others'."""
        try:
            self.states[message.session] = self.generator.open(message.character, message.seed, message.chunk_index)
        except Exception as problem:
            self._end_unless_shared(problem)
            log.exception("a session with %s could not be opened", message.character)
            self.states.pop(message.session, None)
            return Failed(message.session, f"{type(problem).__name__}: {problem}")
        return None

    def step(self, message: Step) -> Done:
        """All sessions of the batch at once; if that fails, one by one, so that one's trouble is not another's."""
        jobs = [job for job in message.jobs if job.session in self.states]
        unknown = tuple(job.session for job in message.jobs if job.session not in self.states)
        results, failed = [], list(unknown)
        stage_s: dict[str, float] = {}
        try:
            results = self._make(jobs, message.steps)
            stage_s = dict(self.generator.timings)
        except Exception as problem:
            self._end_unless_shared(problem)
            log.exception("a batch of %d failed", len(jobs))
            for job in jobs:
                try:
                    results += self._make([job], message.steps)
                except Exception as trouble:
                    self._end_unless_shared(trouble)
                    log.exception("the chunk of one session failed")
                    self.states.pop(job.session, None)
                    failed.append(job.session)
        return Done(tuple(results), stage_s, time.monotonic(), tuple(failed))

    def _end_unless_shared(self, problem: Exception) -> None:
        """Of several ranks, all meet what is wrong with a message. Anything else may be one's own, and it has then missed
        what the others said: only a new group can go on, so the error ends the process."""
        if self.place.size > 1 and not isinstance(problem, ValueError | KeyError):
            raise problem

    def _make(self, jobs: list, steps: int) -> list[ChunkResult]:
        if not jobs:
            return []
        sounds = [self._heard(job) for job in jobs]
        states = [self.generator.at(self.states[job.session], job.index) for job in jobs]
        frames, after = self.generator.step(states, sounds, [job.emotions for job in jobs], steps)
        for job, state, pictures in zip(jobs, after, frames, strict=True):
            self.states[job.session] = state
            if self.ring:
                self.ring.write(job.slot, pictures)
        return [ChunkResult(job.session, job.index, job.slot) for job in jobs]

    def _heard(self, job: ChunkJob) -> np.ndarray:
        """What the model hears of each face, n window_samples in [-1, 1]."""
        windows = np.frombuffer(job.windows_s16, "<i2").reshape(-1, self.info.window_samples)
        return windows.astype(np.float32) / 32768


def _info(character) -> CharacterInfo:
    return CharacterInfo(character.name, character.title, str(character.picture), character.faces)
