"""Starting and stopping, seen from outside the process."""

import re
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from ops.processes import family
from tests.live_server import START_S, live_server, start


def still_running(pids: set[int]) -> set[int]:
    """Those that have not ended within a moment; what our own children left is reaped by the system, not at once."""
    for _ in range(50):
        pids = {pid for pid in pids if Path(f"/proc/{pid}").exists()}
        if not pids:
            break
        time.sleep(0.1)
    return pids


def shared_memory(pids: set[int]) -> set[Path]:
    """Shared memory that these processes have mapped and that has a name."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    return {path for path in map(Path, re.findall(r"/dev/shm/\S+", maps)) if path.exists()}


def test_help_is_worth_reading():
    process = start("--help")
    said, _ = process.communicate(timeout=START_S)
    assert process.returncode == 0
    for word in ("--port", "--ice-server", "--allow-origin", "VISAVIS_PORT", "https"):
        assert word in said
    assert "--loader" not in said


def test_ready_is_printed_once_it_serves():
    with live_server() as server:
        assert server.ready_line.startswith("Visavis is ready: http://localhost:")
        assert httpx.get(f"{server.url}/readyz").json()["ready"]
        assert httpx.get(f"{server.url}/v1/characters").json()[0]["name"] == "ada"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_process_and_no_shared_memory(number):
    with live_server() as server:
        httpx.post(f"{server.url}/v1/sessions", json={}).raise_for_status()
        pids = family(server.process.pid)
        segments = shared_memory(pids)
        assert len(pids) > 1 and segments
        assert server.stop(number) == 0
        assert not still_running(pids - {server.process.pid})
        assert not [path for path in segments if path.exists()]


def test_a_signal_while_the_model_still_loads_is_heeded():
    process = start("--port", "0")
    while len(pids := family(process.pid)) == 1:
        pass
    process.terminate()
    assert process.wait(START_S) == 0
    assert not still_running(pids - {process.pid})


def test_a_taken_port_is_one_clear_line_and_exit_code_2():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start("--port", str(port))
        _, said = process.communicate(timeout=START_S)
    assert process.returncode == 2
    assert said.count("\n") == 1
    assert str(port) in said and "--port" in said


def test_a_model_that_cannot_be_loaded_is_told_and_ends_the_server():
    process = start("--port", "0", "--preset", "no-such-preset", "--loader", "tests.no_such_module:load")
    _, said = process.communicate(timeout=START_S)
    assert process.returncode == 1
    assert "no_such_module" in said


def test_a_full_server_says_so():
    with live_server("--max-sessions", "1") as server:
        assert httpx.post(f"{server.url}/v1/sessions", json={}).status_code == 201
        refused = httpx.post(f"{server.url}/v1/sessions", json={})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        metrics = httpx.get(f"{server.url}/metrics").text
        assert any(
            line.startswith("visavis_refusals_total{") and line.endswith(" 1.0") for line in metrics.splitlines()
        )
