"""A server process for a measurement: started as an operator would, gone afterwards. Knows nothing of sessions."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops import processes

ROOT = Path(__file__).parent.parent
READY_WITHIN_S, STOPPED_WITHIN_S = 60.0, 20.0
LOG_LINES = 8  # of a server that did not start


@dataclass(frozen=True)
class RunningServer:
    url: str
    pid: int
    ready_after_s: float  # from the start of the process to its word that it is ready

    @property
    def family(self) -> set[int]:
        return processes.family(self.pid)

    @property
    def workers(self) -> list[int]:
        return processes.named(self.family, "visavis-work")


@contextmanager
def running_server(loader: str, preset: str) -> Iterator[RunningServer]:
    """Raises RuntimeError with the end of the server's log if it does not become ready."""
    command = [sys.executable, "server.py", "--port", "0", "--loader", loader, "--preset", preset]
    with tempfile.TemporaryFile("w+") as log:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            readable, _, _ = select.select([process.stdout], [], [], READY_WITHIN_S)
            ready_line = process.stdout.readline() if readable else ""
            took_s = time.monotonic() - started
            if "http" not in ready_line:
                log.seek(0)
                raise RuntimeError("the server did not become ready: " + "".join(log.readlines()[-LOG_LINES:]).strip())
            yield RunningServer(ready_line.split()[-1], process.pid, took_s)
        finally:
            process.terminate()
            try:
                process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
