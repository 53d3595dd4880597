"""Which chunks run next on a worker, with how many denoising steps, and how many sessions fit. Reads no clock.

Deadlines, not queues: a session has at most one chunk waiting. What is hopelessly late is dropped, steps are lowered
before pictures come late, and new sessions are refused before steps run out.
"""

from dataclasses import dataclass

from stream.messages import Emotion

BUSY_LIMIT = 0.95  # share of the time that a worker may compute: the rest is jitter's
RAISE_BELOW = 0.65  # with one step more it must still stay below this
ATTACK_S, RELEASE_S = 0.4, 3.0  # how fast the load estimate rises and falls
COST_SMOOTHING = 0.02


@dataclass(frozen=True)
class Waiting:
    session: int
    index: int
    due: float
    submitted_at: float
    windows_s16: bytes  # of each face
    emotions: tuple[Emotion, ...]


@dataclass(frozen=True)
class Batch:
    jobs: tuple[Waiting, ...]
    steps: int


class Scheduler:
    """One per worker. `submit` what is ready; `next` when the worker is free; `finished` when it has answered."""

    def __init__(self, cost_s: tuple[float, ...], max_batch: int, chunk_s: float, share_of_more: float = 1.0) -> None:
        """cost_s: measured seconds of a chunk alone at 1, 2, … steps; share_of_more: what each further chunk of a
        batch adds, as a share of that."""
        self.steps = len(cost_s)
        self.dropped = 0
        self._cost_s = list(cost_s)
        self._share_of_more = share_of_more
        self._max_batch = max_batch
        self._chunk_s = chunk_s
        self._waiting: dict[int, Waiting] = {}
        self._load = 0.0
        self._last_finish: float | None = None
        self._raise_after = 0.0

    def submit(self, job: Waiting) -> None:
        """An older chunk of the same session that has not run yet gives way to this one."""
        if job.session in self._waiting:
            self.dropped += 1
        self._waiting[job.session] = job

    def forget(self, session: int) -> None:
        self._waiting.pop(session, None)

    def next(self, now: float) -> Batch | None:
        """The most urgent chunks, or None. A chunk due so long ago that nobody could show it is dropped."""
        for session in [s for s, job in self._waiting.items() if job.due + self._chunk_s < now]:
            # The newest chunk of a session is made all the same: its state must not fall behind for ever.
            if len(self._waiting) > 1:
                del self._waiting[session]
                self.dropped += 1
        if not self._waiting:
            return None
        urgent = sorted(self._waiting.values(), key=lambda job: job.due)[: self._max_batch]
        for job in urgent:
            del self._waiting[job.session]
        return Batch(tuple(urgent), self.steps)

    def finished(self, size: int, steps: int, took_s: float, now: float) -> None:
        """Learn from a batch what chunks cost and how busy the worker is; choose the steps of the next."""
        cost = self._cost_s[steps - 1]
        self._cost_s[steps - 1] += COST_SMOOTHING * (took_s / (1 + (size - 1) * self._share_of_more) - cost)
        if self._last_finish is not None:
            span_s = max(now - self._last_finish, took_s, 1e-6)
            share = took_s / span_s
            weight = min(1.0, span_s / (ATTACK_S if share > self._load else RELEASE_S))
            self._load += weight * (share - self._load)
        self._last_finish = now
        if self._load > BUSY_LIMIT and self.steps > 1:
            self.steps -= 1
            self._load *= self._cost_s[self.steps - 1] / max(self._cost_s[self.steps], 1e-9)
            self._raise_after = now + RELEASE_S
        elif self.steps < len(self._cost_s) and now >= self._raise_after:
            more = self._cost_s[self.steps] / max(self._cost_s[self.steps - 1], 1e-9)
            if self._load * more < RAISE_BELOW:
                self.steps += 1
                self._load *= more
                self._raise_after = now + RELEASE_S

    def capacity(self) -> int:
        """How many sessions fit, at the fewest steps; always at least one, however slow the machine is."""
        alone_s = max(self._cost_s[0], 1e-6)
        return max(1, 1 + int((BUSY_LIMIT * self._chunk_s - alone_s) / (self._share_of_more * alone_s)))
