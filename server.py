"""Starts Visavis: flags and environment become one ServerConfig, workers start, then HTTP is served.

The other things that can be done with a model (COMMANDS) are handed on to their modules.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stream.config import LOG_LEVELS, IceServer, ServerConfig

log = logging.getLogger("visavis")

EXIT_FAILED, EXIT_USAGE = 1, 2
COMMANDS = {  # first argument -> module whose main(arguments) does it, and what it does
    "plan": ("model.plan", "memory, work and frame rate of a preset on given GPUs"),
    "convert": ("model.convert", "released weights into files that load faster"),
    "prepare": ("model.prepare", "make a character from a picture"),
    "design": ("model.designed", "make a character of a file from the page's designer"),
    "render": ("model.render", "recordings and portraits become films"),
}
SOCKET_BUFFER_BYTES = 64 * 1024  # held by the kernel for a slow reader, and pings wait behind it; Linux doubles it
MAX_SOCKET_FRAME_BYTES = 256 * 1024
PING_INTERVAL_S, PING_TIMEOUT_S = 3.0, 6.0  # a bot that vanished is noticed within their sum
SHUTDOWN_S = 5


def parse_config(arguments: list[str], environment: Mapping[str, str]) -> ServerConfig:
    """Flags win over environment variables, those over defaults. Exits with a message on nonsense."""
    default = ServerConfig()
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="Visavis: a real-time streaming avatar server. Speak, and a face speaks with you.",
        epilog="Other commands: " + "; ".join(f"server.py {name} ({text})" for name, (_, text) in COMMANDS.items())
        + ". Every flag can be given as an environment variable instead, for example VISAVIS_PORT=9000 for "
        "--port 9000. Repeatable flags take several values separated by blanks there.",
    )

    def flag(name: str, kind: Callable, fallback: object, text: str, **more: object) -> None:
        variable = "VISAVIS_" + name.strip("-").replace("-", "_").upper()
        if variable in environment and "action" not in more:
            fallback = environment[variable]  # argparse converts strings and reports them like flags
        parser.add_argument(name, type=kind, default=fallback, help=text, **more)

    flag("--host", str, default.host, "address to listen on (%(default)s). 0.0.0.0 lets other machines in; browsers "
         "give them the microphone over https only, so put a TLS proxy in front")  # fmt: skip
    flag("--port", int, default.port, "port to listen on (%(default)s); 0 picks a free one")
    flag("--preset", str, default.preset, "which model to serve (%(default)s)")
    flag("--checkpoint", str, None, "folder of the released weights, for the full-size presets hunyuan-avatar and "
         "hunyuan-avatar-causal")  # fmt: skip
    flag("--lora", str, None, "LoRA file that is merged into a full-size preset's transformer, a step-distilled one say")
    flag("--image-size", str, None, "pictures of a full-size preset: one side of a square (384) or width x height "
         "(default: 704)")  # fmt: skip
    flag("--decoder", str, None, "what decodes a full-size preset's pictures: taehv, which is quick, or vae (default: "
         "taehv)", choices=("taehv", "vae"))  # fmt: skip
    flag("--mode", str, None, "how a full-size preset's weights lie in memory: bf16, fp8, or offload, in the host's "
         "(default: bf16)", choices=("bf16", "fp8", "offload"))  # fmt: skip
    flag("--optimise", str, None, "what a full-size preset's transformer goes through once, for pictures to take less "
         "time: compile (torch.compile, minutes) or graphs (CUDA graphs, where it is small; default: neither)",
         choices=("compile", "graphs"))  # fmt: skip
    flag("--workers", int, default.workers, "worker processes, each with its own copy of the model (%(default)s)")
    flag("--sequence-parallel", int, default.sequence_parallel, "processes that make one picture together, in each worker, "
         "on a GPU each where there are some (%(default)s); must divide the transformer's heads")  # fmt: skip
    flag("--threads", int, default.threads, "arithmetic threads per process (default: as many as make a chunk in time, of "
         "half of the cores)")  # fmt: skip
    flag("--max-sessions", int, None, "most sessions at a time (default: as many as the measured speed carries)")
    flag("--characters", str, default.characters, "folder of your own characters, uploaded or prepared (%(default)s)")
    flag("--ice-server", str, None, "STUN or TURN server, may be given several times: stun:host:port or "
         "turn:host:port,username,credential (default: none, which is right for one network)",
         action="append")  # fmt: skip
    flag("--allow-origin", str, None, "web site whose pages may use this server, such as https://example.org, may be "
         "given several times; * allows all (default: only the server's own pages)", action="append")  # fmt: skip
    flag("--log-level", str, default.log_level, "debug, info, warning or error (%(default)s)",
         choices=LOG_LEVELS)  # fmt: skip
    flag("--loader", str, default.loader, argparse.SUPPRESS)  # tests bring a light model of their own

    chosen = vars(parser.parse_args(arguments))
    ice_servers = chosen.pop("ice_server") or environment.get("VISAVIS_ICE_SERVER", "").split()
    origins = chosen.pop("allow_origin") or environment.get("VISAVIS_ALLOW_ORIGIN", "").split()
    try:
        return ServerConfig(
            ice_servers=tuple(map(IceServer.parse, ice_servers)), allow_origins=tuple(origins), **chosen
        )
    except ValueError as error:
        parser.error(str(error))


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises OSError in words."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


class SessionFormatter(logging.Formatter):
    """One line per event, with the session it belongs to where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        session = getattr(record, "session", None)
        record.where = f" session={session}" if session else ""
        return super().format(record)


def set_up_logging(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(SessionFormatter("%(asctime)s %(levelname)s %(name)s%(where)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":
        for chatty in ("aioice", "aiortc", "uvicorn", "libav"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


async def serve(config: ServerConfig, listener: socket.socket) -> None:
    """Runs until SIGTERM or SIGINT; leaves no process, session or shared memory behind."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    from stream import heap
    from stream.metrics import Metrics
    from stream.pool import Pool
    from stream.put_back import put_back

    put_back(Path(config.characters))
    metrics = Metrics()
    pool = Pool(
        config.loader, config.preset, config.workers, config.threads, metrics, characters=config.characters,
        choices=config.model_choices, sequence_parallel=config.sequence_parallel,
    )  # fmt: skip
    try:
        starting = asyncio.create_task(pool.start())
        # The web modules take a second to import; meanwhile the workers load the model.
        web = asyncio.create_task(asyncio.to_thread(_import_web))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        await web
        heap.settle()
        if not stop.is_set():
            await _serve_http(config, listener, pool, starting.result(), metrics, stop)
        for task in (starting, stopping):
            task.cancel()
    finally:
        await pool.stop()


def _import_web() -> None:
    import stream.api  # noqa: F401


async def _serve_http(config, listener, pool, info, metrics, stop: asyncio.Event) -> None:
    import uvicorn

    from stream.api import create_app
    from stream.encoder import EncoderHub
    from stream.manager import Sessions
    from stream.socket_protocol import SocketProtocol

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are ours: sessions are told before connections are cut

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _announce(config.host, listener.getsockname()[1])

    sessions = Sessions(
        pool,
        metrics=metrics,
        session_idle_s=config.session_idle_s,
        max_sessions=config.max_sessions,
        make_encoders=lambda: EncoderHub(
            info.width, info.height, info.fps, observe=lambda seconds: metrics.stage("encode", seconds)
        ),
    )
    app = create_app(config, sessions, pool, metrics)
    server = Server(
        uvicorn.Config(
            app,
            ws=SocketProtocol,
            ws_max_size=MAX_SOCKET_FRAME_BYTES,
            ws_per_message_deflate=False,  # media does not shrink, and a compressed frame may hide a huge one
            ws_ping_interval=PING_INTERVAL_S,
            ws_ping_timeout=PING_TIMEOUT_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
    )
    serving = asyncio.create_task(server.serve([listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await sessions.drain()
        server.should_exit = True
        await serving
        await app.state.drawing.stop()


def _announce(host: str, port: int) -> None:
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1", "localhost") else host
    print(f"Visavis is ready: http://{shown}:{port}", flush=True)
    if host in ("0.0.0.0", "::"):
        log.warning("other machines can connect; browsers there give the microphone over https only")


def main() -> int:
    if sys.argv[1:] and sys.argv[1] in COMMANDS:
        module, _ = COMMANDS[sys.argv[1]]
        return importlib.import_module(module).main(sys.argv[2:])
    config = parse_config(sys.argv[1:], os.environ)
    set_up_logging(config.log_level)
    try:
        listener = listen(config.host, config.port)
    except OSError as error:
        reason = error.strerror or str(error)
        print(f"server.py: cannot listen on {config.host} port {config.port}: {reason}. "
              f"Choose another with --port (make run PORT=...).", file=sys.stderr)  # fmt: skip
        return EXIT_USAGE
    import uvloop

    from stream.pool import PoolFailed

    try:
        with listener:
            uvloop.run(serve(config, listener))
    except PoolFailed as error:
        print(f"server.py: the model of preset {config.preset!r} cannot be loaded: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
