"""Worker processes: starts them, gives them chunks, notices their death and starts them again. No model, no tensors."""

import asyncio
import logging
import multiprocessing
import socket
import tempfile
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from stream.clock import Clock
from stream.frames import FrameRing
from stream.messages import (
    Attach,
    CharacterInfo,
    ChunkJob,
    Close,
    Decoder,
    Done,
    Emotion,
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
from stream.metrics import Metrics
from stream.scheduler import Batch, Scheduler, Waiting
from stream.worker import run

log = logging.getLogger(__name__)

HANG_S = 5.0  # a worker that has not answered for so long is killed
HANG_CHUNKS = 4  # but not before this many times what its slowest chunk took: a large model may be slow
RESTART_PAUSE_S = 1.0  # before another try, where a worker dies before it is ready
STOP_S = 3.0
SLOTS_PER_WORKER = 2
MOST_FAILURES = 3  # of a session in a row: then the model cannot serve it, and trying again will not help


class PoolFailed(Exception):
    """No worker could start; the message says why."""


@dataclass
class _Session:
    character: str
    seed: int
    next_index: int
    worker: "_Worker"
    failures: int = 0  # since its last pictures


class _Pipe(asyncio.Protocol):
    """Our end of a worker's socket. Neither direction ever blocks, whatever the worker does or does not."""

    def __init__(self, take: Callable[[object], None], lost: Callable[[], None]) -> None:
        self._take, self._lost = take, lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for message in self._decoder.push(data):
            self._take(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()

    def send(self, message: object) -> None:
        """To a dead worker nothing can be said, nor to one unborn; one that gets ready is told what it must know."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(encode(message))

    def close(self) -> None:
        if self._transport:
            self._transport.abort()


@dataclass(eq=False)
class _Rank:
    """One process of a worker. The first rank answers for all; what is said to one is said to all, in the same order."""

    process: multiprocessing.process.BaseProcess
    pipe: _Pipe = field(init=False)
    ready: Ready | None = None


@dataclass(eq=False)
class _Worker:
    number: int
    ranks: list["_Rank"] = field(default_factory=list)
    meeting: Path | None = None  # a file by which several ranks find each other
    lost: bool = False
    scheduler: Scheduler | None = None  # from Ready on
    slowest_chunk_s: float = 0.0  # as it measured itself
    running: Batch | None = None
    sent_at: float = 0.0
    slots: list[int] = field(default_factory=list)
    watchdog: asyncio.TimerHandle | None = None

    def send(self, message: object) -> None:
        for rank in self.ranks:
            rank.pipe.send(message)

    def kill(self) -> None:
        for rank in self.ranks:
            rank.process.kill()


class Pool:
    """All methods are for the event loop's thread; none blocks."""

    def __init__(
        self, loader: str, preset: str, workers: int, threads: int, metrics: Metrics, clock: Clock | None = None,
        characters: str | None = None, choices: dict[str, str] | None = None, sequence_parallel: int = 1,
    ) -> None:  # fmt: skip
        """`choices` are the loader's business. Each worker is `sequence_parallel` processes that compute together."""
        self.info: PresetInfo | None = None
        self.characters: dict[str, CharacterInfo] = {}
        self.on_chunk: Callable[[int, int, np.ndarray, dict[str, float]], None] = lambda *_: None
        self.on_failed: Callable[[int, str], None] = lambda *_: None  # a session that got no more chances, and why
        self._arguments = (loader, preset, threads, characters, choices or {})
        self._wanted, self._ranks = workers, sequence_parallel
        self._metrics = metrics
        self._clock = clock or Clock()
        self._workers: dict[int, _Worker] = {}
        self._sessions: dict[int, _Session] = {}
        self._jobs: dict[int, tuple[_Worker, Callable[[object], None]]] = {}  # of characters being prepared
        self._ring: FrameRing | None = None
        self._started: asyncio.Future[PresetInfo] | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task] = set()  # launches and burials under way
        # A fork server that has imported the model's code once: a worker that dies is back as soon as weights are read.
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["stream.preload", "stream.worker", loader.partition(":")[0]])

    async def start(self) -> PresetInfo:
        """Returns when all workers serve. Raises PoolFailed if one says that it cannot."""
        self._started = asyncio.get_running_loop().create_future()
        for number in range(self._wanted):
            self._keep(self._launch(number))
        return await self._started

    @property
    def ready(self) -> bool:
        """At least one worker serves."""
        return any(worker.scheduler for worker in self._workers.values())

    def capacity(self) -> int:
        """How many sessions all workers together carry; none while none serves."""
        return sum(worker.scheduler.capacity() for worker in self._workers.values() if worker.scheduler)

    def open(self, session: int, character: str, seed: int, chunk_index: int = 0) -> None:
        """The session's place is on the worker with the fewest sessions, for as long as it lives."""
        carried = [one.worker.number for one in self._sessions.values()]
        worker = min(self._workers.values(), key=lambda w: (w.scheduler is None, carried.count(w.number)))
        self._sessions[session] = _Session(character, seed, chunk_index, worker)
        worker.send(Open(session, character, seed, chunk_index))

    def submit(self, session: int, chunk, emotions: tuple[Emotion, ...], due: float) -> None:
        """An AudioChunk of a session, and how its faces look; `on_chunk` follows, or nothing if it would come too late
        to be shown."""
        held = self._sessions.get(session)
        if held is None:
            return
        held.next_index = chunk.index + 1
        worker = held.worker
        if worker.scheduler is None:  # being started again: the pacer holds the last picture meanwhile
            self._metrics.chunk_dropped(self.info.frames_per_chunk)
            return
        dropped = worker.scheduler.dropped
        worker.scheduler.submit(Waiting(session, chunk.index, due, self._clock.now(), chunk.windows_s16, emotions))
        self._run_next(worker)
        self._count_dropped(worker.scheduler.dropped - dropped)

    def close(self, session: int) -> None:
        held = self._sessions.pop(session, None)
        if held:
            if held.worker.scheduler:
                held.worker.scheduler.forget(session)
            held.worker.send(Close(session))

    def prepare(self, wish: Prepare, tell: Callable[[object], None]) -> None:
        """`tell` gets each Preparing, and at the end Prepared or NotPrepared; then all workers know the character."""
        ready = [worker for worker in self._workers.values() if worker.scheduler]
        if not ready:
            tell(NotPrepared(wish.job, "the model is being started again: try again in a moment"))
            return
        carried = [one.worker.number for one in self._sessions.values()]
        worker = min(ready, key=lambda w: carried.count(w.number))
        self._jobs[wish.job] = (worker, tell)
        worker.ranks[0].pipe.send(wish)

    def in_use(self, character: str) -> bool:
        return any(session.character == character for session in self._sessions.values())

    def forget(self, character: str) -> None:
        """Its folder must be gone: a worker that starts anew learns what is there."""
        self.characters.pop(character, None)
        for worker in self._workers.values():
            worker.send(Forget(character))

    async def stop(self) -> None:
        """Idempotent. Leaves no worker and no shared memory."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        workers = [worker for worker in self._workers.values() if not worker.lost]
        self._workers.clear()
        for worker in workers:
            self._unwatch(worker)
            if worker.scheduler is None:  # still loading: it would not hear us for a while
                worker.kill()
            worker.send(Stop())
        ranks = [rank for worker in workers for rank in worker.ranks]
        await asyncio.gather(*(asyncio.to_thread(_end, rank.process) for rank in ranks))
        for rank in ranks:
            rank.pipe.close()
        for worker in workers:
            self._forget_meeting(worker)
        if self._ring:
            self._ring.close()
            self._ring = None

    # workers

    def _keep(self, work: Coroutine) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, number: int) -> None:
        worker, ends = _Worker(number), []
        if self._ranks > 1:
            worker.meeting = Path(tempfile.gettempdir(), f"visavis-{uuid.uuid4().hex}")
        for place in range(self._ranks):
            ours, theirs = socket.socketpair()
            meeting = f"file://{worker.meeting}" if worker.meeting else ""
            process = self._processes.Process(
                target=run, args=(theirs, *self._arguments, Place(place, self._ranks, meeting)),
                name=f"visavis-work{number}" + (f".{place}" if self._ranks > 1 else ""), daemon=True,
            )  # fmt: skip
            try:
                # The first one waits until the fork server has imported the model's code: seconds.
                await asyncio.to_thread(process.start)
            except (OSError, EOFError) as problem:
                worker.kill()
                for end in (ours, *ends):
                    end.close()
                self._unborn(number, problem)
                return
            finally:
                theirs.close()
            worker.ranks.append(_Rank(process))
            ends.append(ours)
        previous = self._workers.get(number)
        self._workers[number] = worker
        for session in self._sessions.values():
            if session.worker is previous:
                session.worker = worker
        for rank in worker.ranks:
            rank.pipe = _Pipe(partial(self._take, worker, rank), partial(self._lost, worker))
        for rank, end in zip(worker.ranks, ends, strict=True):
            await asyncio.get_running_loop().create_unix_connection(lambda pipe=rank.pipe: pipe, sock=end)

    def _unborn(self, number: int, problem: Exception) -> None:
        log.error("worker %d could not be started: %s: %s", number, type(problem).__name__, problem)
        if not self._started.done():
            self._started.set_exception(PoolFailed(f"no worker process could be started: {problem}"))
        elif not self._stopping:
            asyncio.get_running_loop().call_later(RESTART_PAUSE_S, self._relaunch, number)

    def _take(self, worker: _Worker, rank: _Rank, message) -> None:
        if worker.lost:  # the last words of a rank whose others are gone
            return
        match message:
            case Ready():
                rank.ready = message
                if all(one.ready for one in worker.ranks):
                    self._ready(worker, worker.ranks[0].ready)
            case Done():
                self._done(worker, message)
            case Failed(session, text):
                self._failed(worker, session, text)
            case Preparing() | Prepared() | NotPrepared():
                self._prepared(worker, message)
            case Unusable(text):
                if self._started and not self._started.done():
                    self._started.set_exception(PoolFailed(text))
                log.error("worker %d cannot start: %s", worker.number, text)

    def _ready(self, worker: _Worker, message: Ready) -> None:
        self.info = message.info
        # Of a worker that starts anew nothing is new, and it may not have heard yet of what came or went meanwhile.
        self.characters = self.characters or {one.name: one for one in message.characters}
        if self._ring is None:
            self._ring = FrameRing(self.info, self._wanted * self.info.max_batch * SLOTS_PER_WORKER)
        worker.scheduler = Scheduler(message.cost_s, self.info.max_batch, self.info.chunk_s, message.share_of_more)
        worker.slowest_chunk_s = max(message.cost_s)
        self._forget_meeting(worker)
        worker.send(Attach(self._ring.name))
        for key, session in self._sessions.items():
            if session.worker is worker:
                worker.send(Open(key, session.character, session.seed, session.next_index))
        if not self._started.done() and sum(bool(one.scheduler) for one in self._workers.values()) == self._wanted:
            self._started.set_result(self.info)
        log.info("worker %d serves; a chunk takes %s ms", worker.number, [round(c * 1000, 1) for c in message.cost_s])

    def _prepared(self, worker: _Worker, message: Preparing | Prepared | NotPrepared) -> None:
        if isinstance(message, Prepared):
            name, picture = message.character.name, Path(message.character.picture)
            self.characters[name] = message.character
            for one in self._workers.values():
                if one is not worker or len(one.ranks) > 1:  # who prepared it alone knows it
                    one.send(Learn(str(picture.parent)))
        _, tell = self._jobs[message.job] if isinstance(message, Preparing) else self._jobs.pop(message.job)
        tell(message)

    def _run_next(self, worker: _Worker) -> None:
        if worker.running or worker.scheduler is None:
            return
        now = self._clock.now()
        dropped = worker.scheduler.dropped
        batch = worker.scheduler.next(now)
        self._count_dropped(worker.scheduler.dropped - dropped)
        if batch is None:
            return
        worker.slots = [self._ring.take() for _ in batch.jobs]
        assert None not in worker.slots, "one batch runs per worker, and the ring holds more than one of each"
        worker.running, worker.sent_at = batch, now
        jobs = zip(batch.jobs, worker.slots, strict=True)
        step = Step(tuple(ChunkJob(j.session, j.index, j.windows_s16, j.emotions, slot) for j, slot in jobs), batch.steps)
        patience_s = max(HANG_S, HANG_CHUNKS * len(batch.jobs) * worker.slowest_chunk_s)
        worker.watchdog = asyncio.get_running_loop().call_later(patience_s, self._kill_hung, worker)
        worker.send(step)

    def _done(self, worker: _Worker, message: Done) -> None:
        self._unwatch(worker)
        now = self._clock.now()
        batch, worker.running = worker.running, None
        took_s = now - worker.sent_at
        worker.scheduler.finished(len(batch.jobs), batch.steps, took_s, now)
        self._metrics.batch(len(batch.jobs), took_s, batch.steps)
        submitted = {job.session: job.submitted_at for job in batch.jobs}
        pictures = [(result, self._ring.read(result.slot)) for result in message.results]
        for slot in worker.slots:
            self._ring.give_back(slot)
        worker.slots = []
        self._run_next(worker)  # before the pictures go out: the worker need not wait for that
        for result, frames in pictures:
            if held := self._sessions.get(result.session):
                held.failures = 0
                waited_s = worker.sent_at - submitted[result.session]
                stage_s = {"queue": waited_s, **message.stage_s, "transfer": max(0.0, now - message.finished_at)}
                self.on_chunk(result.session, result.index, frames, stage_s)
        for session in message.failed:
            self._metrics.chunk_dropped(self.info.frames_per_chunk)
            self._failed(worker, session, "its chunk could not be made; the worker's log says more")

    def _failed(self, worker: _Worker, session: int, text: str) -> None:
        """Begin it anew on the worker; after some attempts without a picture, give it up."""
        held = self._sessions.get(session)
        if held is None:
            return
        held.failures += 1
        if held.failures < MOST_FAILURES:
            worker.send(Open(session, held.character, held.seed, held.next_index))
            return
        self.close(session)
        self.on_failed(session, text)

    def _kill_hung(self, worker: _Worker) -> None:
        waited_s = self._clock.now() - worker.sent_at
        log.error("worker %d has not answered for %.0f s: it is killed", worker.number, waited_s)
        worker.kill()

    def _lost(self, worker: _Worker) -> None:
        """One of its pipes is at an end. The sessions stay; their chunks in flight are gone, and so are its other ranks:
        they hold parts of what nobody has the rest of."""
        self._unwatch(worker)
        if self._stopping or worker.lost:
            return
        worker.lost = True
        if len(worker.ranks) > 1:
            worker.kill()
        self._forget_meeting(worker)
        for rank in worker.ranks:
            self._keep(asyncio.to_thread(_end, rank.process))
        served = worker.scheduler is not None
        worker.scheduler = None
        if worker.running:
            self._count_dropped(len(worker.running.jobs))
        for slot in worker.slots:
            self._ring.give_back(slot)
        worker.slots, worker.running = [], None
        for job in [job for job, (doing, _) in self._jobs.items() if doing is worker]:
            self._prepared(worker, NotPrepared(job, "the process that prepared the picture ended: try again"))
        if not self._started.done():
            self._started.set_exception(PoolFailed("a worker ended before it was ready; its log says why"))
        if self._started.exception():
            return
        self._metrics.worker_restarted()
        log.error("worker %d is gone: a new one takes its place", worker.number)
        asyncio.get_running_loop().call_later(0 if served else RESTART_PAUSE_S, self._relaunch, worker.number)

    def _relaunch(self, number: int) -> None:
        if not self._stopping:
            self._keep(self._launch(number))

    def _forget_meeting(self, worker: _Worker) -> None:
        if worker.meeting:
            worker.meeting.unlink(missing_ok=True)

    def _unwatch(self, worker: _Worker) -> None:
        if worker.watchdog:
            worker.watchdog.cancel()
            worker.watchdog = None

    def _count_dropped(self, chunks: int) -> None:
        if chunks:
            self._metrics.chunk_dropped(chunks * self.info.frames_per_chunk)


def _end(process: multiprocessing.process.BaseProcess) -> None:
    process.join(STOP_S)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()
