"""The process that owns a device: receives messages, steps the generator, answers. The only file here near tensors.

The generator comes from a dotted name, so that nothing of `model/` is imported outside a worker.
"""

import importlib
import logging
import multiprocessing
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np

from stream import heap
from stream.frames import FrameRing
from stream.messages import (
    Attach,
    CharacterInfo,
    ChunkResult,
    Close,
    Decoder,
    Done,
    Failed,
    Open,
    PresetInfo,
    Ready,
    Step,
    Stop,
    Unusable,
    encode,
)

log = logging.getLogger(__name__)

WARM_UP_ROUNDS = 3
RECEIVE_BYTES = 1 << 18


def run(connection: socket.socket, loader: str, preset: str, threads: int) -> None:
    """Serve until told to stop or until the server is gone."""
    with suppress(OSError):  # what ps and top show; not every system has it
        Path("/proc/self/comm").write_text(multiprocessing.current_process().name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's, which then stops us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    heap.keep()
    heap.wake()
    with connection, suppress(EOFError, ConnectionError):  # the server is gone: so are we
        serve(Channel(connection), loader, preset, threads)


def serve(channel: "Channel", loader: str, preset: str, threads: int) -> None:
    try:
        worker = Worker(load(loader, preset, threads))
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
                worker.ring = FrameRing(worker.info, name=ring)
            case Stop():
                return


class Channel:
    """The worker's end of the stream of messages; here waiting is all there is to do."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = Decoder()
        self._received: deque = deque()

    def send(self, message: object) -> None:
        self._connection.sendall(encode(message))

    def receive(self) -> object:
        """Raises EOFError when the other end is closed."""
        while not self._received:
            received = self._connection.recv(RECEIVE_BYTES)
            if not received:
                raise EOFError
            self._received.extend(self._decoder.push(received))
        return self._received.popleft()


def load(loader: str, preset: str, threads: int):
    module, _, name = loader.partition(":")
    return getattr(importlib.import_module(module), name)(preset, threads)


class Worker:
    def __init__(self, generator) -> None:
        self.generator = generator
        self.info = PresetInfo(**generator.info)
        self.ring: FrameRing | None = None
        self.states: dict[int, object] = {}

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
        characters = tuple(CharacterInfo(one.name, one.title, str(one.picture)) for one in people)
        return Ready(self.info, characters, tuple(costs), share_of_more)

    def _cost_s(self, size: int, steps: int) -> float:
        """Seconds of a batch of so many chunks: the fastest of some, since what disturbs a measurement only adds."""
        name = next(iter(self.generator.characters))
        states = [self.generator.open(name, seed, 0) for seed in range(size)]
        silence = np.zeros((size, self.info.window_samples), np.float32)
        taken = []
        for _ in range(WARM_UP_ROUNDS):
            started = time.monotonic()
            _, states = self.generator.step(states, silence, steps)
            taken.append(time.monotonic() - started)
        return min(taken)

    def open(self, message: Open) -> Failed | None:
        """One session's trouble is told and is not the others'."""
        try:
            self.states[message.session] = self.generator.open(message.character, message.seed, message.chunk_index)
        except Exception as problem:
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
        except Exception:
            log.exception("a batch of %d failed", len(jobs))
            for job in jobs:
                try:
                    results += self._make([job], message.steps)
                except Exception:
                    log.exception("the chunk of one session failed")
                    self.states.pop(job.session, None)
                    failed.append(job.session)
        return Done(tuple(results), stage_s, time.monotonic(), tuple(failed))

    def _make(self, jobs: list, steps: int) -> list[ChunkResult]:
        if not jobs:
            return []
        windows = np.stack([np.frombuffer(job.window_s16, "<i2") for job in jobs]).astype(np.float32) / 32768
        states = [self.generator.at(self.states[job.session], job.index) for job in jobs]
        frames, after = self.generator.step(states, windows, steps)
        for job, state, pictures in zip(jobs, after, frames, strict=True):
            self.states[job.session] = state
            self.ring.write(job.slot, pictures)
        return [ChunkResult(job.session, job.index, job.slot) for job in jobs]
