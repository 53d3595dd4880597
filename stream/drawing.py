"""The drawing process: starts it at the first question, asks it one thing at a time, starts it again when it dies.

It is a process of its own (model/drawing_process.py) because the server holds neither Skia nor anything of the model. It
ends after a while without questions. Knows nothing of looks or routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "model.drawing_process")
ROOT = Path(__file__).parent.parent
LENGTHS = struct.Struct("<II")  # of the JSON and of the bytes behind it
ANSWER_S = 15.0  # the first question waits for the start, on a busy machine
IDLE_S = 300.0
END_S = 2.0
MOST_WAITING = 16  # a page asks one thing at a time, so this is many pages
ATTEMPTS = 2

Process = asyncio.subprocess.Process


class Refused(Exception):
    """The question was answered by what is wrong with it."""


class Unavailable(Exception):
    """Nothing can be drawn on this machine; the message says what to install."""


class Busy(Exception):
    """Too many are waiting for an answer."""


class Failed(Exception):
    """The process died or fell silent over the question, more than once."""


class Drawing:
    """All methods are for the event loop's thread; none blocks."""

    def __init__(self, command: Sequence[str] = COMMAND, idle_s: float = IDLE_S, answer_s: float = ANSWER_S) -> None:
        self._command, self._idle_s, self._answer_s = command, idle_s, answer_s
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task] = set()
        self._stopped = False

    async def ask(self, question: dict) -> tuple[dict, bytes]:
        """The answer, and the bytes that come with it. Raises Refused, Unavailable, Busy or Failed."""
        if self._waiting >= MOST_WAITING:
            raise Busy("many are drawing at the moment: try again")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._asked(question)
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        """Idempotent. Leaves no process."""
        self._stopped = True
        self._end()
        await asyncio.gather(*self._endings)

    async def _asked(self, question: dict) -> tuple[dict, bytes]:
        self._wait_no_more()
        for _ in range(ATTEMPTS):
            try:
                answer, content = await self._answer(question)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as problem:
                log.error("the drawing process is gone (%s): a new one takes its place", type(problem).__name__)
                self._end(at_once=True)
                continue
            except BaseException:  # nobody waits for this answer any more, and the next question must not get it
                self._end(at_once=True)
                raise
            return self._judged(answer), content
        raise Failed("the process that draws has failed; the server's log says more")

    async def _answer(self, question: dict) -> tuple[dict, bytes]:
        async with asyncio.timeout(self._answer_s):
            if self._process is None:
                self._process = await self._start()
            asked = json.dumps(question).encode()
            self._process.stdin.write(LENGTHS.pack(len(asked), 0) + asked)
            await self._process.stdin.drain()
            read = self._process.stdout.readexactly
            size, more = LENGTHS.unpack(await read(LENGTHS.size))
            return json.loads(await read(size)), await read(more)

    async def _start(self) -> Process:
        if self._stopped:
            raise Failed("the server is shutting down")
        # What it prints besides is an error's trace, and belongs in the server's log.
        return await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )

    def _judged(self, answer: dict) -> dict:
        match answer.get("error"):
            case "unavailable":  # it ends by itself, so that the next one finds what was installed meanwhile
                self._end()
                raise Unavailable(answer["detail"])
            case "invalid":
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end)
                raise Refused(answer["detail"])
        self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end)
        return answer

    def _wait_no_more(self) -> None:
        if self._idle:
            self._idle.cancel()
            self._idle = None

    def _end(self, at_once: bool = False) -> None:
        self._wait_no_more()
        process, self._process = self._process, None
        if process:
            ending = asyncio.get_running_loop().create_task(_ended(process, at_once))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)


async def _ended(process: Process, at_once: bool) -> None:
    """A process whose input is closed ends by itself, and one that does not is killed."""
    with contextlib.suppress(OSError, TimeoutError):
        process.stdin.close()
        if not at_once:
            await asyncio.wait_for(process.wait(), END_S)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
