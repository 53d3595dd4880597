"""A Visavis server process of a test's own, with the light model, as an operator would start and stop it."""

import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_S, STOP_S = 60, 20
NO_CHARACTERS = str(Path(tempfile.gettempdir()) / "visavis-tests-have-none-of-their-own")


@dataclass
class LiveServer:
    process: subprocess.Popen
    ready_line: str

    @property
    def url(self) -> str:
        return self.ready_line.rpartition(" ")[2]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


def start(*flags: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    command = [sys.executable, "server.py", "--loader", "tests.fakes:load", "--characters", NO_CHARACTERS, *flags]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def live_server(*flags: str) -> Iterator[LiveServer]:
    """Ready when entered; gone when left, whatever happened."""
    process = start("--port", "0", *flags)
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: said.put(process.stdout.readline()), daemon=True).start()
    log: list[str] = []
    threading.Thread(target=lambda: log.extend(process.stderr), daemon=True).start()
    try:
        with contextlib.suppress(queue.Empty):
            line = said.get(timeout=START_S)
            if line:
                yield LiveServer(process, line.strip())
                return
        raise AssertionError(f"the server did not become ready: {''.join(log)}")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
