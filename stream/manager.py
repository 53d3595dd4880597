"""All sessions of a server: admission, lookup, drain. Knows nothing of transports or of what a session does."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

import numpy as np

from stream import heap, vad
from stream.clock import Clock
from stream.metrics import Metrics
from stream.session import Encoders, Generation, Session, SessionOptions, UnknownCharacter, require_character

__all__ = ["ServerFull", "Sessions", "UnknownCharacter"]

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
GIVE_BACK_AFTER_S = 2.0  # by then a closed session's connections have let go of their memory


class ServerFull(Exception):
    """No room for one more session, or the server is going down; try again after `retry_after_s`."""

    def __init__(self, retry_after_s: float, message: str) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Pool(Generation, Protocol):
    """What the manager needs of the pool besides: how many sessions it carries, and whom to give the pictures."""

    info: object
    on_chunk: Callable[[int, int, np.ndarray, dict[str, float]], None]
    on_failed: Callable[[int, str], None]

    def capacity(self) -> int: ...


class Sessions:
    """Made once, on a started pool; becomes the receiver of its pictures."""

    def __init__(
        self,
        pool: Pool,
        *,
        metrics: Metrics,
        make_encoders: Callable[[], Encoders],
        session_idle_s: float = 10.0,
        max_sessions: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.draining = False
        self._pool = pool
        self._metrics = metrics
        self._make_encoders = make_encoders
        self._idle_s = session_idle_s
        self._most = max_sessions
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        pool.on_chunk = self._on_chunk
        pool.on_failed = self._on_failed
        metrics.watch_sessions(lambda: [session.state for session in self._sessions.values()])
        vad.prepare()

    def __len__(self) -> int:
        return len(self._sessions)

    def capacity(self) -> int:
        """How many sessions may live at a time, by the measured speed of the model and the operator's word."""
        carried = self._pool.capacity()
        return carried if self._most is None else min(carried, self._most)

    def create(self, character: str | None = None, options: SessionOptions | None = None) -> Session:
        """Begin a session at once; without a name, of the first character. Raises UnknownCharacter, ServerFull."""
        character = character if character is not None else next(iter(self._pool.characters))
        require_character(self._pool, character)
        if self.draining:
            self._metrics.refused("draining")
            raise ServerFull(RETRY_AFTER_S, "the server is shutting down: try again in a moment")
        if len(self._sessions) >= self.capacity():
            self._metrics.refused("full")
            raise ServerFull(RETRY_AFTER_S, f"all {self.capacity()} places are taken: try again in a moment")
        session = Session(
            id=secrets.token_urlsafe(12),
            character=character,
            info=self._pool.info,
            pool=self._pool,
            encoders=self._make_encoders(),
            metrics=self._metrics,
            on_closed=self._forget,
            options=options,
            idle_s=self._idle_s,
            clock=self._clock,
        )
        self._sessions[session.id] = session
        log.info("session begins with %s", character, extra={"session": session.id})
        return session

    def get(self, session_id: str) -> Session:
        """Raises KeyError."""
        return self._sessions[session_id]

    async def close(self, session_id: str, reason: str = "closed") -> None:
        """End a session and wait until all it owns is released; an unknown id is none of our business any more."""
        if session := self._sessions.get(session_id):
            await session.close(reason)

    async def drain(self) -> None:
        """Take no more sessions and end those there are."""
        self.draining = True
        await asyncio.gather(*(session.close("server is shutting down") for session in self._sessions.values()))

    def _forget(self, session: Session) -> None:
        del self._sessions[session.id]
        log.info("session ended: %s", session.reason, extra={"session": session.id})
        loop = asyncio.get_running_loop()
        loop.call_later(GIVE_BACK_AFTER_S, lambda: loop.run_in_executor(None, heap.give_back))

    def _on_chunk(self, key: int, index: int, frames: np.ndarray, stage_s: dict[str, float]) -> None:
        for session in self._sessions.values():
            if session.key == key:
                session.on_pictures(index, frames, stage_s)

    def _on_failed(self, key: int, text: str) -> None:
        for session in self._sessions.values():
            if session.key == key:
                log.error("the model failed: %s", text, extra={"session": session.id})
                session.on_model_failure()
